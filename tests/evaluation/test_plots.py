"""The axes of plots: there is no half a frame, step or code."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from callbacks.metrics_csv import plot_metrics
from genie.common.plots import plot_codebook, plot_horizon
from genie.evaluation.attention import MapRow, plot_attention
from genie.planning.plots import plot_states
from genie.training.sweeps import plot_sweep


def attention(path, count):
    rows = [MapRow("block 1", torch.rand(2, 2, 2), torch.rand(2, count))]
    plot_attention([(torch.rand(count, 3, 8, 8), [0, 0, 4], rows)], True, path)


def losses(path, count):
    metrics = path.with_suffix(".csv")
    metrics.write_text("step,train/loss\n" + "".join(f"{step},0.5\n" for step in range(1, count + 1)))
    plot_metrics(metrics, path)


def sweep(path, count):
    records = [
        {"status": "completed", "overrides": {"seed": str(n)}, "value": n, "objective": "x"} for n in range(count)
    ]
    plot_sweep(records, ["seed"], path)


PLOTS = {
    "attention": attention,
    "horizon": lambda path, count: plot_horizon({"": [1.0] * count}, "dB", path),
    "states": lambda path, count: plot_states({"real": np.zeros((count, 2))}, path),
    "codebook": lambda path, count: plot_codebook(torch.ones(count), path),
    "losses": losses,
    "sweep": sweep,
}


@pytest.mark.parametrize("count", [1, 2, 4, 17])
@pytest.mark.parametrize("plot", PLOTS)
def test_what_is_counted_has_ticks_at_whole_numbers(plot, count, tmp_path, monkeypatch):
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    PLOTS[plot](tmp_path / "plot.png", count)
    ticks = [axes.get_xticks() for axes in drawn[0].axes if axes.axison]
    assert any(len(some) for some in ticks)
    assert all(float(tick).is_integer() for some in ticks for tick in some)
