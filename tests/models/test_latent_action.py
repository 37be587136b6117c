import pytest
import torch

from genie.models import LatentActionModel
from genie.models.initialization import initialize
from genie.models.quantizers import Quantized, straight_through

FRAMES = 6


def latent_action_model(**options):
    options = {"num_actions": 4, "latent_dim": 3, "width": 16, "num_blocks": 1, "num_heads": 2} | options
    model = LatentActionModel((8, 8), 4, **options)
    initialize(model, 0)
    with torch.no_grad():  # a trained decoder moves things: without this its output hardly depends on its input
        model.to_pixels.projection.weight *= 10
    return model.eval()  # in training the standardisation mixes all transitions of a batch


class Fixed(torch.nn.Module):
    """A quantiser that gives always the same latents, with the gradient of the real ones where `through`."""

    def __init__(self, latents, through):
        super().__init__()
        self.latents, self.through = latents, through

    def forward(self, latents):
        out = straight_through(latents, self.latents) if self.through else self.latents
        return Quantized(out, torch.zeros(latents.shape[:-1], dtype=torch.int64), latents.sum() * 0, latents)


@pytest.mark.parametrize(
    "options",
    [{"standardize": True}, {"standardize": False}, {"pooling": "surprise"}],
    ids=lambda options: str(options),
)
def test_an_action_sees_its_two_frames_and_the_past_only(options):
    model, frames = latent_action_model(**options), torch.rand(2, FRAMES, 3, 8, 8)
    for t in range(1, FRAMES):
        changed = frames.clone()
        changed[:, t] = 1 - changed[:, t]
        difference = (model.latents(changed) - model.latents(frames)).abs().amax(dim=2)  # [B, T-1]
        assert (difference[:, : t - 1] == 0).all()
        assert (difference[:, t - 1 :] > 0).all()  # action t-1 is the transition into frame t


@pytest.mark.parametrize("copy_last", [True, False])
def test_a_prediction_knows_its_frame_through_the_action_only(copy_last):
    model = latent_action_model(copy_last=copy_last)
    frames = (torch.rand(2, FRAMES, 3, 8, 8) * 0.8 + 0.1).requires_grad_()
    for through in (False, True):
        model.quantizer = Fixed(torch.randn(2, FRAMES - 1, 3), through)
        prediction = model(frames).prediction
        for t in range(1, FRAMES):  # prediction t-1 is of frame t
            (gradient,) = torch.autograd.grad(prediction[:, t - 1].sum(), frames, retain_graph=True)
            reached = gradient.abs().amax(dim=(0, 2, 3, 4)) > 0
            assert reached[:t].all()
            assert not reached[t + 1 :].any()
            assert bool(reached[t]) == through


def test_with_the_same_action_another_next_frame_changes_nothing():
    model, frames = latent_action_model(), torch.rand(3, FRAMES, 3, 8, 8)
    before, found = model(frames), 0
    for amount in (1e-4, 1e-3, 1e-2, 0.1):
        changed = frames.clone()
        changed[:, -1] = (changed[:, -1] + amount * torch.randn(3, 3, 8, 8)).clamp(0, 1)
        after = model(changed)
        same = after.actions[:, -1] == before.actions[:, -1]
        assert torch.equal(after.prediction[same], before.prediction[same])
        found += int(same.sum())
    assert found > 0


def test_an_action_acts_on_its_own_and_later_frames():
    model, past = latent_action_model(), torch.rand(2, FRAMES - 1, 3, 8, 8)
    latents = torch.randn(2, FRAMES - 1, 3)
    changed = latents.clone()
    changed[:, 2] += 1
    difference = (model.predict(past, changed) - model.predict(past, latents)).abs().amax(dim=(0, 2, 3, 4))
    assert (difference[:2] == 0).all()
    assert (difference[2:] > 0).all()


def test_all_actions_of_a_clip_in_one_pass():
    model, frames = latent_action_model(), torch.rand(2, FRAMES, 3, 8, 8)
    out = model(frames)
    assert torch.equal(model.encode(frames), out.actions)
    assert torch.equal(model.encode(frames[:, :4]), out.actions[:, :3])
    torch.testing.assert_close(model(frames[:, :4]).prediction, out.prediction[:, :3])


def test_without_actions_it_predicts_from_the_past_alone():
    model, frames = latent_action_model(), torch.rand(2, FRAMES, 3, 8, 8)
    out = model(frames, use_actions=False)
    assert (out.actions == 0).all() and out.quantizer_loss == 0
    torch.testing.assert_close(out.logits, model.predict(frames[:, :-1], None))
    assert (out.logits - model(frames).logits).abs().max() > 1e-3
    before = {name: value.clone() for name, value in model.quantizer.state_dict().items()}
    model.train()(frames, use_actions=False)
    assert all(torch.equal(value, before[name]) for name, value in model.quantizer.state_dict().items())


