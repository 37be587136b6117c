"""Catalogue of metrics: everything that parts of the evaluation and training stages declare, looked up by name.

The table, the report, summaries in Weights & Biases, sweeps and docs/metrics.md read labels, units and directions here.
The declaring modules take seconds to import, so they are imported at the first look-up.
"""

from functools import cache

from genie.common.errors import UserError
from genie.metrics.metric_info import HIGHER, MetricInfo, canonical


@cache
def evaluated_metrics() -> tuple[MetricInfo, ...]:
    """Metrics of the evaluation, in the order of its parts."""
    from genie.evaluation.parts import PARTS

    return tuple(metric for part in PARTS for metric in part.metrics)


@cache
def training_metrics() -> tuple[MetricInfo, ...]:
    """Metrics that only training logs."""
    from genie.stages import actor_critic, base, behavior_cloning, dynamics, lam, simulator

    stages = (base, lam, dynamics, simulator, actor_critic, behavior_cloning)
    return tuple(metric for stage in stages for metric in stage.METRICS)


@cache
def find(name: str) -> MetricInfo | None:
    """The metric with this path in evaluation.json (`rollout_objects.ball.rally.generated.in_place`) or logged under
    this name (`val/psnr`); None for anything else, such as the references that no model moves."""
    path = canonical(name)
    sources = (training_metrics, evaluated_metrics) if "/" in name else (evaluated_metrics,)
    return next((found for source in sources for metric in source() if (found := metric.matched(path))), None)


def direction(name: str) -> str | None:
    """'min' or 'max', what the better values of a metric are; None where neither is or it is not known."""
    found = find(name)
    return found and found.better and ("max" if found.better == HIGHER else "min")


def chosen_direction(choice: str, name: str, key: str) -> str:
    """`choice` ("min" or "max"), or with "auto" that of the metric `name`; UserError where it has none."""
    if choice not in ("auto", "min", "max"):
        raise UserError(f"{key}={choice} must be auto, min or max")
    found = direction(name) if choice == "auto" else choice
    if found is None:
        raise UserError(f"whether more or less of {name} is better is not known: give {key}=min or {key}=max")
    return found
