"""The figures of the start-up report are those of the module."""

from types import SimpleNamespace

import torch
from torch import nn

from callbacks.startup_report import StartupReport, device, report
from genie.common.tables import size


class Stage(nn.Module):
    tokens_per_frame = 64
    options = {}  # of the optimizer's one group

    def __init__(self):
        super().__init__()
        self.trained = nn.Linear(1000, 100, bias=False)
        self.frozen = nn.Linear(10, 10, bias=False).requires_grad_(False)

    def parts(self):
        return {"encoder": self.trained, "tokenizer": self.frozen}

    def example_flops(self):
        return 3_210_000_000

    def optimizer_groups(self):
        return [{"params": [("trained", self.trained.weight), ("frozen", self.frozen.weight)], **self.options}]


def trainer(**changes):
    values = {
        "strategy": SimpleNamespace(root_device=torch.device("cpu")),
        "world_size": 1,
        "precision": "32-true",
        "datamodule": SimpleNamespace(train_dataset=range(24000), val_dataset=range(256)),
        "max_steps": 3000,
        "accumulate_grad_batches": 1,
        "is_global_zero": True,
    }
    return SimpleNamespace(**values | changes)


def test_every_figure():
    lines = report(trainer(), Stage())
    assert lines["parameters: encoder"] == "100 k"
    assert lines["parameters: tokenizer"] == "100 (frozen)"
    assert lines["forward FLOPs per clip"] == "3.21 G"
    assert lines["tokens per frame"] == "64"
    # 100,000 floats trained: weight, gradient and two moments; 100 floats frozen: the weight alone
    weights, fixed = 4 * 100_000, 4 * 100
    assert lines["memory"].endswith(f"= {size(4 * weights + fixed)}")
    assert f"optimiser {size(2 * weights)}" in lines["memory"]
    assert lines["clips"] == "train 24,000, val 256"
    assert lines["steps"] == "3,000"


def test_muon_keeps_one_number_for_each_weight():
    stage = Stage()
    stage.options = {"momentum": 0.9}
    assert f"optimiser {size(4 * 100_000)} = {size(3 * 4 * 100_000 + 400)}" in report(trainer(), stage)["memory"]


def test_episodes_that_are_not_seen_are_said():
    class Clips(list):
        too_short = 7

    lines = report(trainer(datamodule=SimpleNamespace(train_dataset=Clips(range(30)), val_dataset=range(3))), Stage())
    assert lines["not seen: train"].startswith("7 episodes") and "not seen: val" not in lines


def test_accumulation_is_said_and_data_may_be_unknown():
    lines = report(trainer(accumulate_grad_batches=4, datamodule=None), Stage())
    assert lines["steps"] == "3,000, each of 4 batches"
    assert "clips" not in lines


def test_one_rank_prints(capsys):
    callback = StartupReport("pong tokenizer", "outputs/pong/tokenizer")
    callback.on_fit_start(trainer(is_global_zero=False), Stage())
    assert capsys.readouterr().out == ""
    callback.on_fit_start(trainer(), Stage())
    out = capsys.readouterr().out
    assert "outputs/pong/tokenizer" in out and "3.21 G" in out


def test_sizes():
    assert [size(0), size(1023), size(1536), size(10 * 2**30)] == ["0 B", "1023 B", "1.5 KiB", "10 GiB"]


def test_the_device_of_a_gpu_says_how_exact_products_of_fp32_are():
    assert device(2, "cpu", "32-true") == "2 x cpu, 32-true"
    assert (
        device(8, "cuda", "32-true") == f"8 x cuda, 32-true, products of fp32: {torch.get_float32_matmul_precision()}"
    )