def test_copy_last_begins_as_a_copy():
    model = latent_action_model(copy_last=True)
    torch.nn.init.zeros_(model.to_pixels.projection.weight)
    frames = torch.rand(1, FRAMES, 3, 8, 8) * 0.9 + 0.05
    torch.testing.assert_close(model(frames).prediction, frames[:, :-1])
    model.start_from(frames[0, 0])
    torch.testing.assert_close(model(frames).prediction, frames[:, :-1])  # and stays one


def test_standardised_latents_spread_over_the_codes():
    """What all transitions share does not decide: latents that differ by a thousandth still differ."""
    model = latent_action_model().train()
    frames = 0.5 + 1e-3 * torch.rand(8, FRAMES, 3, 8, 8)
    latents = model.latents(frames).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.var(0, unbiased=False), torch.ones(3), atol=0.1, rtol=0)
    assert len(model(frames).actions.unique()) == 4


def test_fsq_and_autocast():
    model = latent_action_model(quantizer="fsq", num_actions=3, levels=[3])
    frames = torch.rand(2, FRAMES, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = model.train()(frames)
    assert model.num_actions == 3 and out.actions.max() < 3
    assert out.logits.dtype == torch.float32 and out.logits.isfinite().all()
    assert model.latents(frames).dtype == torch.float32


def test_antisymmetric_latents_turn_their_sign_with_time_and_see_two_frames_alone():
    model = latent_action_model(antisymmetric=True, standardize=False)
    frames = torch.rand(2, FRAMES, 3, 8, 8)
    latents = model.latents(frames)
    assert latents.abs().min() > 1e-4
    torch.testing.assert_close(model.latents(frames.flip(1)).flip(1), -latents)
    still = frames[:, :1].expand(-1, 3, -1, -1, -1)
    assert (model.latents(still) == 0).all()
    for t in range(FRAMES - 1):
        torch.testing.assert_close(model.latents(frames[:, t : t + 2])[:, 0], latents[:, t])


def test_earlier_transitions_count_with_their_own_signs():
    frames = torch.rand(2, FRAMES, 3, 8, 8)
    plain = latent_action_model(antisymmetric=True, standardize=False)
    model = latent_action_model(antisymmetric=True, standardize=False, past_transitions=2)
    model.load_state_dict(plain.state_dict(), strict=False)
    latents = plain.latents(frames)
    torch.testing.assert_close(model.latents(frames), latents)  # they begin at zero
    for layer in model.from_past:
        torch.nn.init.normal_(layer.weight)
    changed = model.latents(frames)
    torch.testing.assert_close(changed[:, 0], latents[:, 0])
    assert ((changed - latents)[:, 1:].abs() > 1e-3).any(-1).all()
    # of transition 2, the two before it: each turns its sign with its own frames
    still = frames[:, 2:3]
    before = model.latents(torch.cat([frames[:, 1:3], still], 1))[:, -1]
    torch.testing.assert_close(model.latents(torch.cat([frames[:, [2, 1]], frames[:, [1]]], 1))[:, -1], -before)
    short = model.latents(frames[:, :2])
    torch.testing.assert_close(short[:, 0], latents[:, 0])


def test_only_antisymmetric_encoders_have_earlier_transitions():
    with pytest.raises(ValueError, match="antisymmetric"):
        latent_action_model(past_transitions=1)


def test_antisymmetric_latents_are_spread_over_the_codes_too():
    model = latent_action_model(antisymmetric=True, quantizer="fsq", levels=[3], num_actions=3).train()
    counts = torch.bincount(model(torch.rand(16, FRAMES, 3, 8, 8)).actions.flatten(), minlength=3)
    assert counts.min() > 0.1 * counts.sum()


# -- pooling by surprise ----------------------------------------------------------------------------------------------


def surprised(model, frames, patch):
    """Logits of the next frames of clips [B, T, 3, 8, 8] that are right but in one of the four patches."""
    right = torch.logit(frames[:, 1:], eps=1e-6)
    rows, columns = slice(4 * (patch // 2), 4 * (patch // 2) + 4), slice(4 * (patch % 2), 4 * (patch % 2) + 4)
    right[..., rows, columns] += 1
    return right


@pytest.mark.parametrize("antisymmetric", [True, False])
def test_pooling_by_surprise_looks_where_the_past_predicts_badly(antisymmetric):
    model, frames = latent_action_model(pooling="surprise", antisymmetric=antisymmetric), torch.rand(2, FRAMES, 3, 8, 8)
    for patch in range(4):
        expected = surprised(model, frames, patch)
        alone = torch.nn.functional.one_hot(torch.tensor(patch), 4).expand(2, FRAMES - 1, 4).float()
        torch.testing.assert_close(model.surprise(frames, expected), alone, rtol=0, atol=1e-4)
    half = torch.cat([frames[:, :1], frames[:, 1:] * 0.5], 1)  # an error of patch 3 four times that of patch 2
    logits = half[:, 1:].clone()
    logits[..., 4:, :4] += 0.1
    logits[..., 4:, 4:] += 0.2
    found = model.surprise(half, torch.logit(logits))
    torch.testing.assert_close(found, torch.tensor([0, 0, 0.2, 0.8]).expand_as(found), rtol=0, atol=1e-4)


def test_latents_by_surprise_are_those_of_the_patch_that_surprises():
    model, frames = latent_action_model(pooling="surprise", antisymmetric=True), torch.rand(2, FRAMES, 3, 8, 8)
    x = model.encoder_embedding(frames)
    forward = torch.stack([model.encoder(x[:, t : t + 2])[:, 1] for t in range(FRAMES - 1)], 1)
    backward = torch.stack([model.encoder(x[:, t : t + 2].flip(1))[:, 1] for t in range(FRAMES - 1)], 1)
    for patch in range(4):
        latents = model.latents(frames, model.surprise(frames, surprised(model, frames, patch)))
        torch.testing.assert_close(latents, model.to_latent((forward - backward)[:, :, patch]), rtol=1e-3, atol=1e-4)
    found = model.surprise(frames, model.predict(frames[:, :-1], None))
    assert torch.equal(model.latents(frames), model.latents(frames, found))
    assert not model.compares_two_frames and latent_action_model(antisymmetric=True).compares_two_frames


def test_what_is_expected_is_said_and_gets_no_gradient_from_the_code():
    model = latent_action_model(pooling="surprise", antisymmetric=True)
    frames, shown = torch.rand(2, 2, FRAMES, 3, 8, 8)
    for output, seen in ((model(frames), frames), (model(frames, shown=shown), shown)):
        assert torch.equal(output.expected, model.predict(seen[:, :-1], None))
        assert torch.equal(output.actions, model.encode(frames))  # whatever the decoder is shown
    assert model(frames, use_actions=False).expected is None and latent_action_model()(frames).expected is None
    expected = model.predict(frames[:, :-1], None).detach().requires_grad_()
    assert not model.surprise(frames, expected).requires_grad


def test_nothing_surprises_where_all_is_known_and_an_unknown_pooling_is_refused():
    model = latent_action_model(pooling="surprise", antisymmetric=True)
    frames = torch.full((1, FRAMES, 3, 8, 8), 0.5)
    assert (model.surprise(frames, torch.zeros(1, FRAMES - 1, 3, 8, 8)) == 0).all()
    with pytest.raises(ValueError, match="pooling='max': choose one of mean, surprise"):
        latent_action_model(pooling="max")


def test_surprise_is_looked_for_where_the_encoder_sees_it():
    model = latent_action_model(pooling="surprise", antisymmetric=True)
    frames, shown = torch.rand(2, 2, FRAMES, 3, 8, 8)
    expected = model.predict(shown[:, :-1], None)

    def down(maps):
        return maps.roll(4, -2)

    found = model.surprise(shown, expected, down)
    torch.testing.assert_close(found, model.surprise(shown, expected)[..., [2, 3, 0, 1]])
    with torch.no_grad():
        output = model(frames, shown=shown, relocate=down)
        assert torch.equal(output.expected, expected)
        assert torch.equal(output.actions, model.quantizer(model.latents(frames, found)).codes)
    assert not torch.allclose(model.latents(frames, found), model.latents(frames))


def test_positions_of_the_encoder_may_be_its_own():
    names = {name for name in latent_action_model().state_dict() if name.endswith("spatial_positions")}
    assert names == {"encoder.spatial_positions", "decoder.spatial_positions"}
    relative = latent_action_model(encoder_positions="relative", transformer={"spatial_positions": "rotary"})
    assert relative.encoder.turned_size == relative.decoder.turned_size
    assert [len(part.spatial_positions) for part in (relative.encoder, relative.decoder)] == [1, 4]
    assert relative.encoder.spatial_positions.abs().min() > 0  # an embedding of 0 has no direction for the first norm
