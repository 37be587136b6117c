"""Objects in generated frames: found wherever they are, counted, told apart; on drawn pictures and on real Pong."""

import math

import pytest
import torch

from data_modules.resize import AreaResize
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.object_presence import ObjectPresence, reference

# Pong's colours: ball and enemy lie in nearly the same direction from the background
BACKGROUND, BALL, PLAYER, ENEMY = (144, 72, 17), (236, 236, 236), (92, 186, 92), (213, 130, 74)
SIZE, FINE = 32, 5  # pictures are drawn FINE times as large and resized, as the recorder does
FIELD = (torch.tensor(BACKGROUND) / 255)[:, None, None].expand(3, SIZE, SIZE)
NOWHERE = (math.nan, math.nan)


def draw(ball=None, player=None, enemy=None, more=()):
    """A frame [3, H, W] with a ball of 0.8 x 1.6 pixels and paddles of 1.6 x 6.4, centres (x, y); `more` of them."""
    canvas = torch.tensor(BACKGROUND, dtype=torch.uint8).repeat(SIZE * FINE, SIZE * FINE, 1)
    things = [("enemy", enemy), ("player", player), ("ball", ball), *more]
    for kind, place in things:
        if place is not None and not math.isnan(place[0]):
            color, width, height = {
                "ball": (BALL, 4, 8), "player": (PLAYER, 8, 32), "enemy": (ENEMY, 8, 32)
            }[kind]  # fmt: skip
            left, top = (round((c + 0.5) * FINE - s / 2) for c, s in zip(place, (width, height), strict=True))
            canvas[max(top, 0) : top + height, left : left + width] = torch.tensor(color, dtype=torch.uint8)
    small = AreaResize((SIZE * FINE,) * 2, (SIZE, SIZE))(canvas[None].numpy())
    return torch.from_numpy(small)[0].permute(2, 0, 1) / 255


# (ball, player, enemy) at four moments; at the last one there is no ball. All between pixels, each otherwise
PLACES = [
    ((10.0, 8.2), (27.3, 12.0), (5.1, 20.0)),
    ((13.4, 11.0), (27.3, 15.2), (5.1, 16.6)),
    ((17.2, 14.6), (27.3, 9.4), (5.1, 10.0)),
    (NOWHERE, (27.3, 17.6), (5.1, 13.2)),
]
TRUTH = torch.stack([draw(*places) for places in PLACES])[None]  # [1, 4, 3, H, W]
OBJECTS = torch.tensor(PLACES)[None]  # [1, 4, 3, 2]


@pytest.fixture(scope="module")
def detector():
    return ObjectDetector(TRUTH[0], OBJECTS[0], FIELD)


@pytest.fixture(scope="module")
def measure(detector):
    """measure(frames [4 x [3, H, W]]): every figure by name, of ball, player and enemy."""
    truth = reference(detector, TRUTH, OBJECTS)

    def measure(frames):
        metric = ObjectPresence(detector, len(PLACES))
        metric.update(torch.stack(list(frames))[None], truth)
        return {name: value.tolist() for name, value in metric.compute().items()}

    return measure


def test_the_truth_has_everything_once_in_its_place(measure):
    values = measure(TRUTH[0])
    assert values["seen"] == [3, 4, 4] and values["absent"] == [1, 0, 0]
    assert values["present"] == values["in_place"] == [1, 1, 1]
    assert values["doubled"] == values["false_alarms"] == [0, 0, 0] and values["invented"][0] == 0
    assert max(values["distance_mean"]) < 0.3  # where between two pixels something is does not matter much …
    assert values["mass"] == pytest.approx([1, 1, 1], abs=0.1)  # … nor does its mass depend on it


def test_a_picture_without_the_ball_has_none(measure):
    values = measure(draw(None, player, enemy) for _, player, enemy in PLACES)
    assert values["present"] == [0, 1, 1] and values["mass"][0] == 0
    assert math.isnan(values["distance_mean"][0])
    assert measure([FIELD] * 4)["present"] == [0, 0, 0]


def test_what_moved_is_found_and_its_distance_is_how_far(measure):
    values = measure(
        draw(None if math.isnan(x) else (x + 6, y + 8), (px, py + 5), enemy) for (x, y), (px, py), enemy in PLACES
    )
    assert values["present"] == [1, 1, 1] and values["in_place"] == [0, 0, 1]
    assert values["distance_mean"] == pytest.approx([10, 5, 0.1], abs=0.2)
    assert values["distance_median"] == pytest.approx([10, 5, 0.1], abs=0.25)


