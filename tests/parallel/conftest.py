"""Tiny trainings of each stage, and how torchrun starts the processes of some."""

import json
import runpy
import socket
from pathlib import Path
from unittest import mock

import pytest

TRAININGS = Path(__file__).with_name("trainings.py")
TINY = [
    "model=debug",
    "data.image_size=[16,16]",
    "model.tokenizer.patch_size=4",
    "model.lam.patch_size=4",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.max_steps=20",
    "trainer.val_check_interval=20",
    "trainer.log_every_n_steps=1",
    "callbacks.rollouts.every_n_train_steps=0",
    "data.num_workers=0",
    "data.val_clips=16",
]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def torchrun(background):
    """torchrun(nodes, processes, *arguments): the finished commands of `nodes` machines, each of which is this one."""

    start, finish = background

    def run(nodes, processes, *arguments):
        flags = ["--nnodes", str(nodes), "--nproc-per-node", str(processes)]
        flags += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
        started = [
            start(Path(), "-m", "torch.distributed.run", *flags, "--node-rank", str(node), *arguments)
            for node in range(nodes)
        ]
        return [finish(process) for process in started]

    return run


@pytest.fixture(scope="session")
def trainings(tmp_path_factory, torchrun):
    """trainings(nodes, processes, cases): trains each list of overrides in float64, one after the other, in the same
    processes."""

    def run(nodes, processes, cases):
        path = tmp_path_factory.mktemp("cases") / "cases.json"
        path.write_text(json.dumps([[*TINY, *case, "launcher=torchrun"] for case in cases]))
        return torchrun(nodes, processes, str(TRAININGS), str(path))

    return run


@pytest.fixture(scope="session")
def train_here(tmp_path_factory):
    """train_here(overrides): the same in this process, by itself."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from genie.common.cli import to_plain
    from genie.training.train import train

    def run(overrides):
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            config = to_plain(compose("train", [*TINY, *overrides]))
        with mock.patch("callbacks.metrics_csv.plot_metrics"):
            return train(config)

    return run


@pytest.fixture(scope="session")
def train_exactly(train_here):
    """train_exactly(overrides): the same in float64, as `trainings` does it."""
    in_float64 = runpy.run_path(str(TRAININGS))["in_float64"]

    def run(overrides):
        with in_float64():
            return train_here(overrides)

    return run


@pytest.fixture(scope="session")
def training(background):
    """(start, finish): start(*overrides) gives a running `python -m genie.train`, finish(process) the finished one."""
    start, finish = background
    return lambda *overrides: start(Path(), "-m", "genie.train", *TINY, *overrides), finish
