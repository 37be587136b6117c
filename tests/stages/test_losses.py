import math

import pytest
import torch

from genie.models.patches import Patches
from genie.stages.losses import pixel_loss, pixel_weights, reconstruction_loss, stability_loss


def one(target):
    return torch.ones_like(target[:, :, :1])


def test_a_perfect_prediction_has_no_loss_and_another_has():
    target = torch.rand(2, 3, 3, 4, 4) * 0.98 + 0.01
    logits = target.logit()
    for kind in ("mse", "bce"):
        assert reconstruction_loss(logits, target, kind, one(target)).abs() < 1e-6
        losses = [reconstruction_loss(logits + shift, target, kind, one(target)) for shift in (-1, -0.1, 0.1, 1)]
        assert min(losses) > 1e-4 and losses[0] > losses[1] and losses[3] > losses[2]


def test_values():
    target, logits = torch.full((1, 2, 3, 2, 2), 0.25), torch.zeros(1, 2, 3, 2, 2)
    assert reconstruction_loss(logits, target, "mse", one(target)) == pytest.approx(0.0625)
    divergence = math.log(2) - (0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert reconstruction_loss(logits, target, "bce", one(target)) == pytest.approx(divergence, abs=1e-6)
    ends = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    assert reconstruction_loss(torch.zeros_like(ends), ends, "bce", one(ends)) == pytest.approx(math.log(2))


def test_cross_entropy_has_the_gradient_of_the_sigmoid():
    target, logits = torch.rand(1, 1, 1, 3, 3), torch.randn(1, 1, 1, 3, 3, requires_grad=True)
    reconstruction_loss(logits, target, "bce", one(target)).backward()
    torch.testing.assert_close(logits.grad, (logits.sigmoid() - target).detach() / 9)


def test_weights_count_the_largest_difference_of_the_channels():
    target, background, previous = torch.zeros(1, 2, 3, 2, 2), torch.zeros(3, 2, 2), torch.zeros(1, 2, 3, 2, 2)
    background[1, 0, 0] = 0.5
    background[2, 0, 0] = -0.25
    previous[0, 1, 0, 1, 1] = 1.0
    weights = pixel_weights(target, background, 10, previous, 4)
    expected = torch.ones(1, 2, 1, 2, 2)
    expected[:, :, 0, 0, 0] = 6
    expected[:, 1, 0, 1, 1] = 5
    torch.testing.assert_close(weights, expected)
    assert (pixel_weights(target, background) == 1).all()
    logits = torch.randn(1, 2, 3, 2, 2)
    plain = (logits.sigmoid() - target).square()
    torch.testing.assert_close(reconstruction_loss(logits, target, "mse", weights), (plain * expected).mean())


def drawn(*rows):
    """Logits [1, 1, 3, 2, 2] of a dark picture with these rows bright."""
    logits = torch.full((1, 1, 3, 2, 2), -6.0)
    logits[:, :, :, list(rows)] = 6.0
    return logits


def test_symmetric_weights_make_a_ghost_cost_what_a_missing_thing_costs():
    """A thing in row 0 of the frame on a black background, which is missing, or of which row 1 has a second one."""
    target, background = drawn(0).sigmoid(), drawn().sigmoid()[0, 0]
    options = {"reconstruction": "mse", "foreground_weight": 50}
    losses = {
        weighting: [
            pixel_loss(logits, target, background, options | {"weighting": weighting}).item()
            for logits in (drawn(), drawn(0, 1))
        ]
        for weighting in ("symmetric", "target")
    }
    missing, ghost = losses["symmetric"]
    assert missing == pytest.approx(ghost)
    assert losses["target"][0] == missing and losses["target"][1] < missing / 45
    assert pixel_loss(drawn(0), target, background, options | {"weighting": "symmetric"}) == 0


def test_symmetric_weights_take_the_larger_difference_and_no_gradient():
    target, background = torch.rand(1, 2, 3, 2, 2), torch.rand(3, 2, 2)
    previous, prediction = torch.rand(2, 1, 2, 3, 2, 2)
    prediction.requires_grad_(True)
    weights = pixel_weights(target, background, 10, previous, 4, prediction)
    assert not weights.requires_grad

    def furthest(reference):
        return torch.maximum((target - reference).abs(), (prediction - reference).abs()).amax(2, keepdim=True)

    torch.testing.assert_close(weights, (1 + 10 * furthest(background) + 4 * furthest(previous)).detach())
    torch.testing.assert_close(
        pixel_weights(target, background, 10, previous, 4, target), pixel_weights(target, background, 10, previous, 4)
    )


def test_options_without_a_weighting_are_those_of_before_there_was_a_choice():
    target, background, logits = torch.rand(1, 2, 3, 2, 2), torch.rand(3, 2, 2), torch.randn(1, 2, 3, 2, 2)
    options = {"reconstruction": "bce", "foreground_weight": 7, "change_weight": 3}
    previous = torch.rand(1, 2, 3, 2, 2)
    weights = pixel_weights(target, background, 7, previous, 3)
    for given in (options, options | {"weighting": "target"}):
        found = pixel_loss(logits, target, background, given, previous)
        assert found == reconstruction_loss(logits, target, "bce", weights)
    assert pixel_loss(logits, target, background, options | {"weighting": "symmetric"}, previous) > found


def test_stability_is_the_change_of_latents_where_pixels_stay():
    latents, still = torch.randn(2, 4, 3, 5), torch.zeros(2, 3, 3, dtype=torch.bool)
    assert stability_loss(latents, still) == 0
    still[0, 1, 2] = still[1, 2, 0] = True
    expected = (latents[0, 2, 2] - latents[0, 1, 2]).square().sum() + (
        latents[1, 3, 0] - latents[1, 2, 0]
    ).square().sum()
    torch.testing.assert_close(stability_loss(latents, still), expected / 2)


def test_still_patches():
    patches, frames = Patches((8, 8), 4), torch.zeros(1, 3, 3, 8, 8)
    frames[0, 1, 2, 5, 1] = 0.5  # patch 2 of frame 1, gone in frame 2
    frames[0, 2, 0, 0, 7] = 0.01  # patch 1 of frame 2
    assert patches.still(frames).tolist() == [[[True, True, False, True], [True, False, False, True]]]
    assert patches.still(frames, 0.02)[0, 1].tolist() == [True, True, False, True]


@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_the_stability_weight_calms_latents_of_still_patches(build, make_clips, quantizer):
    quantizer = [f"+model.tokenizer.quantizer={quantizer}", "+model.tokenizer.levels=[8,8]"]
    changes = []
    for weight in (0, 10):
        stage = build("tokenizer", *quantizer, f"stage.stability_weight={weight}").train()
        optimizer = torch.optim.Adam(stage.parameters(), 3e-3)
        for step in range(30):
            loss, metrics = stage.compute(make_clips(4, seed=step))
            assert ("stability_loss" in metrics) == (weight > 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        frames = make_clips(8, seed=99)["frames"] / 255
        changes.append(stability_loss(stage.eval().model(frames).latents, stage.model.patches.still(frames)).item())
    assert changes[1] < changes[0] / 2


def test_unknown_loss():
    with pytest.raises(ValueError, match="reconstruction='l1': choose one of mse, bce"):
        reconstruction_loss(torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), "l1", torch.ones(1))


def test_no_operation_that_autocast_on_cuda_refuses(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("binary_cross_entropy is unsafe to autocast")

    monkeypatch.setattr(torch.nn.functional, "binary_cross_entropy", refuse)
    target = torch.rand(1, 1, 1, 2, 2)
    assert reconstruction_loss(torch.zeros_like(target), target, "bce", one(target)) >= 0


WEIGHTED = {
    "tokenizer": ["stage.foreground_weight"],
    "lam": ["stage.foreground_weight", "stage.change_weight"],
    "cotrain": ["stage.lam.foreground_weight", "stage.lam.change_weight"],
    "simulator": ["simulator.foreground_weight"],
}


@pytest.mark.parametrize(("name", "weight"), [(name, key) for name, keys in WEIGHTED.items() for key in keys])
def test_stages_weigh_as_their_configuration_says(build, build_simulator, make_clips, make_played_clips, name, weight):
    """What is drawn at first differs a little from the background, where the frame does not."""
    losses = {}
    for weighting in ("target", "symmetric"):
        options = [f"{weight}=50", f"{weight.rpartition('.')[0]}.weighting={weighting}"]
        stage = build_simulator("rssm", *options) if name == "simulator" else build(name, *options)
        clips = make_played_clips() if name == "simulator" else make_clips()
        losses[weighting] = stage.eval().compute(clips)[0].item()
    assert losses["symmetric"] > losses["target"]