def test_a_second_paddle_is_a_doubled_one_and_the_nearer_counts(measure):
    values = measure(draw(ball, player, enemy, [("player", (27.3, 27.0))]) for ball, player, enemy in PLACES)
    assert values["doubled"] == [0, 1, 0]
    assert values["distance_mean"][1] < 0.5


def test_a_ball_where_none_was_is_invented(measure):
    values = measure([*TRUTH[0, :3], draw((20, 20), *PLACES[3][1:])])
    assert values["invented"][0] == 1 and values["present"] == [1, 1, 1]


@pytest.mark.parametrize(("strength", "present"), [(0.5, 1), (0.2, 0)])
def test_a_third_of_the_mass_has_to_be_left(measure, strength, present):
    assert measure(FIELD + strength * (frame - FIELD) for frame in TRUTH[0])["present"][1] == present


def test_a_paddle_is_no_ball_and_another_column_is_not_the_players(measure):
    values = measure(draw(None, (x - 8, y), (5.1, 3.0)) for _, (x, y), _ in PLACES)
    assert values["present"] == [0, 0, 1]


def test_a_white_picture_shows_nothing_and_noise_shows_everything_many_times(measure):
    assert measure([torch.ones(3, SIZE, SIZE)] * 4)["present"] == [0, 0, 0]
    noise = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert measure(noise)["doubled"][0] == 1


def test_each_horizon_has_its_own_frames_and_batches_add_up(detector):
    lost = TRUTH.clone()
    lost[0, 1] = draw(None, *PLACES[1][1:])
    frames, objects = torch.cat([TRUTH, lost, lost]), OBJECTS.repeat(3, 1, 1, 1)
    metric, truth = ObjectPresence(detector, 4), TRUTH.repeat(3, 1, 1, 1, 1)
    for part in (slice(0, 1), slice(1, 3)):
        metric.update(frames[part], reference(detector, truth[part], objects[part]))
    values = metric.compute()
    assert values["present_by_horizon"][0, :3].tolist() == pytest.approx([1, 1 / 3, 1])
    assert values["present"][0] == pytest.approx(7 / 9) and values["seen_by_horizon"][0].tolist() == [3, 3, 3, 0]
    whole = ObjectPresence(detector, 4)
    whole.update(frames, reference(detector, truth, objects))
    for name, value in whole.compute().items():
        assert torch.allclose(value, values[name], equal_nan=True), name


def test_autocast_around_it_changes_nothing(detector):
    usual = detector.blobs(TRUTH[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around = detector.blobs(TRUTH[0])
    assert torch.equal(usual.place, around.place) and torch.equal(usual.mass, around.mass)


def test_an_object_that_is_never_seen_is_never_found():
    objects = OBJECTS.clone()
    objects[:, :, 2] = math.nan
    detector = ObjectDetector(TRUTH[0], objects[0], FIELD)
    metric = ObjectPresence(detector, 4)
    metric.update(TRUTH, reference(detector, TRUTH, objects))
    values = metric.compute()
    assert values["present"][:2].tolist() == [1, 1]
    assert values["present"][2].isnan() and values["invented"][2] == 0


def test_real_pong(pong_root, load):
    """The recorder's positions say what is there: the detector agrees, and a still picture is off by the motion."""
    data = load(pong_root / "test.h5")
    frames = torch.from_numpy(data["frames"]).permute(0, 3, 1, 2)[30:150] / 255
    objects = torch.from_numpy(data["objects"])[30:150]
    background = torch.from_numpy(load(pong_root / "train.h5")["frames"]).median(dim=0).values.permute(2, 0, 1) / 255
    detector = ObjectDetector(frames, objects, background)
    truth = reference(detector, frames[None], objects[None])
    visible = objects.isfinite().all(-1)
    assert not truth.alarm.any() and truth.seen.sum() > 0.95 * visible.sum() > 200
    metric, copy = ObjectPresence(detector, 120), ObjectPresence(detector, 120)
    metric.update(background.expand(1, 120, -1, -1, -1), truth)
    assert metric.compute()["present"].tolist() == [0, 0, 0]
    start = int(visible.all(-1).nonzero()[0])
    copy.update(frames[None, start : start + 1], truth)
    moved = (objects - objects[start]).norm(dim=-1)
    for index in range(3):
        expected = moved[truth.seen[0, :, index], index].mean().item()
        assert copy.compute()["distance_mean"][index].item() == pytest.approx(expected, abs=0.5)
