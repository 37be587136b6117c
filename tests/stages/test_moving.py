import pytest
import torch

from genie.common.errors import UserError
from genie.stages.lam import move_scene
from genie.stages.losses import reconstruction_loss


def scenes(count):
    """Clips of one bright pixel at (2, 3) on a background that differs everywhere, and that background."""
    background = torch.rand(3, 10, 12, generator=torch.Generator().manual_seed(0))
    frames = background.expand(count, 4, 3, 10, 12).clone()
    frames[..., 2, 3] += 1
    return frames, background


def places(frames, background):
    """(row, column) [B, T, 2] of the bright pixel; nothing else may differ from the background."""
    changed = (frames - background).abs().amax(2) > 0.5
    assert torch.equal((frames - background).abs().amax(2) > 1e-6, changed)
    assert (changed.sum((-1, -2)) == 1).all()
    return changed.flatten(2).int().argmax(-1)[..., None] // torch.tensor([12, 1]) % torch.tensor([10, 12])


def test_only_what_stands_before_the_background_moves_and_whole_clips_at_a_time():
    frames, background = scenes(200)
    found = places(move_scene(frames, background, torch.arange(200), rows=4, columns=1), background)
    assert (found == found[:, :1]).all()
    assert set(found[:, 0, 0].tolist()) == {(2 + row) % 10 for row in range(-4, 5)}
    assert set(found[:, 0, 1].tolist()) == {2, 3, 4}
    assert len(found[:, 0].unique(dim=0)) == 27  # rows and columns apart from each other


def test_the_offset_belongs_to_the_seed():
    frames, background = scenes(6)
    seeds = torch.tensor([5, 6, 7, 5, 6, 7])
    moved = move_scene(frames, background, seeds, rows=9)
    assert torch.equal(moved[:3], moved[3:])
    assert torch.equal(move_scene(frames[1:2], background, seeds[1:2], rows=9), moved[1:2])
    torch.testing.assert_close(move_scene(frames, background, seeds), frames)


@pytest.mark.parametrize(("name", "prefix"), [("lam", "stage"), ("cotrain", "stage.lam")])
def test_training_moves_the_scene_for_the_decoder_alone(build, make_clips, monkeypatch, name, prefix):
    stage, batch = build(name, f"{prefix}.move_rows=8", f"{prefix}.move_columns=5"), make_clips(4)
    model = getattr(stage, "lam", stage.model)
    frames, seen = stage.frames(batch), {}
    latents, predict = model.latents, model.predict
    monkeypatch.setattr(model, "latents", lambda x, *weights: seen.update(encoder=x) or latents(x, *weights))
    monkeypatch.setattr(model, "predict", lambda x, z: seen.update(decoder=x) or predict(x, z))
    for training in (True, False):
        stage.train(training)
        loss = stage.compute(batch)[1]["prediction_loss"]
        moved = move_scene(frames, stage.background, batch["seed"], 8, 5) if training else frames
        assert torch.equal(seen["encoder"], frames)
        assert torch.equal(seen["decoder"], moved[:, :-1])
        logits = predict(moved[:, :-1], model.quantizer.eval()(latents(frames)).latents)
        expected = reconstruction_loss(logits, moved[:, 1:], "bce", torch.ones(()))
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "surprise"])
def test_training_moves_the_scene_for_the_encoder_alone(build, make_clips, monkeypatch, pooling):
    stage = build("lam", "stage.move_rows=8", "stage.moved=encoder", f"+model.lam.pooling={pooling}")
    model, batch, seen = stage.model, make_clips(4), {}
    frames = stage.frames(batch)
    latents, predict = model.latents, model.predict
    monkeypatch.setattr(model, "latents", lambda x, weights: seen.update(encoder=x, at=weights) or latents(x, weights))
    monkeypatch.setattr(model, "predict", lambda x, z: seen.update(decoder=x) or predict(x, z))
    stage.train().compute(batch)
    assert torch.equal(seen["encoder"], move_scene(frames, stage.background, batch["seed"], 8))
    assert torch.equal(seen["decoder"], frames[:, :-1])
    if pooling == "surprise":  # the errors have gone where the encoder sees what they are of
        error = (predict(frames[:, :-1], None).sigmoid() - frames[:, 1:]).square()
        error = model.patches.cut(move_scene(error, torch.zeros_like(error[0, 0]), batch["seed"], 8)).sum(-1)
        torch.testing.assert_close(seen["at"], (error / error.sum(-1, keepdim=True)).detach())
    stage.eval().compute(batch)
    assert torch.equal(seen["encoder"], frames)


@pytest.mark.parametrize("wrong", ["move_rows=-1", "move_columns=0.5", "action_free_steps=-3"])
def test_numbers_that_cannot_be_are_told_before_training(build, wrong):
    with pytest.raises(UserError, match=f"stage.{wrong} must be a whole number"):
        build("lam", f"stage.{wrong}")


def test_tokens_have_no_map_of_pixels_to_move(build):
    with pytest.raises(UserError, match="leave one of the three out"):
        build("lam", "stage.moved=encoder", "+model.lam.pooling=surprise", "+model.lam.input=tokens")
