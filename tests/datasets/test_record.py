"""Recording, on real Pong and on an environment that shows its own clock."""

import os
import signal
import subprocess
import sys
import time

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from data_modules.formats.episodes import Fingerprint
from genie.common.errors import UserError

pytestmark = pytest.mark.slow

SMALL = [f"data.recorder.num_frames.{split}=120" for split in ("train", "val", "test")]


class Clock(gym.Env):
    """Frame t is 10 t everywhere but at [0, 0], the action that led to it; reward t; ends after 7 steps."""

    observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)
    metadata = {"render_modes": [], "render_fps": 5}
    fails_at = None  # number of the step, counted over all episodes, at which the environment breaks
    steps = 0

    def _frame(self, action):
        frame = np.full((8, 8, 3), 10 * self.time, np.uint8)
        frame[0, 0] = action
        return frame

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._frame(0), {}

    def step(self, action):
        self.time += 1
        Clock.steps += 1
        if Clock.steps == Clock.fails_at:
            raise RuntimeError("the environment broke")
        return self._frame(action), float(self.time), self.time == 7, False, {}


gym.register("Clock-v0", Clock)
CLOCK = ["env.id=Clock-v0", "data.image_size=[8,8]"]


@pytest.fixture(autouse=True)
def whole_clock():
    Clock.fails_at, Clock.steps = None, 0


# ------------------------------------------------------------------------------------------------- the file


def test_row_t_is_what_was_done_on_frame_t_and_came_of_it(tmp_path, record_with, load):
    data = load(record_with(tmp_path, *CLOCK, *SMALL, "data.recorder.num_frames.train=20") / "train.h5")
    assert data["episode_ends"].tolist() == [8, 16, 20]  # 7 steps have 8 frames; the last episode is cut
    first = slice(0, 8)
    assert data["frames"][first, 1, 1, 0].tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert data["frames"][1:8, 0, 0, 0].tolist() == data["actions"][:7].tolist()  # the action shows in frame t+1
    assert data["rewards"][first].tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    assert np.flatnonzero(data["terminals"]).tolist() == [6, 14]  # on the last frame nothing is decided
    assert data["actions"][7] == 0
    assert np.flatnonzero(data["truncations"]).tolist() == [18]


def test_a_long_episode_is_cut_and_not_called_terminal(tmp_path, record_with, load):
    data = load(record_with(tmp_path, *CLOCK, *SMALL, "data.recorder.max_episode_steps=3") / "train.h5")
    assert set(np.diff(data["episode_ends"])) == {4}
    assert not data["terminals"].any()
    assert data["truncations"][:8].tolist() == [False, False, True, False] * 2


def test_an_episode_that_ends_at_the_limit_has_ended(tmp_path, record_with, load):
    data = load(record_with(tmp_path, *CLOCK, *SMALL, "data.recorder.max_episode_steps=7") / "train.h5")
    assert data["terminals"][6] and not data["truncations"][6]


def test_attributes_describe_the_recording(pong_root):
    with h5py.File(pong_root / "train.h5") as file:
        assert file.attrs["fps"] == 10 and file.attrs["environment"] == "ALE/Pong-v5"
        assert list(file.attrs["action_meanings"]) == ["noop", "up", "down"]
        assert list(file.attrs["object_names"]) == ["ball", "player", "enemy"]
        assert file["frames"].shape == (600, 64, 64, 3) and file["frames"].chunks[0] == 16


def test_pong_is_recorded_as_ever(tmp_path, pong_root, record_with, load):
    """The hash is of a recording that was made when the random streams became one enumeration: another one would be
    other data for the seeds of all users. Where an episode begins with the game, its first frame is another."""
    limits = ["data.recorder.max_episode_steps=150", *SMALL]
    before = load(record_with(tmp_path, *limits, "data.recorder.reset_screen=true") / "train.h5")["frames"]
    fingerprint = Fingerprint()
    fingerprint.add(before[:40])
    assert fingerprint.hexdigest() == "192275aedc2dc167528d1af5e66e10b5"
    now = load(pong_root / "train.h5")
    assert (now["frames"][1:120] == before[1:120]).all()
    for start in (0, *now["episode_ends"][:-1]):  # one picture of the game is like the next, the ball is not there yet
        first, second = now["frames"][start : start + 2].astype(int)
        assert (np.abs(first - second).max(-1) > 20).mean() < 0.03
    assert (np.abs(before[0].astype(int) - before[1]).max(-1) > 20).mean() > 0.9


