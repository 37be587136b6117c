"""Runs as they are on disk, without a model: configurations, curves, figures, a video and a picture."""

import copy
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from callbacks.metrics_csv import MetricsCSV
from genie.common.media import write_mp4, write_png
from genie.evaluation.evaluate import Evaluated
from genie.publishing.report_page import render

VOID = {"meta", "link", "br", "img", "input", "hr"}
EVALUATION = {
    "run": "outputs/a",
    "checkpoints": {"tokenizer": 20, "dynamics": 10},
    "split": "test",
    "clips": 5,
    "frames": 35,
    "prompt_frames": 3,
    "horizon": 3,
    "sampler": {"steps": 2, "temperature": 1.5, "order": "confidence", "entropy_bound": None},
    "seed": 7,
    "device": "cpu",
    "precision": "32-true",
    "true_actions": ["stay", "up", "down"],
    "tokenizer": {"psnr": 45.1234, "psnr_copy_last": 33.0625, "codebook_perplexity": 10.4996},
    "objects": {"ball": {"survival": 0.9861, "false_alarms": 0.0019, "seen": 647, "controls": 555}},
    "lam": {"action_accuracy": 0.8774, "action_accuracy_majority": 0.4603, "confusion": [[50, 3], [4, 61]]},
    "rollout": {
        "psnr_mean": 34.25,
        "psnr_copy_last_mean": 32.5202,
        "psnr_by_horizon": [36.3676, 35.5146, None],
        "psnr_copy_last_by_horizon": [33.7663, 33.0747, 32.5943],
    },
    "rollout_objects": {
        "ball": {
            "seen": 600,
            "generated": {"present": 0.5125, "present_by_horizon": [0.9, 0.6, 0.0375]},
            "copy_last": {"present": 0.9875, "present_by_horizon": [0.99, 0.98, 0.97]},
        }
    },
    "delta_psnr": {"t1": 2.7092, "t1_spread": 0.3355, "t4": 3.7611, "t4_spread": 0.0321, "t4_simulator": 9.8765},
    "fvd": {
        "name": "fvd/i3d_16f",
        "value": 512.3456,
        "unpaired": 600.25,
        "floor": 88.7654,
        "protocol": {"n": 64, "resize": "bilinear"},
    },
    "novelty": {"surprise": 0.1357, "list": [1.25, 2.75]},
    "cost": {"rollout": {"seconds": 12.3456, "peak_rss_mb": 987.6}},
    "left_out": {"action_grid": "the world is not trained"},
}  # fmt: skip


class Parsed(HTMLParser):
    """What is in a page: `complaints` about tags, `links` (attribute, address), `numbers`, `ids`, `text` and `best`."""

    def __init__(self, html):
        super().__init__()
        self.open, self.complaints, self.links, self.numbers, self.ids, self.best = [], [], [], [], set(), []
        self.tags, self.texts = set(), []
        self.feed(html)
        self.complaints += [f"{tag} is not closed" for tag in self.open]
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.links += [(name, value) for name, value in attributes if name in ("src", "href", "poster", "srcset")]
        if tag == "data" and values["value"]:
            self.numbers.append(float(values["value"]))
            if "best" in values.get("class", ""):
                self.best.append(float(values["value"]))
        if "id" in values:
            self.ids.add(values["id"])
        self.texts += [values[name] for name in ("title", "alt", "aria-label") if name in values]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.complaints.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


@pytest.fixture
def evaluation():
    """The contents of an evaluation.json, to be changed."""
    return copy.deepcopy(EVALUATION)


@pytest.fixture
def make_run(tmp_path, configure, evaluation):
    """make_run(name, values, **settings of the tokenizer's model): a run with all that a report shows."""

    def make(name="a", values=None, media=True, trained=True, **model):
        run = tmp_path / name.replace("/", "_")
        folder = run / "evaluation"
        folder.mkdir(parents=True)
        if trained:
            config = configure("tokenizer")
            config["model"]["tokenizer"] |= model
            (run / "tokenizer").mkdir()
            (run / "tokenizer" / "config.yaml").write_text(yaml.safe_dump(config))
            logger = MetricsCSV(run / "tokenizer" / "metrics.csv")
            for step in range(20):
                logger.log_metrics({"train/loss": 1 / (1 + step)}, step)
            logger.log_metrics({"val/loss": 0.2, "val/psnr": 30.0, "val/psnr_copy_last": 25.0}, 19)
            start = {"processes": 1, "device": "cpu", "precision": "32-true", "command": f"train {name}"}
            record = {"seconds": 83.5, "steps_per_second": 0.2467, "peak_rss_mb": 654.3, "peak_device_mb": None}
            (run / "tokenizer" / "run.json").write_text(json.dumps({**record, "starts": [start]}))
        if media:
            frames = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), dtype=np.uint8)
            write_mp4(folder / "rollout.mp4", frames, 5)
            write_png(folder / "action_grid.png", frames[0])
        return Evaluated(name, run, folder, evaluation if values is None else values)

    return make


@pytest.fixture
def parse():
    """parse(runs or path): the page, drawn and parsed."""
    return lambda page: Parsed(page.read_text() if isinstance(page, Path) else render(page))
