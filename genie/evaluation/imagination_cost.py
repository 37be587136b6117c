"""Cost of imagination as planners use it: time and memory against the branches at a time and against the horizon.

Branches begin from one state and take random actions; nothing is drawn, and there are rewards where the world has them.

Dimension letters: `O` the shape of an observation, `A` numbers of an action.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from genie.common.plots import save_figure
from genie.common.profiling import measured, peak_device_mb, peak_rss_mb
from genie.common.settings.evaluation import Imagination
from genie.evaluation.part import Evaluation, Part, Row
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.world.protocol import World


@dataclass(frozen=True)
class ImaginationCost:
    """Of `branches` of `horizon` steps, `batch` at a time: `seconds` of all, the `peak_mb` of the process, and the part
    of it for imagination (`own_mb`). On a CUDA device both are of its tensors."""

    branches: int
    horizon: int
    batch: int
    seconds: float
    peak_mb: float
    own_mb: float

    @property
    def steps_per_second(self) -> float:
        """Of all branches together."""
        return self.branches * self.horizon / self.seconds

    @property
    def name(self) -> str:
        """`b64_h10`: the batch and the horizon."""
        return f"b{self.batch}_h{self.horizon}"


def imagination_costs(world: World, given: Tensor, settings: Imagination) -> Iterator[ImaginationCost]:
    """One after the other, after a step that warms up. `given` [1, T, *O]: observations that the state begins from."""
    pairs = [(settings.horizon, batch) for batch in settings.batches]
    pairs += [(horizon, settings.batches[0]) for horizon in settings.horizons]
    measure(world, given, 2, 1, 2)
    for horizon, batch in dict.fromkeys(pairs):
        yield measure(world, given, settings.branches, horizon, batch)


@torch.no_grad()
def measure(world: World, given: Tensor, branches: int, horizon: int, batch: int) -> ImaginationCost:
    device = world.device
    plans = random_plans(world, branches, horizon).to(device)
    # as planners do: the given observations are run once, and not by each branch
    state = world.warmed(world.reset(given.to(device)))
    on_device = device.type == "cuda"
    if on_device:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    with measured() as cost:
        before = peak_device_mb(device) if on_device else peak_rss_mb()  # earlier peaks are forgotten
        for rows in torch.arange(branches).split(batch):
            forks = state.select([0] * len(rows)).reseeded(rows)
            for action in plans[rows.to(device)].unbind(1):
                forks, _ = world.step(forks, action, decode=False)
        if on_device:
            torch.cuda.synchronize(device)
    peak = peak_device_mb(device) if on_device else cost.peak_rss_mb
    return ImaginationCost(branches, horizon, batch, cost.seconds, peak, max(0.0, peak - before))  # some was freed


def random_plans(world: World, branches: int, horizon: int) -> Tensor:
    """int64 [branches, horizon] or float [branches, horizon, A]."""
    generator = torch.Generator().manual_seed(0)
    if hasattr(world.action_space, "n"):
        return torch.randint(int(world.action_space.n), (branches, horizon), generator=generator)
    return 2 * torch.rand(branches, horizon, *world.action_space.shape, generator=generator) - 1


def evaluate_imagination(world: World, given: Tensor, settings: Imagination, folder: Path) -> dict:
    """By batch and horizon (`b64_h10`): `seconds`, `steps_per_second`, `peak_mb` and `own_mb`; draws
    imagination.png."""
    costs = list(imagination_costs(world, given, settings))
    plot_costs(costs, settings, folder / "imagination.png")
    names = ("seconds", "steps_per_second", "peak_mb", "own_mb")
    figures = {cost.name: {name: getattr(cost, name) for name in names} for cost in costs}
    return {"branches": settings.branches, **figures}


def plot_costs(costs: list[ImaginationCost], settings: Imagination, path: Path) -> None:
    """Above against the branches at a time, beneath against the horizon: seconds, and memory for imagining."""
    lines = {
        "branches at a time": [(one.batch, one) for one in costs if one.horizon == settings.horizon],
        "horizon": [(one.horizon, one) for one in costs if one.batch == settings.batches[0]],
    }
    panels = {"seconds": ("seconds", 0.1), "own_mb": ("memory for it [MB]", 10)}  # on the axis, and the least it shows
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    for row, (label, line) in zip(figure.subplots(2, 2), lines.items(), strict=True):
        line.sort(key=lambda pair: pair[0])
        places = [x for x, _ in line]
        for axes, (name, (unit, least)) in zip(row, panels.items(), strict=True):
            heights = [getattr(one, name) for _, one in line]
            axes.plot(places, heights, color="tab:orange", marker="o")
            axes.set(xlabel=label, ylabel=unit, xticks=places, ylim=(0, 1.05 * max(least, *heights)))
            axes.grid(alpha=0.3)
    fixed = f"{settings.branches} branches. Above: {settings.horizon} steps; beneath: {settings.batches[0]} at a time"
    figure.suptitle(fixed, fontsize="medium")
    save_figure(figure, path)


COST = Definition(
    "imagination", "What imagining costs", "What imagining costs",
    "Branches from one state are imagined under random actions, without drawing a frame, so many at a time. "
    "Memory is the most that the process held, and what of it came on top of what it held before.",
)  # fmt: skip


def _rows(report: dict) -> list[Row]:
    rows = []
    for name, cost in report.get("imagination", {}).items():
        if found := re.fullmatch(r"b(\d+)_h(\d+)", name):
            note = f"steps a second; {cost['seconds']:.1f} s, {cost['peak_mb']:.0f} MB, {cost['own_mb']:.0f} for it"
            label = f"imagining {found[1]} x {found[2]} steps"
            rows.append((label, f"{cost['steps_per_second']:.0f}", "", "", note))
    return rows


def _measure(evaluation: Evaluation) -> dict:
    """Of branches from the first clip."""
    imagined, settings = evaluation.imagined, evaluation.config.imagination
    given = imagined.clips.sample(1).observations[:, : imagined.prompt]
    return {"imagination": evaluate_imagination(imagined.world, given, settings, evaluation.folder)}


IMAGINATION = Part(
    "imagination",
    _measure,
    needs=("world",),
    metrics=(
        MetricInfo("imagination.branches", "branches from one state", "", COST, digits=0),
        MetricInfo("imagination.b{batch:d}_h{horizon:d}.steps_per_second",
                   "{batch} at a time, horizon {horizon}: steps a second", "of all branches together", COST, digits=0,
                   better=HIGHER,
                   beside={"seconds": "time", "peak_mb": "peak memory", "own_mb": "of it for imagining"}),
        MetricInfo("imagination.{budget}.seconds", "time", "", COST, "s", better=LOWER),
        MetricInfo("imagination.{budget}.{which:peak|own}_mb", "memory", "", COST, "MB", 0, LOWER),
    ),
    titles={"imagination": "What imagining costs"},
    rows=_rows,
)  # fmt: skip
