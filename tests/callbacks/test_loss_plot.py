"""The picture of the curves: one panel for each kind of metric, baselines beside what they are baselines of."""

import numpy as np
from PIL import Image

from callbacks.metrics_csv import LossPlot, MetricsCSV, families, plot_metrics


def test_baselines_share_the_panel_of_their_metric():
    names = ["train/loss", "val/psnr", "val/psnr_background", "train/psnr", "val/loss", "val/masked_accuracy"]
    assert families(names) == {
        "loss": ["train/loss", "val/loss"],
        "psnr": ["val/psnr", "val/psnr_background", "train/psnr"],
        "masked_accuracy": ["val/masked_accuracy"],
    }


def test_a_prefix_without_underscore_is_another_metric():
    assert families(["val/lossy", "val/loss"]) == {"loss": ["val/loss"], "lossy": ["val/lossy"]}


def test_the_picture_follows_the_file(tmp_path):
    metrics, picture = tmp_path / "metrics.csv", tmp_path / "plots" / "loss.png"
    logger = MetricsCSV(metrics)
    plot_metrics(metrics, picture)
    assert not picture.exists()  # nothing was logged
    logger.log_metrics({"train/loss": 1.0}, step=0)
    plot_metrics(metrics, picture)
    before = np.asarray(Image.open(picture))
    logger.log_metrics({"train/loss": 0.5}, step=1)
    logger.log_metrics({"train/loss": float("nan")}, step=2)  # a run that diverges is looked at too
    plot_metrics(metrics, picture)
    assert not np.array_equal(before, np.asarray(Image.open(picture)))
    assert sorted(path.name for path in picture.parent.iterdir()) == ["loss.png"]


def test_every_run_draws_it(tmp_path, training, monkeypatch):
    monkeypatch.setattr("callbacks.metrics_csv.plot_metrics", plot_metrics)
    fit, model = training
    picture = tmp_path / "loss.png"
    drawn = []
    trained = model()
    trained.at_step = {4: lambda: drawn.append(picture.exists())}  # after the first validation
    fit(tmp_path, trained, callbacks=[LossPlot(tmp_path / "metrics.csv", picture)])
    assert drawn == [True]
    assert Image.open(picture).size[0] > 500
