"""Survival of small objects: what counts as surviving, and what the control at the mirrored position reveals."""

import pytest
import torch

from genie.metrics.objects import ObjectSurvival
from genie.models import VideoTokenizer
from genie.models.initialization import initialize

SIZE = 32
BACKGROUND = torch.tensor([0.3, 0.2, 0.1])[:, None, None].expand(3, SIZE, SIZE)
BALL = torch.tensor([0.9, 0.9, 0.8])


def draw(places, color=BALL, strength=1.0):
    """Frames [1, T, 3, H, W] with a ball of 2 x 2 pixels, and its objects [1, T, 1, 2]."""
    frames = BACKGROUND.repeat(1, len(places), 1, 1, 1)
    for t, (x, y) in enumerate(places):
        patch = frames[0, t, :, y : y + 2, x : x + 2]
        patch += strength * (color[:, None, None] - patch)
    objects = torch.tensor(places, dtype=torch.float32)[None, :, None] + 0.5
    return frames, objects


PLACES = [(3, 5), (8, 20), (25, 11), (28, 28), (0, 0)]


def measure(reconstruction, places=PLACES, objects=None, frames=None):
    original, positions = draw(places)
    metric = ObjectSurvival(num_objects=1)
    metric.update(
        reconstruction,
        original if frames is None else frames,
        positions if objects is None else objects,
        BACKGROUND,
    )
    return {name: value.item() for name, value in metric.compute().items()}


def test_a_perfect_reconstruction_keeps_all_and_the_background_none():
    values = measure(draw(PLACES)[0])
    assert values == {"survival": 1, "false_alarms": 0, "seen": len(PLACES), "controls": len(PLACES)}
    assert measure(BACKGROUND.repeat(1, len(PLACES), 1, 1, 1))["survival"] == 0


@pytest.mark.parametrize(("strength", "survival"), [(0.4, 1), (0.3, 0), (-0.2, 0)])
def test_a_third_of_the_contrast_has_to_be_left(strength, survival):
    assert measure(draw(PLACES, strength=strength)[0])["survival"] == survival


def test_the_ball_has_to_be_where_it_is_within_a_pixel():
    moved = [(x + 1, y) for x, y in PLACES[:3]]
    assert measure(draw(moved)[0], PLACES[:3])["survival"] == 1
    away = [(x + 4, y) for x, y in PLACES[:3]]
    assert measure(draw(away)[0], PLACES[:3])["survival"] == 0


def test_another_colour_is_not_the_ball():
    dark = draw(PLACES, color=torch.tensor([0.0, 0.0, 0.0]))[0]
    assert measure(dark)["survival"] == 0


def test_noise_passes_the_naive_test_and_the_control_shows_it():
    noise = torch.rand(1, len(PLACES), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    values = measure(noise)
    assert values["survival"] == 1 and values["false_alarms"] == 1


def test_so_does_an_untrained_tokenizer():
    tokenizer = VideoTokenizer((SIZE, SIZE), patch_size=8, width=16, num_blocks=1, num_heads=2, num_codes=16).eval()
    initialize(tokenizer, 0)
    values = measure(tokenizer(draw(PLACES)[0]).reconstruction.detach())
    assert values["survival"] > 0.9 and values["false_alarms"] > 0.9


def test_what_is_not_there_is_not_counted():
    frames, objects = draw(PLACES)
    objects[0, 1:] = float("nan")
    assert measure(frames, objects=objects)["seen"] == 1
    hidden = BACKGROUND.repeat(1, len(PLACES), 1, 1, 1)  # positions in the data, nothing in the picture
    assert measure(frames, frames=hidden)["seen"] == 0


def test_the_control_leaves_out_places_where_something_is():
    middle, _ = draw([(15, 10)])  # mirrored onto itself
    values = measure(middle, [(15, 10)])
    assert values["seen"] == 1 and values["controls"] == 0
    frames, objects = draw([(4, 10)])
    frames[0, 0, :, 8:14, 26:28] = 1  # a paddle at the mirrored position
    assert measure(frames, frames=frames, objects=objects)["controls"] == 0


def test_objects_are_told_apart_and_batches_add_up():
    frames, first = draw([(3, 5), (8, 20)])
    second = torch.full_like(first, float("nan"))
    second[0, 0, 0] = torch.tensor([20.0, 20.0])
    frames[0, 0, :, 20, 20] = 1
    objects = torch.cat([first, second], dim=2)  # [1, 2, 2, 2]
    rebuilt = frames.clone()
    rebuilt[0, 0, :, 19:22, 19:22] = BACKGROUND[:, 19:22, 19:22]  # the second object is lost
    metric = ObjectSurvival(num_objects=2)
    for t in range(2):
        metric.update(rebuilt[:, t : t + 1], frames[:, t : t + 1], objects[:, t : t + 1], BACKGROUND)
    values = metric.compute()
    assert values["survival"].tolist() == [1, 0] and values["seen"].tolist() == [2, 1]
