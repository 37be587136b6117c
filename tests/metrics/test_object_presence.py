"""Objects in generated frames: found wherever they are, counted, told apart; on drawn pictures and on real Pong."""

import math

import pytest
import torch

from data_modules.image_resize import AreaResize
from genie.agents.statistics import share_of
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import ObjectPresence, blobs_at, in_rally, places, reference

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


def rally_of(shown, given):
    """What is in a rally of a clip with one object that is seen at the moments where `shown` has an x."""
    return "".join("x" if one else "." for one in in_rally(torch.tensor([[c == "x"] for c in shown])[None], given)[0])


@pytest.mark.parametrize(
    ("shown", "given", "rally"),
    [
        ("xxxxxxxx", 4, "xxxx"),
        ("..xxxx.x", 4, "xx.."),  # up to and including the frame that is judged; what comes back is no rally
        ("xxx.xxxx", 4, "...."),  # both of the last two given frames have to show it …
        ("xx.xxxxx", 4, "...."),
        (".xxxxxxx", 3, "xxxxx"),  # … and no others
        ("xxxx.xxx", 4, "...."),
        ("xx.", 2, "."),
        ("xxx.", 1, "xx."),  # of a single given frame that one
        (".xx.", 1, "..."),
    ],
)
def test_a_rally_lasts_while_the_truth_shows_the_object(shown, given, rally):
    assert rally_of(shown, given) == rally


def moving(*shown):
    """A clip in which the ball moves by 2 pixels a frame, and is there at the moments that are True; its positions."""
    where = [(8.0 + 2 * t, 6.0 + 2 * t) if there else NOWHERE for t, there in enumerate(shown)]
    positions = [(ball, *PLACES[0][1:]) for ball in where]
    return torch.stack([draw(*one) for one in positions]), torch.tensor(positions)


def test_over_the_frames_of_rallies_only_these_count(detector):
    """Clip 0: the ball is always there; clip 1: gone in the 5th frame and back in the 6th; clip 2: no ball is given."""
    made = [
        moving(*[True] * 6),
        moving(True, True, True, True, False, True),
        moving(True, False, True, True, True, True),
    ]
    frames, objects = (torch.stack(part) for part in zip(*made, strict=True))
    truth, given = reference(detector, frames, objects), 2
    generated = frames[:, given:].clone()
    generated[0, 3] = draw(None, *PLACES[0][1:])  # lost in clip 0 in the 4th generated frame
    generated[1, 3] = draw((20, 20), *PLACES[0][1:])  # elsewhere in clip 1, where it was served again
    generated[2] = FIELD  # and never there in clip 2
    figures = {}
    for name, judged in (("all", truth.after(given)), ("rally", truth.rally(given))):
        metric = ObjectPresence(detector, 4)
        metric.update(generated, judged)
        figures[name] = {key: value[0] for key, value in metric.compute().items()}
    assert figures["all"]["seen_by_horizon"].tolist() == [3, 3, 2, 3]
    assert figures["all"]["present_by_horizon"].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 2, 1 / 3])
    rally = figures["rally"]
    assert rally["seen_by_horizon"].tolist() == [2, 2, 1, 1]
    assert rally["present_by_horizon"].tolist() == rally["in_place_by_horizon"].tolist() == [1, 1, 1, 0]
    assert (rally["seen"], rally["present"]) == (6, pytest.approx(5 / 6))


def test_positions_are_judged_as_pictures_are(detector, measure):
    truth = reference(detector, TRUTH, OBJECTS)
    metric = ObjectPresence(detector, len(PLACES))
    metric.update(blobs_at(places(detector, detector.blobs(TRUTH[0]), truth.seen.shape)), truth)
    drawn, given = measure(TRUTH[0]), metric.compute()
    for name in ("present", "in_place", "doubled", "distance_mean", "present_low_by_horizon"):
        assert torch.allclose(given[name], torch.tensor(drawn[name]), equal_nan=True), name
    metric.reset()
    metric.update(blobs_at(OBJECTS + torch.tensor([3.0, 0.0])), truth)
    assert metric.compute()["distance_mean"].tolist() == pytest.approx([3, 3, 3])
    assert metric.compute()["in_place"].tolist() == [0, 0, 0]


def test_what_is_there_twice_has_no_place(detector):
    frames = torch.stack([draw(*PLACES[0]), draw(*PLACES[0], [("player", (27.3, 27.0))])])
    found = places(detector, detector.blobs(frames), (1, 2, 3))
    assert found[0, 0].tolist() == pytest.approx(OBJECTS[0, 0], abs=0.3)
    assert found[0, 1, 1].isnan().all() and found[0, 1, [0, 2]].isfinite().all()


def test_intervals_count_clips_and_not_frames(detector):
    """Ten clips whose four frames are alike say what ten frames say."""
    lost = TRUTH.clone()
    lost[0, :] = torch.stack([draw(None, None, enemy) for _, _, enemy in PLACES])
    metric = ObjectPresence(detector, 4)
    frames = torch.cat([TRUTH] * 7 + [lost] * 3)
    truth = reference(detector, TRUTH.repeat(10, 1, 1, 1, 1), OBJECTS.repeat(10, 1, 1, 1))
    metric.update(frames, truth)
    values = {name: value[1] for name, value in metric.compute().items()}  # of the player: in all 40 frames
    hits = share_of([True] * 7 + [False] * 3)
    for end, expected in (("low", hits.low), ("high", hits.high)):
        assert values[f"present_{end}_by_horizon"].tolist() == pytest.approx([expected] * 4)
        assert values[f"present_{end}"].item() == pytest.approx(expected, abs=0.03)  # here with n - 1
    certain = metric.compute()["doubled_high"][1].item()
    assert certain == pytest.approx(share_of([False] * 10).high)  # none of ten clips is not none at all


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
