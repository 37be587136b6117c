"""Training through its function: what it refuses, how it goes on, what it returns."""

import os
import signal

import pytest
import torch
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.common.errors import RunError, UserError
from genie.distributed.rendezvous import Ranks
from genie.runs.metrics_file import last_values, read_metrics
from genie.stages import build_stage
from genie.training.train import Run, build_trainer, resume_command, train

pytestmark = pytest.mark.slow


@pytest.fixture
def configure(tmp_path, pong_root):
    """configure(*overrides): the resolved configuration of a few steps of the debug model on real Pong."""

    def build(*overrides):
        defaults = ["debug=fast", f"data.root={pong_root}", f"output_dir={tmp_path / 'outputs'}", "name=run"]
        defaults += ["callbacks.rollouts.every_n_train_steps=0"]  # nothing here is about pictures
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("train", [*defaults, *overrides])

    return build


def folder_of(config):
    from genie.runs.folder import RunFolder

    return RunFolder(config)


def trainer_of(config):
    with Ranks(config) as ranks:
        return build_trainer(Run(folder_of(config), ranks, "run"), build_stage(config))


def test_a_run_folder_holds_what_its_readme_says_and_the_objective_is_returned(configure, tmp_path):
    config = configure()
    value = train(config)
    run = tmp_path / "outputs" / "run" / "tokenizer"
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "run.json",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/step-000000004.ckpt",
        "checkpoints/step-000000005.ckpt",
        "plots/loss.png",
    }
    rows = read_metrics(run / "metrics.csv")
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows if "val/loss" in row] == [3, 5]
    assert value == rows[-1]["val/loss"] == last_values(run / "metrics.csv")["val/loss"]
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 5
    assert checkpoint["hyper_parameters"]["config"] == config
    assert "${" not in (run / "config.yaml").read_text()


def test_tokens_that_jitter_are_said_with_what_helps(configure, capsys, monkeypatch):
    line = "run tokenizer: 5% of the tokens change where the picture stands still"
    monkeypatch.setattr("genie.metrics.token_accuracy.TokenJitter.compute", lambda metric: {"jitter": 0.05})
    train(configure())
    assert line in capsys.readouterr().out
    train(configure("overwrite=true", "stage.stability_weight=1", "stage.stability_tolerance=0.02"))
    assert line not in capsys.readouterr().out
    monkeypatch.setattr("genie.metrics.token_accuracy.TokenJitter.compute", lambda metric: {"jitter": 0.02})
    train(configure("overwrite=true"))
    assert line not in capsys.readouterr().out


def test_a_complete_run_is_left_alone(configure, capsys):
    value = train(configure())
    config = configure("resume=true")
    before = folder_of(config).last.stat().st_mtime_ns
    assert train(config) == value
    assert "is complete: 5 steps" in capsys.readouterr().out
    assert folder_of(config).last.stat().st_mtime_ns == before


def test_resuming_nothing_starts_and_says_so(configure, capsys):
    train(configure("resume=true"))
    out = capsys.readouterr().out
    assert "nothing to resume" in out and "5 steps in" in out


def test_a_longer_run_goes_on_from_the_last_step(configure, capsys):
    train(configure())
    longer = configure("resume=true", "trainer.max_steps=8")
    train(longer)
    out = capsys.readouterr().out
    assert "going on from step 5 of 8" in out and "changed: trainer.max_steps 5 -> 8" in out
    rows = read_metrics(folder_of(longer).metrics)
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 9))
    assert torch.load(folder_of(longer).last, weights_only=True)["global_step"] == 8


def test_another_model_is_refused_by_its_differing_keys(configure):
    train(configure())
    with pytest.raises(UserError, match=r"model\.tokenizer\.width \(32 there, 64 now\)") as raised:
        train(configure("resume=true", "trainer.max_steps=8", "model.tokenizer.width=64"))
    assert "num_blocks" not in str(raised.value)
    # The latent action model is no part of this stage: its options may change.
    train(configure("resume=true", "trainer.max_steps=6", "model.lam.width=64"))


def test_a_missing_earlier_stage_is_said_before_anything_is_made(configure, tmp_path):
    with pytest.raises(UserError, match=r"tokenizer.*last\.ckpt"):
        train(configure("stage=dynamics"))
    assert not (tmp_path / "outputs").exists()


def test_dynamics_do_not_go_on_with_another_tokenizer(configure):
    train(configure())
    train(configure("stage=dynamics", "stage.actions=environment"))
    train(configure("overwrite=true", "seed=1"))
    with pytest.raises(UserError, match="tokenizer_ckpt holds other weights"):
        train(configure("stage=dynamics", "stage.actions=environment", "resume=true", "trainer.max_steps=8"))


def test_an_average_of_the_weights_is_saved_and_resumed(configure):
    settings = ["ema=true", "callbacks.ema.decay=0.9"]
    train(configure(*settings, "trainer.max_steps=8", "name=whole"))
    train(configure(*settings, "trainer.max_steps=4", "name=parts", "trainer.val_check_interval=4"))
    train(configure(*settings, "trainer.max_steps=8", "name=parts", "resume=true"))
    whole, parts = (
        torch.load(folder_of(configure(f"name={name}")).last, weights_only=True) for name in ("whole", "parts")
    )
    key = next(name for name in whole["state_dict"] if name.endswith("weight"))
    assert not torch.equal(whole["state_dict"][key], whole["current_model_state"][key])
    for name in ("state_dict", "current_model_state"):
        assert whole[name].keys() == parts[name].keys()


