"""Two processes that train sharded, started once for all tests of this folder."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

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
    from genie.common.cli import to_plain

    def configure(*overrides):
        alone = ["trainer.accelerator=cpu", "data.batch_size=4", f"data.root={pong_root}"]
        with initialize_config_module("conf", version_base="1.3"):
            return to_plain(compose("train", [*SMALL, *alone, *overrides]))

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
