"""The plan of model=paper beside what the paper says (`published`)."""

from collections.abc import Iterator

from genie.sizing import published
from genie.sizing.plan import StagePlan
from genie.sizing.table import count, power


def comparison(plans: list[StagePlan]) -> Iterator[str]:
    """One line for each published number: what it is, what is counted here, and which of them do not fit each other."""
    yield "The paper (arXiv 2402.15391) and this plan:"
    for plan in plans:
        if plan.stage in published.PARAMETERS:
            yield f"  {plan.stage}: {count(published.PARAMETERS[plan.stage])} parameters, here {count(plan.parameters)}"
    dynamics = next((plan for plan in plans if plan.stage == "dynamics"), None)
    if dynamics is None:
        return
    tokens, flops = dynamics.work.tokens, dynamics.work.training
    by_rule = 6 * published.PARAMETERS["dynamics"] * published.TOKENS
    yield f"  dynamics: {power(published.TOKENS)} tokens, here {power(tokens)} ({tokens:,})"
    yield (
        f"  dynamics: {power(published.FLOPS)} FLOPs, here {power(flops)}; 6 x parameters x tokens of the paper's own "
        f"numbers are {power(by_rule)}, and {power(published.FLOPS)} would be "
        f"{count(published.FLOPS / published.TOKENS / 6)} parameters"
    )
    parts = sum(published.PARAMETERS.values())
    yield f"  all: {count(published.WORLD_PARAMETERS)} parameters, while its parts are {count(parts)}"