def test_a_resumed_run_takes_the_options_of_the_optimizer_that_it_is_given(configure):
    train(configure("schedule=constant", "schedule.warmup_steps=0"))
    changed = ["optimizer.lr=0.002", "optimizer.weight_decay=0.3", "optimizer.betas=[0.8,0.7]", "trainer.max_steps=6"]
    train(configure("schedule=constant", "schedule.warmup_steps=0", *changed, "resume=true"))
    saved = torch.load(folder_of(configure()).last, weights_only=True)
    groups = saved["optimizer_states"][0]["param_groups"]
    assert [(group["lr"], group["weight_decay"], tuple(group["betas"])) for group in groups] == [
        (0.002, 0.3, (0.8, 0.7)),
        (0.002, 0.0, (0.8, 0.7)),
    ]
    assert saved["lr_schedulers"][0]["base_lrs"] == [0.002, 0.002]


def test_a_run_with_muon_resumes_bit_for_bit(configure):
    settings = ["optimizer=muon", "trainer.accumulate=2", "ema=true", "schedule=constant"]
    train(configure(*settings, "trainer.max_steps=3", "name=cut"))
    train(configure(*settings, "trainer.max_steps=6", "name=cut", "resume=true"))
    train(configure(*settings, "trainer.max_steps=6", "name=uncut"))
    for name in ("train/learning_rate", "train/muon_learning_rate"):
        assert any(name in row for row in read_metrics(folder_of(configure("name=cut")).metrics))
    cut, uncut = (torch.load(folder_of(configure(f"name={name}")).last, weights_only=True) for name in ("cut", "uncut"))
    for name in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, uncut[name][key]) for key, value in cut[name].items()), name
    states, others = (checkpoint["optimizer_states"][0]["state"] for checkpoint in (cut, uncut))
    assert states.keys() == others.keys()
    for place, state in states.items():
        assert all(torch.equal(value, others[place][key]) for key, value in state.items()), place


@pytest.mark.parametrize(("began", "now"), [("adamw", "muon"), ("muon", "adamw")])
def test_another_optimizer_is_refused_with_the_one_that_the_run_was_begun_with(configure, began, now):
    train(configure(f"optimizer={began}"))
    with pytest.raises(UserError, match=f"optimizer={now}: the run was begun with {began}.*give optimizer={began}"):
        train(configure(f"optimizer={now}", "resume=true", "trainer.max_steps=8"))


def test_a_resumed_run_takes_the_options_of_muon_that_it_is_given(configure):
    still = ["optimizer=muon", "schedule=constant", "schedule.warmup_steps=0"]
    train(configure(*still))
    changed = ["optimizer.muon_lr=0.002", "optimizer.momentum=0.5", "optimizer.newton_schulz_steps=3"]
    train(configure(*still, *changed, "trainer.max_steps=6", "resume=true"))
    groups = torch.load(folder_of(configure()).last, weights_only=True)["optimizer_states"][0]["param_groups"]
    muon = [group for group in groups if "momentum" in group]
    assert len(muon) == 2
    assert all((group["lr"], group["momentum"], group["steps"]) == (0.002, 0.5, 3) for group in muon)


def test_compiling_is_done_on_request(configure, monkeypatch):
    compiled = []
    monkeypatch.setattr("genie.models.st_transformer.STBlock.compile", lambda block: compiled.append(block))
    train(configure("name=eager"))
    assert compiled == []
    train(configure("compile=true"))
    assert len(compiled) == 2  # encoder and decoder have one each


def test_the_validation_interval_counts_steps_not_batches(configure):
    trainer = trainer_of(configure("trainer.accumulate=4", "trainer.val_check_interval=3"))
    assert trainer.val_check_interval == 12
    assert trainer.max_epochs == -1


def test_the_best_state_is_the_one_with_the_better_figure(configure):
    def modes(*overrides):
        savers = trainer_of(configure(*overrides)).checkpoint_callbacks
        return [saver.mode for saver in savers if getattr(saver, "monitor", None)]

    assert modes() == ["min"] and modes("callbacks.checkpoint.monitor=val/psnr") == ["max"]
    assert modes("callbacks.checkpoint.monitor=val/psnr", "callbacks.checkpoint.mode=min") == ["min"]
    with pytest.raises(UserError, match=r"val/luck .* give callbacks\.checkpoint\.mode=min"):
        modes("callbacks.checkpoint.monitor=val/luck")


def test_the_command_to_go_on_repeats_the_command_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "stage=lam", "resume=true", "overwrite=true", "data.in_memory=true"])
    assert resume_command() == "python -m genie.train stage=lam data.in_memory=true resume=true"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.precision=17", "precision"),
        ("trainer.accelerator=abacus", "abacus"),
        ("logger=wandb logger.wandb.mode=sometimes", "auto, online, offline, disabled"),
        ("+trainer.max_stepps=3", "max_stepps"),
    ],
)
def test_what_lightning_refuses_is_the_users_error_and_leaves_no_run(configure, tmp_path, override, words):
    with pytest.raises(UserError, match=words):
        train(configure(*override.split()))
    assert not (tmp_path / "outputs").exists()


def test_a_training_whose_reader_is_killed_ends_with_one_line_and_can_go_on(configure, monkeypatch):
    from data_modules.formats.episode_reader import EpisodeReader
    from data_modules.worker_loader import now_reading

    rows, parent = EpisodeReader._rows, os.getpid()

    def killed(self, name, part):
        now_reading(self.path)
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows(self, name, part)

    config = configure("trainer.max_steps=2", "data.num_workers=1")
    with monkeypatch.context() as patch:
        patch.setattr(EpisodeReader, "_rows", killed)
        with pytest.raises(RunError, match=r"killed .*while it read .*train\.h5.* resume=true"):
            train(config)
    train(config | {"resume": True})
