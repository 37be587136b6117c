"""Long rollouts: random actions, what stays of videos that pass by, the real game beside them, and all of a run."""

import io
import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hydra import initialize_config_module
from rich.console import Console

from data_modules.held_out_clips import Clips, load_clips
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.common.settings.evaluation import LongRollout
from genie.evaluation.environment_replay import recorded_environment
from genie.evaluation.evaluate import Evaluated, evaluate_runs
from genie.evaluation.long_rollout import (
    evaluate_long_rollout,
    flicker_figures,
    object_figures,
    point_figures,
    shown_windows,
    window_period,
)
from genie.evaluation.long_rollout_plots import running_mean
from genie.evaluation.long_videos import (
    LongVideos,
    held_actions,
    imagined_stretches,
    object_field,
    played_videos,
    recorded_videos,
    watch,
)
from genie.evaluation.table import report_table
from genie.evaluation.trained_run import LeftOut
from genie.metrics.long_videos import agreement, points
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.video_features import VideoFeatures
from genie.publishing.report_page import render

pytestmark = pytest.mark.slow


def composed(*overrides):
    few = ["num_clips=5", "prompt_frames=3", "horizon=4", "parts=[long_rollout]", "device=cpu", "fvd.frames=9"]
    few += ["long_rollout.frames=40", "long_rollout.worlds=3", "long_rollout.fvd=[2,31,35]"]
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("evaluate", [*few, *overrides])


@pytest.fixture(scope="module")
def prompts(pong_root):
    with initialize_config_module("conf", version_base="1.3"):
        data = resolved("train", [f"data.root={pong_root}"])["data"]
    return load_clips(data, None, "test", 4, 6, 4), data


@pytest.fixture(scope="module")
def detector(prompts):
    clips = prompts[0]
    return ObjectDetector(clips.floats().flatten(0, 1), clips.objects.flatten(0, 1), clips.background)


# ------------------------------------------------------------------ random actions


def test_actions_are_held_for_a_geometric_time_and_all_are_taken():
    actions = held_actions(spaces.Discrete(5), 4000, 3, torch.arange(10))
    changes = (actions.diff(dim=1) != 0).double().mean()
    assert changes == pytest.approx(1 / 3 * 4 / 5, rel=0.05)  # a new draw is another action in four of five cases
    counts = torch.bincount(actions.flatten()) / actions.numel()
    assert counts.tolist() == pytest.approx([0.2] * 5, abs=0.02)
    assert (held_actions(spaces.Discrete(5), 500, 1, torch.arange(4)).diff(dim=1) != 0).double().mean() > 0.7


def test_a_video_has_its_actions_whatever_the_batch():
    space, seeds = spaces.Discrete(3), torch.tensor([7, 8, 9])
    together = held_actions(space, 50, 3, seeds)
    assert torch.equal(together, torch.cat([held_actions(space, 50, 3, seeds[n : n + 1]) for n in range(3)]))
    assert torch.equal(together[:, :20], held_actions(space, 20, 3, seeds)) and len(together.unique(dim=0)) == 3
    numbers = held_actions(spaces.Box(-1, 1, (2,)), 50, 3, seeds)
    assert numbers.shape == (3, 50, 2) and numbers.abs().max() <= 1 and numbers.dtype == torch.float32


# ------------------------------------------------------------------ videos that pass by


def test_what_stays_does_not_depend_on_the_stretches(prompts, detector):
    frames = prompts[0].frames
    whole = watch([frames], detector, [(1, 3), (4, 2)])
    pieces = watch(frames.split([1, 3, 2], dim=1), detector, [(1, 3), (4, 2)])
    for one, other in (
        (one, other) for videos in zip(whole.tracks, pieces.tracks, strict=True) for one, other in [videos]
    ):
        assert torch.equal(one.counts, other.counts) and torch.equal(one.places.nan_to_num(), other.places.nan_to_num())
    torch.testing.assert_close(whole.changes, pieces.changes)
    difference = (frames[2, 1].double() - frames[2, 0].double()).abs().mean() / 255
    assert float(pieces.changes[2][0]) == pytest.approx(float(difference), rel=1e-5)
    for window, start in (((1, 3), 1), ((4, 2), 4)):
        assert torch.equal(pieces.windows[window], frames[:, start : start + window[1]])
    assert pieces.frames == 4 * 6 and len(pieces) == 4
    away = (whole.tracks[0].places - prompts[0].objects[0]).norm(dim=-1)
    assert away[:, 1].max() < 2  # the player is where it is recorded


