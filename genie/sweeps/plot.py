"""sweep.png: the objective against each key that the jobs of a sweep differ in."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genie.common.files import replacing
from genie.common.plots import whole_ticks

NUM_COLUMNS = 3
LOG_SCALE_RATIO = 20  # a range that is wider is unreadable on a linear axis


def plot_sweep(records: list[dict[str, Any]], names: list[str], picture: Path) -> None:
    """Draws the completed jobs into a PNG, a panel for each of `names`; nothing to draw, no picture."""
    done = [record for record in records if record["status"] == "completed"]
    if not done or not names:
        return
    num_rows = -(-len(names) // NUM_COLUMNS)
    columns = min(len(names), NUM_COLUMNS)
    figure = Figure(figsize=(5 * columns, 3.6 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        axes = figure.add_subplot(num_rows, columns, index + 1)
        draw(axes, [record["overrides"].get(name, "") for record in done], [record["value"] for record in done])
        axes.set(xlabel=name, ylabel=done[0]["objective"])
        axes.grid(alpha=0.3)
    with replacing(picture) as file:
        figure.savefig(file, format="png", dpi=110)


def draw(axes: Axes, given: list[str], values: list[float]) -> None:
    """Points over the values of one key: numbers at their place, anything else side by side."""
    try:
        places = [float(text) for text in given]
    except ValueError:
        choices = sorted(set(given))
        places = [choices.index(text) for text in given]
        axes.set_xticks(range(len(choices)), choices, rotation=30 if len(choices) > 4 else 0)
    else:
        if min(places) > 0 and max(places) > LOG_SCALE_RATIO * min(places):
            axes.set_xscale("log")
        elif all(place.is_integer() for place in places):  # a seed, a number of layers
            whole_ticks(axes)
    axes.plot(places, values, "o", color="tab:blue", alpha=0.7)
