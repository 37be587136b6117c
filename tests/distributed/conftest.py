"""Tiny trainings of each stage, how torchrun starts the processes of some, and two processes that train sharded."""

import json
import runpy
import socket
from pathlib import Path
from unittest import mock

import pytest
from hydra import initialize_config_module

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
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from genie.common.cli import resolved
    from genie.training.train import train

    def run(overrides):
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("train", [*TINY, *overrides])
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


DRIVER = Path(__file__).with_name("driver.py")
# Codebooks and batch statistics look at the batch of one process.
SMALL = ["debug=fast", "+model.tokenizer.quantizer=fsq", "+model.tokenizer.levels=[4,4,4]", "+model.lam.quantizer=fsq"]
SMALL += ["+model.lam.levels=[3]", "+model.lam.standardize=false", "data.batch_size=2", "data.val_batch_size=4"]
SMALL += ["data.image_size=[16,16]", "model.tokenizer.patch_size=4", "model.lam.patch_size=4"]
SMALL += ["callbacks.rollouts.every_n_train_steps=0", "callbacks.checkpoint.every_n_train_steps=100"]
SMALL += ["trainer.val_check_interval=10", "trainer.limit_val_batches=1", "schedule=constant"]
SMALL += ["trainer.gradient_clip_val=0.1"]  # clips every step


@pytest.fixture(scope="session")
def small(pong_root):
    """small(*overrides): the configuration that the two processes train, of one process on twice the batch."""
    from genie.common.cli import resolved

    def configure(*overrides):
        alone = ["trainer.accelerator=cpu", "data.batch_size=4", f"data.root={pong_root}"]
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("train", [*SMALL, *alone, *overrides])

    return configure


@pytest.fixture(scope="session")
def pair(tmp_path_factory, pong_root, small, run):
    """(folder of the runs, results of each process)."""
    from genie.training.train import train

    folder = tmp_path_factory.mktemp("pair")
    train(small(f"output_dir={folder}", "name=single", "trainer.max_steps=3"))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run(Path(), *launcher, str(DRIVER), str(folder), *SMALL, f"data.root={pong_root}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder, [json.loads((folder / f"results_{rank}.json").read_text()) for rank in (0, 1)]