def test_an_object_that_is_there_twice_has_no_place(prompts, detector):
    frames = prompts[0].frames[:1, :1].clone()
    (before,) = watch([frames], detector).tracks
    x, y = before.places[0, 1].round().long().tolist()
    other = (y + 28) % 56
    frames[..., other : other + 8, x - 2 : x + 3] = frames[..., max(y - 4, 0) : max(y - 4, 0) + 8, x - 2 : x + 3]
    (after,) = watch([frames], detector).tracks
    assert before.counts[0, 1] == 1 and after.counts[0, 1] == 2 and after.places[0, 1].isnan().all()
    assert torch.equal(after.counts[0, [0, 2]], before.counts[0, [0, 2]])  # of the others


def test_an_imagined_video_does_not_depend_on_the_others(tokens_world):
    frames = torch.randint(0, 256, (3, 2, 3, 8, 12), dtype=torch.uint8)
    clips, seeds = Clips(frames, None, None, None, 2), torch.tensor([3, 4, 5])
    actions = held_actions(tokens_world.action_space, 12, 2, seeds)
    together = torch.cat(list(imagined_stretches(tokens_world, clips, actions, seeds)), dim=1)
    alone = [
        imagined_stretches(tokens_world, clips.select(torch.tensor([n])), actions[[n]], seeds[[n]]) for n in range(3)
    ]
    assert together.shape == (3, 12, 3, 8, 12) and together.dtype == torch.uint8
    assert torch.equal(together, torch.cat([torch.cat(list(one), dim=1) for one in alone]))


# ------------------------------------------------------------------ the real game


def test_the_game_goes_on_from_the_prompt_as_the_actions_have_it(prompts, monkeypatch):
    clips, data = prompts
    recorded, dataset = recorded_environment(clips, "test", data), clips.source
    starts = [dataset.location(index)[0] + 6 for index in range(4)]
    rows = [dataset.reader.column("actions", start - 1, start + 19) for start in starts]
    monkeypatch.setattr("genie.evaluation.long_videos.held_actions", lambda *_: torch.from_numpy(np.stack(rows)))
    videos = played_videos(recorded, clips, 20, 3, torch.arange(4), None, [(0, 20)])
    for index, start in enumerate(starts):  # under the recorded actions it is the recording, to the end of the episode
        count = min(20, dataset.location(index)[1] - start)
        true = torch.from_numpy(dataset.reader.frames(start, start + count)).permute(0, 3, 1, 2)
        assert torch.equal(videos.windows[0, 20][index, :count], true)
        rewards = dataset.reader.column("rewards", start - 1, start + count - 1)
        assert videos.rewards[index][:count].tolist() == rewards.tolist()
    with pytest.raises(LeftOut, match="shows other frames"):
        other = Clips(**{**vars(clips), "frames": clips.frames.flip(-1)})
        played_videos(recorded, other, 2, 3, torch.arange(4), None, [])


def test_points_of_the_recording_are_its_rewards(prompts, detector):
    clips, _ = prompts
    dataset = clips.source
    videos = recorded_videos(dataset, detector, 10_000)
    assert videos.frames == sum(end - first for first, end in dataset.episodes)
    field = object_field(dataset, 0)
    totals = [
        agreement(points(track, 0, field), paid) for track, paid in zip(videos.tracks, videos.rewards, strict=True)
    ]
    rewards, with_point, count, with_reward = np.sum(totals, axis=0)
    assert with_point >= rewards - 1 and with_reward == count >= 2  # one may be cut off by the end
    assert recorded_videos(dataset, None, 30).frames <= 30


