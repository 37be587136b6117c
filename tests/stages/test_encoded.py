"""Frames that are encoded once for all clips: the same tokens and actions as of each clip by itself."""

from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch

from data_modules.clip_data_module import ClipDataModule
from data_modules.worker_loader import DamagedData
from genie.stages import encoded

pytestmark = pytest.mark.slow

ALONE = ["++model.tokenizer.encoder=patch_mlp", "++model.tokenizer.decoder=vit", "++model.tokenizer.quantizer=fsq",
         "++model.tokenizer.levels=[4,4,4]", "++model.tokenizer.standardize=true"]  # fmt: skip
PAIRS = ["++model.lam.antisymmetric=true", "++model.lam.past_transitions=2"]
CPU = torch.device("cpu")


@pytest.fixture
def clips(pong_root):
    """clips(**settings): a data module of real Pong, 16x16."""

    def build(**settings):
        data = ClipDataModule(str(pong_root), (16, 16), **{"num_frames": 5, "batch_size": 4, **settings})
        data.setup("fit")
        return data

    return build


def fit(stage, data, steps):
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(stage, datamodule=data)


def look_at(dataset, *parts):
    """Lets frozen parts know the data, as if they had been trained on them: else all frames have one code."""
    frames = torch.stack([dataset[index]["frames"] for index in range(0, len(dataset), 40)]) / 255
    for part in parts:
        for _ in range(40):
            part.train()(frames)
        part.eval()


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("overrides", [PAIRS, [*PAIRS, "++model.lam.input=tokens"], ["++model.lam.antisymmetric=true"]])
def test_every_clip_has_the_tokens_and_actions_that_it_has_by_itself(build, clips, monkeypatch, stride, overrides):
    monkeypatch.setattr(encoded, "AT_ONCE", 7)  # many borders
    stage, dataset = build("dynamics", *ALONE, *overrides), clips(stride=stride).train_dataset
    for layer in stage.frozen["lam"].from_past:
        torch.nn.init.orthogonal_(layer.weight)  # at first they are 0, and the past counts for nothing
    look_at(dataset, stage.frozen["tokenizer"], stage.frozen["lam"])
    stage.encoded = encoded.encode(dataset, stage.frozen["tokenizer"], stage.frozen["lam"], CPU)
    assert stage.encoded.tokens.unique().numel() > 2 and stage.encoded.actions.unique().numel() > 1
    items = [dataset[index] for index in range(0, len(dataset), 5)]
    batch = {name: torch.stack([item[name] for item in items]) for name in ("frames", "row", "seed")}
    for kept, alone in zip(stage.train().targets(batch), stage.eval().targets(batch), strict=True):
        assert kept.shape == alone.shape and kept.dtype == alone.dtype
        assert (kept != alone).float().mean() < 1e-3  # sums in another order may fall to the other side of a border
        assert (kept[:, 1:] != alone[:, :-1]).float().mean() > 1e-2  # a shift would be seen


@pytest.mark.parametrize("overrides", [["++model.lam.antisymmetric=false"], [*PAIRS, "++model.lam.pooling=surprise"]])
def test_actions_of_the_whole_past_are_not_kept(build, clips, overrides):
    stage = build("dynamics", *ALONE, *overrides)
    kept = encoded.encode(clips().train_dataset, stage.frozen["tokenizer"], stage.frozen["lam"], CPU)
    assert kept.actions is None and len(kept.tokens) == clips().train_dataset.episodes[-1, 1]


