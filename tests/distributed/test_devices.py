"""What cannot run is refused before anything is started, in one line that names the key."""

import pytest
import torch

from genie.common.errors import UserError
from genie.distributed.launch import layout


@pytest.fixture
def machine(monkeypatch):
    """machine(gpus, mps, **environment): pretends to be such a machine, without what launchers set."""

    def pretend(gpus=0, mps=False, **environment):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))

    return pretend


TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "WORLD_SIZE": 4}


def group(accelerator="auto", devices=1, num_nodes=1, strategy="auto"):
    return {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}


@pytest.mark.parametrize(
    ("there", "trainer", "launcher", "expected"),
    [
        ({}, group(), "local", (1, 1)),
        ({}, group("cpu", 3, strategy="ddp"), "local", (3, 1)),
        ({"gpus": 4}, group("gpu", "auto", strategy="ddp"), "local", (4, 1)),
        ({"gpus": 4}, group("gpu", -1, strategy="ddp"), "local", (4, 1)),
        ({"gpus": 4}, group("gpu", [1, 3], strategy="ddp"), "local", (2, 1)),
        ({"gpus": 4}, group("cpu", "auto"), "local", (1, 1)),
        ({"mps": True}, group("gpu"), "local", (1, 1)),
        (TORCHRUN, group("cpu", "auto", "auto", "ddp"), "torchrun", (2, 2)),
        (TORCHRUN, group("cpu", 2, 2, "ddp"), "torchrun", (2, 2)),
        ({"MASTER_ADDR": "a", "MASTER_PORT": 1, "NODE_RANK": 0}, group("cpu", 1, 2, "ddp"), "local", (1, 2)),
    ],
)
def test_processes_and_machines(machine, there, trainer, launcher, expected):
    machine(**there)
    assert layout(trainer, launcher) == expected


@pytest.mark.parametrize(
    ("there", "trainer", "launcher", "words"),
    [
        ({"gpus": 2}, group("gpu", 4, strategy="ddp"), "local", "trainer.devices=4: there are 2 "),
        ({"gpus": 2}, group("gpu", [0, 2], strategy="ddp"), "local", r"has the GPUs \[0, 1\]"),
        ({"gpus": 2}, group("gpu", [0, 0], strategy="ddp"), "local", r"devices=\[0, 0\]"),
        ({}, group("gpu"), "local", "no such device here; trainer=cpu"),
        ({}, group("mps"), "local", "no such device"),
        ({}, group("cpu", -1), "local", "devices=-1 must be"),
        ({}, group("cpu", [0, 1]), "local", r"devices=\[0, 1\] must be"),
        ({"mps": True}, group("gpu", strategy="ddp"), "local", "ddp does not run on MPS"),
        ({}, group("cpu", 2, "auto", "ddp"), "local", "num_nodes is not given"),
        ({}, group("cpu", 2, 2, "ddp"), "local", "MASTER_ADDR, MASTER_PORT, NODE_RANK in the environment"),
        ({}, group("cpu"), "torchrun", "torchrun did not start this"),
        (TORCHRUN, group("cpu"), "local", "add launcher=torchrun"),
        (TORCHRUN, group("cpu", 2, 1, "ddp"), "torchrun", "started 2 .* 4 in all, .*devices=2 .*num_nodes=1"),
        (TORCHRUN, group("cpu", 4, 1, "ddp"), "torchrun", "devices=4"),  # as many in all, but not on one machine
    ],
)
def test_what_cannot_be(machine, there, trainer, launcher, words):
    machine(**there)
    with pytest.raises(UserError, match=words) as refused:
        layout(trainer, launcher)
    assert "\n" not in str(refused.value)