def test_the_real_game_differs_from_itself_in_nothing(prompts, detector):
    videos = recorded_videos(prompts[0].source, detector, 10_000)
    both = {"generated": videos, "recorded": videos}
    ball = object_figures(both, ["ball", "player", "enemy"])["ball"]
    assert ball["presence_error"] == ball["speed_ks"] == 0 < ball["generated"]["present"]
    found = point_figures(both, 0, object_field(prompts[0].source, 0))
    assert found["rate_error"] == 0 < found["generated"]["per_1000_frames"]
    assert found["generated"]["per_1000_frames"] == found["generated"]["left"] + found["generated"]["right"]
    gone = [SimpleNamespace(counts=track.counts * 0, places=track.places * torch.nan) for track in videos.tracks]
    empty = {"generated": LongVideos(gone, videos.changes), "recorded": videos}
    ball = object_figures(empty, ["ball", "player", "enemy"])["ball"]
    assert ball["presence_error"] == ball["recorded"]["present"] and np.isnan(ball["speed_ks"])


# ------------------------------------------------------------------ flicker of worlds


def test_the_period_is_that_of_the_window(tokens_world, tmp_path):
    assert window_period(tokens_world) == tokens_world.window - tokens_world.keep == 3
    seeds = torch.arange(4)
    frames = torch.randint(0, 256, (4, 4, 3, 8, 12), dtype=torch.uint8)
    state = tokens_world.reset(frames.float() / 255, None, seeds)
    lengths = []
    for _ in range(8):
        state, _ = tokens_world.step(state, torch.zeros(4, dtype=torch.int64))
        lengths.append(state.lengths[0])
    assert lengths == [5, 3, 4, 5, 3, 4, 5, 3]  # it begins anew each 3 frames
    tokens_world.keep = 4
    with pytest.raises(LeftOut, match="with every frame"):
        window_period(tokens_world)
    with pytest.raises(LeftOut, match="no window"):
        window_period(SimpleNamespace())
    with pytest.raises(LeftOut, match="frames of at least 49"):
        flicker_figures({"generated": LongVideos(changes=[torch.ones(47)])}, 3, tmp_path)


# ------------------------------------------------------------------ what is shown


def test_moments_of_the_video_lie_in_the_rollout():
    assert shown_windows(1000) == [(100, 48), (300, 48), (952, 48)]
    assert shown_windows(200) == [(100, 48), (152, 48)] and shown_windows(20) == [(0, 20)]


def test_a_curve_over_time_is_a_running_mean():
    places, means = running_mean(np.arange(100.0))
    assert len(places) == 51 and (places[0], means[0], means[-1]) == pytest.approx((25.5, 24.5, 74.5))
    assert [list(one) for one in running_mean(np.array([1.0, 3.0]))] == [[1.5], [2.0]]


# ------------------------------------------------------------------ of a run