def test_same_seed_same_recording_and_no_split_like_another(tmp_path, pong_root, record_with, load):
    def everything(name, *overrides):
        root = record_with(tmp_path / name, *SMALL, *overrides)
        return [load(root / f"{split}.h5") for split in ("train", "val", "test")]

    first, again, other = everything("a"), everything("b"), everything("c", "data.recorder.seed=1")
    for one, two in zip(first, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    actions = [data["actions"].tobytes() for data in [*first, *other]]
    assert len(set(actions)) == len(actions)


# ------------------------------------------------------------------------------------------------- real Pong


def paddle_rows(frames):
    """Height of the player's paddle read from the pixels alone: the green ones. float [N]"""
    green = np.clip(frames[..., 1].astype(float) - frames[..., 0] - 20, 0, None)  # field and others have R > G
    return (green * np.arange(frames.shape[1])[:, None]).sum((1, 2)) / green.sum((1, 2))


@pytest.fixture(scope="module")
def random_play(tmp_path_factory, record_with, load):
    frames = [
        "data.recorder.num_frames.train=1500",
        "data.recorder.num_frames.val=2",
        "data.recorder.num_frames.test=2",
    ]
    root = record_with(
        tmp_path_factory.mktemp("random"),
        *frames,
        "data.recorder.policy.follow_share=0",
        "data.recorder.max_episode_steps=1500",
    )
    return load(root / "train.h5")


def test_up_held_moves_the_paddle_up_in_the_next_frames(random_play):
    rows, actions = paddle_rows(random_play["frames"]), random_play["actions"]
    inside = (rows > 8) & (rows < 55)
    for action, direction in ((1, -1), (2, 1)):
        held = [t for t in range(2, 1490) if (actions[t - 2 : t + 1] == action).all() and inside[t - 1 : t + 2].all()]
        moves = np.array([rows[t + 1] - rows[t] for t in held]) * direction
        assert len(moves) > 20 and (moves > 1).mean() > 0.95


def test_actions_are_not_shifted_by_one(random_play):
    """A paddle at rest starts to move in the frame after the action: only without a shift does this fit."""
    rows, actions = paddle_rows(random_play["frames"]), random_play["actions"]
    motion = np.diff(rows)
    direction = np.where(np.abs(motion) < 0.5, 0, np.sign(motion))
    meant = np.array([0, -1, 1])[actions]

    def agreement(shift):
        rest = [
            t
            for t in range(5, 1490)
            if (direction[t - 2 : t] == 0).all() and 8 < rows[t] < 55 and meant[t - 1 : t + 2].any()
        ]
        assert len(rest) > 20
        return np.mean([direction[t] == meant[t + shift] for t in rest])

    assert agreement(0) > 0.95
    assert agreement(-1) < 0.7 and agreement(1) < 0.7


def test_objects_lie_on_the_bright_pixels(random_play):
    frames, objects = random_play["frames"].astype(float), random_play["objects"]
    yy, xx = np.mgrid[:64, :64]
    # The ball is the only thing with much blue outside of the columns of the paddles.
    blue = frames[..., 2] - 17
    blue[:, :, [6, 7, 56, 57]] = 0
    peak = blue.reshape(len(blue), -1).argmax(1)
    near = (np.abs(yy - (peak // 64)[:, None, None]) <= 1) & (np.abs(xx - (peak % 64)[:, None, None]) <= 1)
    weight = blue * near
    shown = blue.max((1, 2)) > 40
    centre = np.stack([(weight * xx).sum((1, 2)), (weight * yy).sum((1, 2))], 1) / (weight.sum((1, 2))[:, None] + 1e-9)
    ball = objects[:, 0]
    absent = np.isnan(ball).any(1)
    assert shown.sum() > 700 and absent.sum() > 100
    assert not (shown & absent).any()
    error = np.abs(centre - ball)[shown].max(1)
    assert (error <= 1).mean() >= 0.98
    beside_paddles = np.abs(ball[:, 0, None] - [6.5, 56.5]).min(1) < 2.5
    assert (shown | beside_paddles)[~absent].mean() >= 0.98

    error = np.abs(paddle_rows(random_play["frames"]) - objects[:, 1, 1])
    assert (error <= 1).mean() >= 0.98
    np.testing.assert_allclose(objects[:, 1, 0], 56.3, atol=0.1)


@pytest.mark.parametrize(
    ("game", "colour", "of_one_object"),
    [
        ("breakout", (200, 72, 72), {"ball": slice(26, 59), "player": slice(60, 64)}),  # rows below the bricks
        ("freeway", (252, 252, 84), {"player": slice(0, 64)}),
    ],
)
def test_objects_of_other_games_lie_on_pixels_of_their_colour(tmp_path, record_with, load, game, colour, of_one_object):
    frames = [f"data.recorder.num_frames.{split}={n}" for split, n in {"train": 1500, "val": 2, "test": 2}.items()]
    data = load(record_with(tmp_path, f"data={game}", *frames) / "train.h5")
    for number, (name, rows) in enumerate(of_one_object.items()):
        x, y = data["objects"][:, number].T
        seen = np.isfinite(y) & (y > rows.start) & (y < rows.stop - 1)
        assert seen.sum() > 200
        pictures, at = data["frames"][seen].astype(float), np.stack([x, y], 1)[seen].round().astype(int)
        # what differs from the road or from black at that place, without what stands still there
        change = pictures - np.median(data["frames"], axis=0)
        direction = np.array(colour) - np.median(data["frames"], axis=0)[at[:, 1], at[:, 0]]
        found = change[np.arange(len(at)), at[:, 1], at[:, 0]]
        cosine = (found * direction).sum(1) / np.linalg.norm(found, axis=1).clip(1) / np.linalg.norm(direction, axis=1)
        assert (cosine > 0.95).mean() > 0.97, name


def test_the_ball_of_breakout_is_nowhere_until_it_is_served(tmp_path, record_with, load):
    frames = [f"data.recorder.num_frames.{split}={n}" for split, n in {"train": 1500, "val": 2, "test": 2}.items()]
    data = load(record_with(tmp_path, "data=breakout", *frames) / "train.h5")
    absent, field = np.isnan(data["objects"][:, 0, 0]), data["frames"][:, 27:59, :, 0]  # black, below the bricks
    assert absent[0] and 200 < absent.sum() < 1300
    assert field[absent].max() < 20 < np.median(field[~absent].max((1, 2)))
    assert np.isfinite(data["objects"][:, 1]).all()


def test_a_point_comes_when_the_ball_leaves(random_play):
    """The ball reaches the edge in the frame that the point leads to, and is gone in the one after."""
    points = np.flatnonzero(random_play["rewards"])
    x = random_play["objects"][:, 0, 0]
    assert len(points) > 10
    assert np.isnan(x[points + 2]).mean() > 0.9
    at_edge = np.isnan(x) | (x < 2) | (x > 61.5)
    assert at_edge[points + 1].mean() > 0.9 and at_edge[points].mean() < 0.5


def test_the_paddle_that_follows_the_ball_meets_it(tmp_path, record_with, load):
    frames = [f"data.recorder.num_frames.{split}={n}" for split, n in {"train": 1000, "val": 2, "test": 2}.items()]
    data = load(record_with(tmp_path, *frames, "data.recorder.policy.follow_share=1") / "train.h5")
    x = data["objects"][:, 0, 0]
    motion = np.diff(x)
    turns = (x[1:-1] > 45) & (motion[:-1] >= 0) & (motion[1:] < 0)
    assert turns.sum() > (data["rewards"] < 0).sum() / 2


def test_random_play_turns_before_the_walls(random_play, record_with, tmp_path, load):
    def towards(data):
        """Shares of decisions that go on up or down within the margin of 36 screen pixels, 14.4 of the picture."""
        centre, action = data["objects"][:-1, 1, 1], data["actions"][:-1]
        return ((centre < 14) & (action == 1)).mean(), ((centre > 50) & (action == 2)).mean()

    assert max(towards(random_play)) == 0
    frames = [f"data.recorder.num_frames.{split}={n}" for split, n in {"train": 400, "val": 2, "test": 2}.items()]
    options = ["data.recorder.policy.wall_margin=null", "data.recorder.policy.follow_share=0"]
    assert min(towards(load(record_with(tmp_path, *frames, *options) / "train.h5"))) > 0.05


def test_notes_setting_shows_the_score(tmp_path, record_with, load):
    data = load(record_with(tmp_path, "data=pong_notes", *SMALL) / "train.h5")
    assert data["frames"].shape[1:] == (128, 72, 3)
    assert data["frames"][:, :14].std() > 10  # digits on a plain ground
    assert np.isfinite(data["objects"][:, 1]).all()
    green = paddle_rows(data["frames"][:, 21:118]) + 21  # the score is green too
    assert (np.abs(green - data["objects"][:, 1, 1]) <= 1).mean() > 0.95


def test_another_environment_keeps_nothing_of_pong(tmp_path, monkeypatch, record_with):
    monkeypatch.chdir(tmp_path)
    from genie.datasets.record import record, replace_environment

    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", ["env.id=ALE/Breakout-v5", *SMALL])
    replace_environment(cfg)
    record(cfg.data)
    with h5py.File(tmp_path / "data/breakout_64x64/val.h5") as file:
        assert list(file.attrs["action_meanings"]) == ["noop", "fire", "right", "left"]
        assert file.attrs["fps"] == 10 and list(file.attrs["object_names"]) == ["ball", "player"]
        assert set(file["actions"][:]) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("given", "root"), [([], "data/acrobot_states"), (["debug=fast"], "data/debug_acrobot_states")]
)
def test_states_are_not_in_a_folder_named_by_the_size_of_pictures(given, root):
    from genie.datasets.record import replace_environment

    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", ["env.id=Acrobot-v1", "data.recorder.observe=states", *given])
    replace_environment(cfg)
    assert cfg.data.root == root and cfg.data.recorder.env == {"id": "Acrobot-v1", "kwargs": {}, "options": {}}


@pytest.mark.parametrize("options", ["{level:3}", "{a.b:{c:1}}", "{level:[1,2]}"])
def test_options_given_for_another_environment_keep_their_names(options):
    from genie.datasets.record import replace_environment

    given = ["++data.recorder.env.kwargs.mode=1", f"data.recorder.env.options={options}"]
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", ["env.id=CartPole-v1", *given])
    replace_environment(cfg, given)
    options = OmegaConf.to_container(OmegaConf.create(options.replace(":", ": ")))
    assert cfg.data.recorder.env == {"id": "CartPole-v1", "kwargs": {"mode": 1}, "options": options}


def test_options_that_are_no_keys_are_one_line():
    from genie.datasets.record import replace_environment

    given = ["data.recorder.env.options=abc"]
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", ["env.id=CartPole-v1", *given])
    with pytest.raises(UserError, match="options=abc must be keys and values"):
        replace_environment(cfg, given)


WORLDS = {
    "breakout": ("ALE/Breakout-v5", ["noop", "fire", "right", "left"]),
    "freeway": ("ALE/Freeway-v5", ["noop", "up", "down"]),
    "pitfall": ("ALE/Pitfall-v5", ["noop", "right", "left", "jump", "jump_right", "jump_left", "up", "down"]),
    "montezuma": (
        "ALE/MontezumaRevenge-v5",
        ["noop", "right", "left", "jump", "jump_right", "jump_left", "up", "down"],
    ),
    "minatar_breakout": ("MinAtar/Breakout-v1", ["noop", "left", "right"]),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_other_worlds_are_recorded_in_motion_and_with_their_ends(name, tmp_path, record_with):
    frames = [f"data.recorder.num_frames.{split}={count}" for split, count in (("train", 400), ("val", 2), ("test", 2))]
    root = record_with(tmp_path, f"data={name}", *frames)
    with h5py.File(root / "train.h5") as file:
        environment, actions = WORLDS[name]
        assert file.attrs["environment"] == environment and file.attrs["fps"] == 10
        assert list(file.attrs["action_meanings"]) == actions
        assert set(file["actions"][:]) == set(range(len(actions)))
        stills = (np.diff(file["frames"][:].astype(int), axis=0) == 0).all(axis=(1, 2, 3))
        assert stills.mean() < 0.5
        if name in ("minatar_breakout", "montezuma"):  # random play dies soon in these: no episode is left out for it
            terminals, ends = file["terminals"][:], file["episode_ends"][:]
            assert terminals.sum() >= 1 and set(np.flatnonzero(terminals) + 2) <= set(ends)


def test_minatar_is_seen_as_it_shows_itself(tmp_path, record_with, load):
    root = record_with(tmp_path, "data=minatar_breakout", *SMALL)
    frames = load(root / "train.h5")["frames"]
    assert frames.shape[1:] == (10, 10, 3)
    assert ((frames[:, 9] > 0).any(-1).sum(-1) >= 1).all()  # the paddle, a pixel of the last row
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) == 5  # black, paddle, ball, its trail, bricks


def test_an_environment_of_a_package_that_is_not_there_says_which(monkeypatch, tmp_path, record_with):
    monkeypatch.setattr("data_modules.environments.making.entry_points", lambda **of: [])
    monkeypatch.setattr(gym.envs.registration, "registry", {})
    monkeypatch.setattr(gym, "registry", {})
    with pytest.raises(UserError, match="pip install 'genie-world\\[minatar\\]'"):
        record_with(tmp_path, "data=minatar_breakout", *SMALL)


# ------------------------------------------------------------------------------------------- whole or nothing


def test_what_is_there_is_not_overwritten(tmp_path, record_with, load):
    root = record_with(tmp_path, *CLOCK, *SMALL)
    before = load(root / "train.h5")["actions"]
    with pytest.raises(UserError, match="overwrite=true"):
        record_with(tmp_path, *CLOCK, *SMALL, "data.recorder.seed=1")
    np.testing.assert_array_equal(load(root / "train.h5")["actions"], before)
    record_with(tmp_path, *CLOCK, *SMALL, "data.recorder.seed=1", "overwrite=true")
    assert (load(root / "train.h5")["actions"] != before).any()


def test_a_recording_that_breaks_leaves_no_file(tmp_path, record_with):
    Clock.fails_at = 100
    with pytest.raises(RuntimeError, match="broke"):
        record_with(tmp_path, *CLOCK, *SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_recording_leaves_no_file_under_its_name(tmp_path, record_with):
    root = tmp_path / "pong"
    command = [
        sys.executable,
        "-m",
        "genie.record",
        f"data.root={root}",
        "data.recorder.num_frames.train=1000000",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > 1_000_000 for path in root.glob(".train.h5.tmp-*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert sorted(path.name for path in root.iterdir()) == [".lock", f".train.h5.tmp-{process.pid}"]
    record_with(root, *CLOCK, *SMALL)
    assert sorted(path.name for path in root.iterdir()) == [
        "test.h5",
        "train.h5",
        "val.h5",
    ]  # and it is tidied up


# ---------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("env.id=ALE/Bong-v5", "ALE/Pong-v5"),
        ("data.recorder.actions=[NOOP,JUMP]", "it has NOOP, FIRE, RIGHT"),
        ("data.recorder.action_names=[stay]", "3 actions"),
        ("data.image_size=[0,64]", "whole number from 1 to 16384"),
        ("data.recorder.crop=[0,500,0,160]", "210x160"),
        ("data.recorder.policy.hold=0", "at least 1"),
        ("data.recorder.num_frames.train=1", "at least 2"),
        ("data.recorder.num_frames.train=20.5", "whole number"),
        ("data.recorder.seed=1.5", "whole number"),
        ("data.recorder.policy.hold=nan", "must be a number of at least 1"),
        ("data.recorder.fps=0", "a number above 0"),
        ("data.recorder.observe=smells", "frames or states"),
        ("data=episodes", "data=pong"),
        ("data.root=/proc/nowhere", "cannot write into /proc/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(override, says, tmp_path, monkeypatch, capsys):
    from genie.record import main

    monkeypatch.setattr(sys, "argv", ["genie.record", f"data.root={tmp_path / 'new'}", override])
    with pytest.raises(SystemExit) as left:
        main()
    message = capsys.readouterr().err.strip()
    assert left.value.code == 2
    assert message.startswith("error: ") and "\n" not in message and says in message
    assert not (tmp_path / "new").exists()