def test_it_is_done_where_it_pays_and_is_exact(build, clips, monkeypatch):
    tokenizer, data = build("dynamics", *ALONE).frozen["tokenizer"], clips()
    frames = int((data.train_dataset.episodes[:, 1] - data.train_dataset.episodes[:, 0]).sum())
    enough = -(-2 * frames // 5)
    assert encoded.pays(data.train_dataset, tokenizer, enough)
    assert not encoded.pays(data.train_dataset, tokenizer, enough - 1)
    assert not encoded.pays(data.train_dataset, build("dynamics").frozen["tokenizer"], enough)  # ST-ViViT looks back
    changed = clips(augmentation={"crop": 0.2}).train_dataset
    assert not encoded.pays(changed, tokenizer, enough)
    monkeypatch.setattr(encoded, "MOST_BYTES", 1000)
    assert not encoded.pays(data.train_dataset, tokenizer, enough)


def test_clips_beyond_the_end_of_an_episode_are_encoded_each_time(build, clips):
    data = clips(past_end=2)
    data.train_dataset.last = data.train_dataset.episodes[:, 1] - data.train_dataset.span + 2
    assert not encoded.pays(data.train_dataset, build("dynamics", *ALONE).frozen["tokenizer"], 10**6)


def test_a_row_that_cannot_be_read_is_none(build, clips, monkeypatch):
    stage, dataset = build("dynamics", *ALONE), clips().train_dataset

    def broken(*arguments):
        raise DamagedData("x.h5 cannot be read at row 3")

    monkeypatch.setattr(dataset.reader, "frames", broken)
    assert encoded.encode(dataset, stage.frozen["tokenizer"], None, CPU) is None


@pytest.mark.parametrize("overrides", [PAIRS, ["stage.actions=environment"]])
def test_losses_are_those_of_encoding_each_time(build, clips, capsys, overrides):
    def losses(*more):
        L.seed_everything(0, verbose=False)
        data = clips()
        stage = build("dynamics", *ALONE, *overrides, "trainer.max_steps=400", *more)
        found, compute = [], stage.compute

        def kept(batch):
            loss, metrics = compute(batch)
            found.append(float(loss.detach()))
            return loss, metrics

        stage.compute = kept
        fit(stage, data, steps=4)
        return found, stage.encoded

    once, kept = losses()
    said = capsys.readouterr().out
    each, none = losses("stage.encode_once=false")
    assert once == pytest.approx(each, rel=1e-5) and len(set(once)) == 4
    assert kept is not None and "frames are encoded once" in said
    assert none is None and "encoded once" not in capsys.readouterr().out
    again, known = losses()
    assert again == once and torch.equal(known.tokens, kept.tokens)
    assert "frames were encoded before" in capsys.readouterr().out


@pytest.mark.parametrize("overrides", [PAIRS, ["stage.actions=environment"]])
def test_unseen_actions_are_trained_as_the_nearest_that_were_taken(build, clips, monkeypatch, overrides):
    """A recording in which action 2 is never taken: clips have it, where actions 0 or 1 were, and not where they are
    validated."""
    monkeypatch.setattr(encoded, "VISITS", 1)
    stage, dataset = build("dynamics", *ALONE, *overrides), clips().train_dataset
    column = dataset.reader.column
    monkeypatch.setattr(dataset.reader, "column", lambda name, *rows: np.minimum(column(name, *rows), 1))
    lam = stage.frozen["lam"] if overrides is PAIRS else None
    kept = encoded.encode(dataset, stage.frozen["tokenizer"], lam, CPU)
    kept = kept if lam is None else replace(kept, actions=kept.actions.clamp_max(1))
    stage.encoded = encoded.know_unseen(kept, dataset, lam, 3)
    items = [dataset[index] for index in range(0, len(dataset), 5)]
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    _, actions = stage.train().targets(batch)
    plain = batch["actions"][:, :-1] if lam is None else kept.actions_of(batch["row"], 5)
    changed = actions != plain
    assert (actions[changed] == 2).all() and 0.2 < changed.float().mean() < 0.6
    if lam is None:
        assert torch.equal(stage.eval().targets(batch)[1], plain)


def test_unseen_actions_that_cannot_be_known_are_said(build, clips, capsys):
    fit(build("dynamics", "stage.unseen_actions=nearest"), clips(), steps=1)  # its encoder looks back
    assert "stage.unseen_actions is left out" in capsys.readouterr().out


def test_held_out_clips_are_encoded_once_in_a_training(build, clips, monkeypatch):
    stage, data = build("dynamics", *ALONE), clips(val_clips=12, val_batch_size=4)
    encode, given = stage.frozen["tokenizer"].encode, []

    def counted(frames):
        given.append(len(frames))
        return encode(frames)

    monkeypatch.setattr(stage.frozen["tokenizer"], "encode", counted)
    found = []

    class Look(L.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, batch, index):
            found.append((module.targets(batch), module._encode(batch)))

    trainer = L.Trainer(
        accelerator="cpu", max_steps=2, val_check_interval=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=[Look()],
    )  # fmt: skip
    trainer.fit(stage, data.train_dataloader(), data.val_dataloader())
    assert len(given) == 2 + 3 + len(found) == 11  # of each step, of each held-out batch once, and here
    assert all(torch.equal(*pair) for kept, again in found for pair in zip(kept, again, strict=True))
    assert len({kept[0].data_ptr() for kept, _ in found}) == 3
    stage.eval()
    stage.targets(next(iter(data.val_dataloader())))  # outside of a training: clips may be others
    assert len(given) == 12