class Colours(torch.nn.Module):
    """A detector of features that is there at once."""

    def forward(self, videos):
        return videos.float()[:, :, [0, videos.shape[2] // 2, -1]].mean(dim=(-2, -1)).flatten(1)


@pytest.fixture(scope="module", autouse=True)
def quick_features(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        name = "genie.evaluation.long_rollout.load_features"
        patch.setattr(name, lambda frames, resize: VideoFeatures(Colours(), frames))
        yield


@pytest.fixture(scope="module")
def report(world_run, tmp_path_factory):
    one = evaluate_runs(composed(f"run={world_run}", "batch_size=2", f"output={tmp_path_factory.mktemp('long')}"))[0]
    return one.values, one.folder


def test_everything_is_measured_written_and_shown(report, read_video):
    values, folder = report
    figures = values["long_rollout"]
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json", "long_rollout.mp4", "long_rollout_presence.png", "long_rollout_speed.png",
        "long_rollout_spectrum.png",
    }  # fmt: skip
    assert json.loads((folder / "evaluation.json").read_text()) == values
    assert (figures["worlds"], figures["frames"], figures["real_frames"]["game"]) == (3, 40, 120)
    whose = {"generated", "game", "recorded"}
    for name in ("ball", "player", "enemy"):
        assert whose | {"presence_error", "speed_ks"} == figures[name].keys()
        assert len(figures[name]["generated"]["present_by_quarter"]) == 4
    assert figures["player"]["game"]["present"] > 0.5 < figures["player"]["recorded"]["present"]
    assert whose | {"rate_error", "rule_recall", "rule_precision"} == figures["points"].keys()
    assert figures["flicker"]["period"] == 2 and figures["flicker"].keys() == whose | {"period"}
    assert figures["fvd"]["name"] == "fvd/Colours_9f_3v" and figures["fvd"]["videos"] == 3
    names = {f"{kind}{name}" for kind in ("", "kvd_") for name in ("at_2", "at_31", "at_2_game", "at_31_game", "floor")}
    assert names == figures["fvd"].keys() - {"name", "videos", "protocol"}
    assert values["left_out"] == {"long_rollout.fvd.at_35": "long_rollout.frames=40 ends before 44"}
    assert values["cost"]["long_rollout"]["seconds_per_frame"] > 0
    assert len(read_video(folder / "long_rollout.mp4")[0]) == 40

    console = Console(file=io.StringIO(), width=200)
    console.print(report_table(values))
    table = console.file.getvalue()
    for label in ("40 frames have the ball", "points per 1000 frames", "flicker, each 2 frames", "FVD from frame 31"):
        assert label in table
    page = render([Evaluated("world", folder, folder, values)])
    for text in ("Long rollouts", "ball present, by quarter", "points per 1,000 frames", "FVD of videos from frame 31",
                 "the real game, played likewise", "Real beside generated", "Flicker in long rollouts"):  # fmt: skip
        assert text in page


def test_figures_do_not_depend_on_the_batch(world_run, report, tmp_path):
    given = [f"run={world_run}", f"output={tmp_path}", "long_rollout.fvd=[]"]
    again = evaluate_runs(composed(*given, "batch_size=64"))[0].values
    before = report[0]["long_rollout"]
    assert again["left_out"] == {}  # nobody asked for distances
    assert again["long_rollout"] == {name: value for name, value in before.items() if name != "fvd"}


def test_data_without_object_positions_and_environment_have_the_rest(world_run, pong_root, tmp_path):
    for split in ("train", "val", "test"):
        with h5py.File(pong_root / f"{split}.h5") as source, h5py.File(tmp_path / f"{split}.h5", "w") as target:
            target["frames"] = source["frames"][:60]
            target.attrs["fps"] = 15.0
    one = evaluate_runs(composed(f"run={world_run}", f"data_root={tmp_path}", f"output={tmp_path / 'out'}"))[0]
    values, folder = one.values, one.folder
    figures = values["long_rollout"]
    assert values["left_out"].keys() == {f"long_rollout.{name}" for name in ("objects", "game", "fvd.at_35")}
    assert not {"ball", "points"} & figures.keys() and figures["flicker"].keys() == {"period", "generated", "recorded"}
    assert "at_2" in figures["fvd"] and "at_2_game" not in figures["fvd"]
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json", "long_rollout.mp4", "long_rollout_spectrum.png"
    }  # fmt: skip


def test_a_world_of_states_is_left_out(line_world, tmp_path):
    settings = LongRollout(frames=9, worlds=2, hold=3, fvd=[])
    config, imagined = SimpleNamespace(seed=0, long_rollout=settings), SimpleNamespace(world=line_world())
    with pytest.raises(LeftOut, match="shows no frames"):
        evaluate_long_rollout(config, imagined, tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("long_rollout.frames=0", "long_rollout.frames=0"),
        ("long_rollout.worlds=0", "long_rollout.worlds=0"),
        ("long_rollout.hold=0.5", "long_rollout.hold=0.5 must be a number of at least 1"),
        ("long_rollout.fvd=[-1]", r"long_rollout.fvd=\[-1\]: each must be"),
    ],
)
def test_wrong_values_are_one_line(world_run, override, message):
    with pytest.raises(UserError, match=message) as error:
        evaluate_runs(composed(f"run={world_run}", override))
    assert "\n" not in str(error.value)
