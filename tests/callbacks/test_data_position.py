"""A run that goes on with other batches goes on with the clips that would have been next."""

import pytest
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.runs.metrics_file import read_metrics
from genie.stages import TokenizerStage
from genie.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture
def trained_clips(tmp_path, pong_root, monkeypatch):
    """trained_clips(*overrides): trains in the same folder and gives the seeds of the clips, one after the other."""
    seen = []
    step = TokenizerStage.training_step

    def training_step(stage, batch, index):
        seen.extend(batch["seed"].tolist())
        return step(stage, batch, index)

    monkeypatch.setattr(TokenizerStage, "training_step", training_step)

    def run(*overrides):
        defaults = ["debug=fast", f"data.root={pong_root}", f"output_dir={tmp_path}", "name=run", "schedule=constant"]
        defaults += ["callbacks.rollouts.every_n_train_steps=0", "trainer.limit_val_batches=0"]
        seen.clear()
        with initialize_config_module("conf", version_base="1.3"):
            train(resolved("train", [*defaults, *overrides]))
        return list(seen)

    return run


def test_the_order_of_the_clips_is_kept(trained_clips, capsys, tmp_path):
    whole = trained_clips("trainer.max_steps=30", "data.batch_size=4", "name=whole")
    parts = trained_clips("trainer.max_steps=5", "data.batch_size=4")
    assert "order is kept" not in capsys.readouterr().out
    parts += trained_clips("trainer.max_steps=8", "data.batch_size=6", "resume=true")
    assert "6 clips a step instead of 4: their order is kept, it goes on behind clip 20 of pass 0" in (
        capsys.readouterr().out
    )
    parts += trained_clips("trainer.max_steps=10", "data.batch_size=6", "resume=true")  # as before
    parts += trained_clips("trainer.max_steps=13", "data.batch_size=1", "trainer.accumulate=4", "resume=true")
    parts += trained_clips("trainer.max_steps=15", "data.batch_size=2", "trainer.accumulate=1", "resume=true")
    assert len(parts) == 20 + 18 + 12 + 12 + 4 and parts == whole[: len(parts)]
    rows = read_metrics(tmp_path / "run" / "tokenizer" / "metrics.csv")
    assert [row["step"] for row in rows] == list(range(1, 16))


def test_with_other_clips_the_next_pass_begins(trained_clips, capsys):
    parts = trained_clips("trainer.max_steps=5", "data.batch_size=4")
    capsys.readouterr()
    others = trained_clips("trainer.max_steps=150", "data.batch_size=4", "data.num_frames=5", "resume=true")
    line = next(line for line in capsys.readouterr().out.splitlines() if "could not be kept" in line)
    assert "pass 1 over them begins" in line
    assert len({*others}) == len(others) and not {*others} & {*parts}  # no clip twice: seeds are of a pass


def test_the_pass_over_the_data_is_told_to_the_loggers(trained_clips, tmp_path):
    trained_clips("trainer.max_steps=3", "data.batch_size=200")
    rows = read_metrics(tmp_path / "run" / "tokenizer" / "metrics.csv")
    assert [row["epoch"] for row in rows] == [0, 0, 1]
