"""What a validation logs, through Lightning's own loop."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from genie.metrics.actions import ActionAlignment
from genie.stages.dynamics import teacher_forced


def psnr(a, b):
    return (-10 * (a - b).square().mean().log10()).item()


def fit(stage, make_clips, **settings):
    batches = [make_clips(4, seed=seed) for seed in range(4)]
    trainer = L.Trainer(
        accelerator="cpu", max_steps=2, max_epochs=-1, logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip
    loader = DataLoader(batches, batch_size=None)
    trainer.fit(stage, DataLoader(batches, batch_size=None), DataLoader(batches[2:], batch_size=None))
    assert "train/loss" in trainer.callback_metrics
    trainer.validate(stage, loader, verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}, batches


def baselines(stage, batches):
    frames = torch.cat([batch["frames"] for batch in batches]) / 255
    return {
        "val/psnr_copy_last": psnr(frames[:, :-1], frames[:, 1:]),
        "val/psnr_background": psnr(stage.background.expand_as(frames[:, 1:]), frames[:, 1:]),
    }


@pytest.mark.filterwarnings("ignore")
def test_figures_do_not_suffer_from_the_precision_of_training(build, make_clips):
    exact, mixed = (fit(build("tokenizer"), make_clips, precision=name)[0] for name in ("32-true", "bf16-mixed"))
    for name in ("val/psnr", "val/psnr_copy_last", "val/ssim"):
        assert mixed[name] == pytest.approx(exact[name], rel=0.01), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["tokenizer", "lam", "dynamics", "cotrain"])
def test_validation(build, make_clips, name):
    stage = build(name)
    values, batches = fit(stage, make_clips)
    assert all(torch.tensor(value).isfinite() for value in values.values()), values
    stage.eval()
    frames = torch.cat([batch["frames"] for batch in batches]) / 255
    actions = torch.cat([batch["actions"] for batch in batches])
    expected = {}
    if name == "tokenizer":
        out = stage.model(frames)
        expected = baselines(stage, batches) | {
            "val/psnr": psnr(out.reconstruction[:, 1:], frames[:, 1:]),  # of the frames that the baselines have
            "val/codebook_usage": len(out.tokens.unique()) / 64,
            "val/reconstruction_loss": (out.reconstruction - frames).square().mean().item(),
        }
        assert 0 < values["val/ssim"] < 1
        still = (frames[:, 1:] == frames[:, :-1]).unfold(3, 4, 4).unfold(4, 4, 4).all(dim=(2, 5, 6)).flatten(2)
        expected["val/jitter"] = (out.tokens[:, 1:] != out.tokens[:, :-1])[still].float().mean().item()
        assert 0.1 < still.float().mean() < 1
    if name in ("lam", "cotrain"):
        out = (stage.model if name == "lam" else stage.lam)(frames)
        expected = baselines(stage, batches) | {"val/psnr": psnr(out.prediction, frames[:, 1:])}
        expected["val/codebook_usage"] = len(out.actions.unique()) / 3
        assert {"val/action_nmi", "val/action_accuracy", "val/position_nmi"} <= set(values)
        alignment = ActionAlignment(3, 3)
        alignment.update(out.actions, actions[:, :-1])  # action t leads from frame t to t + 1
        expected["val/action_accuracy"] = alignment.compute()["accuracy"].item()
    if name in ("dynamics", "cotrain"):
        tokens = stage.frozen["tokenizer"].encode(frames)
        copied = (tokens[:, -1] == tokens[:, -2]).float().mean().item()
        expected["val/teacher_forced_accuracy_copy_last"] = copied
        inferred = stage.targets({"frames": 255 * frames, "actions": actions})[1]
        nats, right = teacher_forced(stage.model, tokens, inferred)
        expected["val/teacher_forced_accuracy"] = right.float().mean().item()
        changed = tokens[:, -1] != tokens[:, -2]
        expected["val/changed_token_accuracy"] = right[changed].float().mean().item()
        assert 0 <= values["val/teacher_forced_accuracy"] <= 1 and 0 <= values["val/masked_accuracy"] <= 1
        assert values["val/loss"] > 1
    assert {key: values[key] for key in expected} == pytest.approx(expected, rel=1e-3)
    assert values["val/loss"] > 0


@pytest.mark.filterwarnings("ignore")
def test_data_without_actions(build, make_clips):
    stage = build("lam")
    stage.validation.set_true_actions(None)
    values, _ = fit(stage, lambda *a, **k: {key: v for key, v in make_clips(*a, **k).items() if key != "actions"})
    assert "val/action_nmi" not in values and "val/position_nmi" in values


@pytest.mark.filterwarnings("ignore")
def test_looking_changes_nothing(build, make_clips):
    stage = build("cotrain")
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(stage, DataLoader([make_clips(4)], batch_size=None), verbose=False)
    assert all(torch.equal(value, before[name]) for name, value in stage.state_dict().items())
