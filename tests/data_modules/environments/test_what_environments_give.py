"""Environments that give what they may and what they should not: pictures of any form, buffers that they use again,
names, rewards and frame rates. What can be read is recorded as it was meant, the rest is one line."""

import enum
import re
from collections.abc import Callable

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from data_modules.environments import open_environment
from data_modules.environments.actions import _note_once
from data_modules.environments.observations import PictureReader
from genie.common.errors import RunError, UserError
from genie.common.overrides import spelled
from genie.replay import main as replay_main

SIZE, LENGTH = (10, 12), 20
VECTOR = spaces.Box(-np.inf, np.inf, (2,), np.float64)


def picture(time: int) -> np.ndarray:
    """What is to be seen at a time: black, grey and white, and another row for each time."""
    shown = np.zeros((*SIZE, 3), np.uint8)
    shown[time % SIZE[0], 2:6], shown[time % SIZE[0], 6:] = 255, 51
    return shown


class Given(gym.Env):
    """Gives whatever it was told: `drawn(time)` by render(), `seen(time)` as its observation."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    observation_space, action_space = VECTOR, spaces.Discrete(3)
    drawn: Callable | None = None
    seen: Callable = staticmethod(lambda time: np.array([time, 0.5]))
    result = (1.0, False)  # reward, truncated
    fails: dict = {}  # what to raise by (method, time)

    def __init__(self, render_mode=None):
        self.render_mode, self.taken = render_mode, []
        self._fail("__init__", 0)

    def _fail(self, method, time):
        if (method, time) in self.fails:
            raise self.fails[method, time]

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        self._fail("reset", 0)
        return type(self).seen(0), {}

    def step(self, action):
        self.time += 1
        self.taken.append(action)
        self._fail("step", self.time)
        reward, truncated = self.result
        return type(self).seen(self.time), reward, self.time == LENGTH, truncated, {}

    def render(self):
        self._fail("render", self.time)
        return type(self).drawn(self.time)


@pytest.fixture
def register():
    """register(**attributes): the id of an environment with them; functions are called with the time alone."""
    ids = []

    def make(**attributes):
        for name in ("drawn", "seen"):
            if callable(attributes.get(name)):
                attributes[name] = staticmethod(attributes[name])
        ids.append(f"Given{len(ids)}-v0")
        gym.register(ids[-1], type("Kind", (Given,), attributes))
        return ids[-1]

    yield make
    for env_id in ids:
        gym.registry.pop(env_id)


def settings(env_id, observe="frames", **given):
    base = {"env": {"id": env_id, "kwargs": {}, "options": given.pop("options", {})}, "observe": observe}
    return base | dict.fromkeys(("actions", "action_names", "crop", "fps")) | given


def opened(env_id, observe="frames", **given):
    return open_environment(settings(env_id, observe, **given), SIZE)


def play(environment, steps=LENGTH):
    """All that is observed in an episode, kept as a recording keeps it."""
    seen = [environment.reset(0)]
    for number in range(steps):
        seen.append(environment.step(number % 3 if environment.action_space.shape == () else [0])[0])
    return seen


def line(call) -> str:
    """What a call ends with: one line of a user's mistake, or of an environment that failed."""
    with pytest.raises((UserError, RunError)) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ------------------------------------------------------------------------------------------------- one buffer


def buffered(shape, dtype, fill, view=lambda buffer: buffer):
    buffer = np.zeros(shape, dtype)

    def give(time):
        fill(buffer, time)
        return view(buffer)

    return give


def paint(buffer, time):
    buffer[..., :3] = picture(time)


BUFFERS = {
    "observation": ("seen", buffered((*SIZE, 3), np.uint8, paint)),
    "render": ("drawn", buffered((*SIZE, 3), np.uint8, paint)),
    "view of a canvas": ("drawn", buffered((*SIZE, 4), np.uint8, paint, lambda buffer: buffer[..., :3])),
    "tensor": ("drawn", buffered((*SIZE, 3), np.uint8, paint, torch.from_numpy)),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_frames_stay_what_they_were_when_the_environment_uses_one_buffer(name, register):
    method, give = BUFFERS[name]
    space = spaces.Box(0, 255, (*SIZE, 3), np.uint8) if method == "seen" else VECTOR
    environment = opened(register(**{method: give, "observation_space": space}))
    screens = []
    for time, frame in enumerate(play(environment)):
        assert (frame == picture(time)).all()
    environment.reset(0)
    for _ in range(3):
        environment.step(0)
        screens.append(environment.screen())
    assert [(screen == picture(time + 1)).all() for time, screen in enumerate(screens)] == [True] * 3


@pytest.mark.parametrize("as_dict", [False, True])
def test_states_stay_what_they_were_when_the_environment_uses_one_buffer(as_dict, register):
    give = buffered((2,), np.float32, lambda buffer, time: buffer.fill(time))
    space = spaces.Dict(one=VECTOR) if as_dict else VECTOR
    seen = (lambda time: {"one": give(time)}) if as_dict else give
    states = play(opened(register(seen=seen, observation_space=space), "states"))
    assert [state.tolist() for state in states] == [[time, time] for time in range(LENGTH + 1)]


# -------------------------------------------------------------------------------------------------- pictures


def grey(time):
    return picture(time)[..., 0]


FORMS = {
    "float 0…1": lambda time: picture(time) / 255,
    "float32 0…1": lambda time: (picture(time) / 255).astype(np.float32),
    "float 0…255": lambda time: picture(time).astype(np.float32),
    "float -1…1": lambda time: picture(time) / 127.5 - 1,
    "float 0…1, black at first": lambda time: picture(time) / 255 * (time > 3),
    "float 0…255, black at first": lambda time: picture(time) * float(time > 3),
    "float 0…255, almost black at first": lambda time: picture(time).astype(float) if time > 3 else picture(time) / 255,
    "int64": lambda time: picture(time).astype(np.int64),
    "uint16": lambda time: picture(time).astype(np.uint16),
    "bool": lambda time: picture(time) > 100,
    "tensor": lambda time: torch.from_numpy(picture(time)),
    "bfloat16": lambda time: torch.from_numpy(picture(time)).bfloat16(),
    "with a gradient": lambda time: torch.from_numpy(picture(time)).float().requires_grad_(),
    "Pillow": lambda time: Image.fromarray(picture(time)),
    "palette": lambda time: Image.fromarray(picture(time)).convert("P"),
    "grey": grey,
    "grey with a channel": lambda time: grey(time)[..., None],
    "RGBA": lambda time: np.dstack([picture(time), np.full(SIZE, 255, np.uint8)]),
    "RGBA without alpha": lambda time: np.dstack([picture(time), np.zeros(SIZE, np.uint8)]),
    "channels first": lambda time: picture(time).transpose(2, 0, 1),
    "upside down": lambda time: picture(time)[::-1],
    "list of frames": lambda time: [picture(max(0, time - 1)), picture(time)],
    "batch of one": lambda time: picture(time)[None],
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_of_every_form_are_recorded_as_they_are_meant(form, register):
    frames = play(opened(register(drawn=FORMS[form])))
    for time, frame in enumerate(frames):
        meant = picture(time)
        if form == "upside down":
            meant = meant[::-1]
        elif form == "bool":
            meant = (meant > 100).astype(np.uint8) * 255
        elif "almost black" in form and time <= 3:
            meant = np.round(meant / 255)
        elif "black at first" in form:
            meant = meant * (time > 3)
        assert frame.dtype == np.uint8 and (frame == meant).all(), (form, time)


@pytest.mark.parametrize(
    ("space", "seen"),
    [
        (spaces.Box(0, 1, (*SIZE, 3), np.float32), lambda time: (picture(time) / 255).astype(np.float32)),
        (spaces.Box(0, 255, (*SIZE, 3), np.float32), lambda time: picture(time).astype(np.float32)),
        (spaces.Box(-1, 1, (*SIZE, 3), np.float32), lambda time: (picture(time) / 127.5 - 1).astype(np.float32)),
        (spaces.Box(0, 65535, (*SIZE, 3), np.uint16), lambda time: picture(time).astype(np.uint16) * 257),
        (spaces.Box(0, 255, (3, *SIZE), np.uint8), lambda time: picture(time).transpose(2, 0, 1)),
        (spaces.Box(0, 255, SIZE, np.uint8), grey),
    ],
)
def test_observations_are_pictures_by_the_limits_of_their_space_where_nothing_is_drawn(space, seen, register):
    """Also where all of a picture is black or almost: the limits decide, not the values."""
    dark = (lambda time: seen(time) if time else seen(0) * 0 + seen(0).min()) if space.low.min() == 0 else seen
    for modes in ({"render_modes": ["human"], "render_fps": 5}, Given.metadata):
        env_id = register(observation_space=space, seen=dark, drawn=lambda time: None, metadata=modes)
        frames = play(opened(env_id))
        assert all((frame == picture(time)).all() for time, frame in enumerate(frames) if time)


def test_frames_of_the_mode_rgb_array_list_are_drawn_once_each(register):
    left = []

    def drawn(time):
        assert time not in left  # a second look would give an empty list
        left.append(time)
        return [picture(time)]

    modes = {"render_modes": ["human", "rgb_array_list"], "render_fps": 5}
    environment = opened(register(drawn=drawn, metadata=modes))
    left.clear()
    frames = play(environment, 5)
    assert (environment.screen() == frames[-1]).all() and left == list(range(6))


ODD_PICTURES = {
    "negative": (lambda time: picture(time) - 40.0, "float64 with values -40 … 215"),
    "too bright": (lambda time: picture(time).astype(np.int32) * 16, "int32 with values 0 … 4080"),
    "sharpened": (lambda time: picture(time) / 255 * 1.2, "float64 with values 0 … 1.2"),
    "a little negative": (lambda time: picture(time) / 255 - 0.1, "values -0.1 … 0.9"),
    "nan": (lambda time: picture(time) * np.nan, "not finite"),
    "two channels": (lambda time: picture(time)[..., :2], "uint8 [10, 12, 2]"),
    "a vector": (lambda time: np.zeros(3, np.uint8), "uint8 [3]"),
    "empty": (lambda time: np.zeros((0, 12, 3), np.uint8), "[0, 12, 3]"),
    "text": (lambda time: "a picture", "str of"),
    "complex": (lambda time: picture(time) * 1j, "complex128"),
    "ragged": (lambda time: [[1, 2], [3]], "list"),
    "planes": (lambda time: list(picture(time).transpose(2, 0, 1)), "3 arrays [10, 12]"),
    "white 1, later 255": (lambda time: picture(time) / (1 if time == LENGTH - 1 else 255), "not within 0 … 1 as in"),
    "grey 0, later signed": (lambda time: picture(time) / 127.5 - 1 if time > 17 else np.zeros((*SIZE, 3)), "0 all"),
    "nothing": (lambda time: None, "shows no screen: record its states"),
    "nothing, later": (lambda time: picture(time) if time < 3 else None, "step 3: render() gives no picture"),
    "larger": (lambda time: np.pad(picture(time), ((0, time), (0, 0), (0, 0))), "step 1: the screen is 11x12"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_PICTURES)
def test_a_picture_that_cannot_be_read_is_one_line_that_says_what_was_given(name, register):
    drawn, says = ODD_PICTURES[name]
    env_id = register(drawn=drawn)
    assert says in line(lambda: play(opened(env_id))) and env_id in line(lambda: play(opened(env_id)))


def test_what_white_is_does_not_depend_on_which_episode_is_replayed(register, record_with, run_main, tmp_path):
    """Episodes begin almost black: the first picture of one would be read as 0 … 1 alone."""
    env_id = register(drawn=lambda time: picture(time).astype(float) if time > 2 else picture(time) / 255)
    sizes = [f"data.recorder.num_frames.{split}=45" for split in ("train", "val", "test")]
    record_with(tmp_path, f"env.id={env_id}", "data.image_size=[10,12]", *sizes)
    with h5py.File(tmp_path / "val.h5") as file:
        assert (file["frames"][3] == picture(3)).all()
    code, out, _ = run_main(replay_main, "data=episodes", f"data.root={tmp_path}", "split=val", "episodes=[1]")
    assert code == 0 and "1 of 1 episodes identical" in out


def test_a_reader_keeps_what_it_decided():
    reader = PictureReader("render()")
    bright, dark = np.full((2, 2, 3), 200.0), np.full((2, 2, 3), 1.0)
    assert reader(bright, "here").max() == 200 and reader(dark, "here").max() == 1
    assert PictureReader("render()")(dark, "here").max() == 255


# ------------------------------------------------------------------------------------------- rewards and states


@pytest.mark.parametrize("reward", [np.array([2.0]), np.float16(2), torch.tensor([[2.0]]), 2, np.array(2)])
@pytest.mark.parametrize("flag", [np.array([False]), 0, torch.tensor(False), np.bool_(False)])
def test_rewards_and_ends_may_be_arrays_of_one(reward, flag, register):
    environment = opened(register(result=(reward, flag)), "states")
    environment.reset(0)
    assert environment.step(0)[1:] == (2.0, False, False)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"result": (np.nan, False)}, "step 1: the reward is nan"),
        ({"result": (np.inf, False)}, "step 1: the reward is inf"),
        ({"result": (1e39, False)}, "step 1: the reward is 1e+39"),
        ({"result": (None, False)}, "step 1: the reward is None, which is not one number"),
        ({"result": (np.zeros(2), False)}, "the reward is ndarray float64 [2]"),
        ({"result": ("1", False)}, "the reward is '1'"),
        ({"result": (0, None)}, "truncated is None"),
        ({"result": (0, 0.5)}, "truncated is 0.5, which is neither true nor false"),
        ({"seen": lambda time: np.array([0, np.nan if time == 2 else 0])}, "step 2: number 1 of the state is nan"),
        ({"seen": lambda time: np.array([1e300, 0])}, "step 0: number 0 of the state is 1e+300"),
        ({"seen": lambda time: np.array([-np.inf, 0])}, "number 0 of the state is -inf"),
        ({"seen": lambda time: np.zeros(3 if time else 2)}, "step 1: the state has 3 numbers, not the 2"),
        ({"seen": lambda time: None}, "the state has 1 numbers, not the 2"),
        ({"seen": lambda time: "ab"}, "the state is 'ab', no vector"),
    ],
)
def test_values_that_no_recording_takes_are_one_line_with_the_step(attributes, says, register):
    env_id = register(**attributes)
    environment = opened(env_id, "states")
    said = line(lambda: play(environment))
    assert said.startswith(f"environment '{env_id}'") and (says in said or "state is None" in said)


def test_the_line_names_split_and_episode_and_nothing_stays(register, record_with, tmp_path):
    resets = []

    def seen(time):
        resets.append(time == 0)
        return np.array([0, np.nan if sum(resets) == 3 and time == 4 else time])

    env_id, sizes = register(seen=seen), [f"data.recorder.num_frames.{split}=80" for split in ("train", "val", "test")]
    said = line(lambda: record_with(tmp_path / "new", f"env.id={env_id}", "data.recorder.observe=states", *sizes))
    assert said.startswith(f"train, episode 2: environment '{env_id}' at step 4: number 1 of the state is nan")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("method", ["__init__", "reset", "step", "render"])
@pytest.mark.parametrize("error", [RuntimeError("it\nbroke"), KeyError("a"), SystemExit(0), AssertionError()])
def test_whatever_an_environment_raises_is_one_line(method, error, register):
    env_id = register(drawn=picture, fails={(method, 5 if method in ("step", "render") else 0): error})
    said = line(lambda: play(opened(env_id)))
    assert env_id in said and type(error).__name__ in said
    assert "step 5" in said or method in ("__init__", "reset")


# --------------------------------------------------------------------------------------------------- interfaces


def test_environments_of_the_old_interface_are_one_line(register):
    assert "wrap it" in line(lambda: opened(register(drawn=picture, reset=lambda self, seed, options: np.zeros(2))))
    four = {"step": lambda self, action: (np.zeros(2), 0.0, False, {}), "observe": "states"}
    assert "step() gives 4 values, not five" in line(lambda: play(opened(register(step=four["step"]), "states")))
    listed = register(step=lambda self, action: [np.zeros(2), 0.0, False, False, {}])
    said = line(lambda: play(opened(listed, "states")))
    assert "not five: a tuple of observation" in said and "wrap it" not in said
    for reset in (lambda self: (np.zeros(2), {}), lambda self, seed=None: (np.zeros(2), {})):
        assert "has to take seed= and options=" in line(lambda r=reset: play(opened(register(reset=r), "states")))


def test_options_reach_every_reset_and_its_replay(register, record_with, run_main, tmp_path):
    def reset(self, seed=None, options=None):
        if not options:
            raise ValueError("options={'level': …} is needed")
        self.time = 0
        return np.array([options["level"], 0]), {}

    env_id = register(reset=reset)
    sizes = [f"data.recorder.num_frames.{split}=45" for split in ("train", "val", "test")]
    given = [f"env.id={env_id}", "data.recorder.observe=states", *sizes]
    said = line(lambda: record_with(tmp_path / "without", *given))
    assert "reset() raised ValueError: options={'level': …}" in said and "give data.recorder.env.options={" in said
    record_with(tmp_path, *given, *spelled(["data.recorder.env.options.level=3"], "record"))
    with h5py.File(tmp_path / "val.h5") as file:
        assert file["states"][[0, 21], 0].tolist() == [3, 3]  # an episode has 21 states
    code, out, _ = run_main(replay_main, "data=episodes", f"data.root={tmp_path}", "split=val")
    assert code == 0 and "3 of 3 episodes identical" in out
    assert "must be keys and values" in line(lambda: opened(env_id, "states", options=[1]))


def test_what_the_user_gives_beside_another_environment_stays(register, record_with, tmp_path):
    env_id = register(metadata={"render_modes": [], "render_fps": None})
    given = [f"env.id={env_id}", "data.recorder.observe=states", "data.recorder.actions=[ACTION2,ACTION0]"]
    sizes = [f"data.recorder.num_frames.{split}=45" for split in ("train", "val", "test")]
    assert "give data.recorder.fps=" in line(lambda: record_with(tmp_path, *given, *sizes))
    record_with(tmp_path, *given, *sizes, "data.recorder.fps=7")
    with h5py.File(tmp_path / "val.h5") as file:
        assert file.attrs["fps"] == 7 and list(file.attrs["action_meanings"]) == ["action2", "action0"]


@pytest.mark.parametrize("rate", [None, 0, -3, float("nan"), float("inf"), "ten", True, [1, 2]])
def test_a_rate_that_is_none_names_the_key(rate, register):
    env_id = register(metadata={"render_modes": [], "render_fps": rate})
    assert re.search("render_fps=.*data.recorder.fps=", line(lambda: opened(env_id, "states")))
    assert opened(env_id, "states", fps=12).fps == 12
    if rate is not None:
        assert "data.recorder.fps" in line(lambda: opened(register(), "states", fps=rate))


@pytest.mark.parametrize("metadata", [{}, {"render_modes": []}])
def test_an_environment_that_says_no_rate_has_thirty(metadata, register):
    assert opened(register(metadata=metadata), "states").fps == 30


# ------------------------------------------------------------------------------------------------------ actions


class Moves(enum.Enum):
    STAY, LEFT, RIGHT = 0, "l", 2


@pytest.mark.parametrize(
    ("meanings", "names", "note"),
    [
        (["NOOP", "LEFT", "RIGHT"], ["NOOP", "LEFT", "RIGHT"], ""),
        (("NOOP", "LEFT", "RIGHT"), ["NOOP", "LEFT", "RIGHT"], ""),
        (["NOOP", "LEFT"], ["NOOP", "LEFT", "ACTION2"], "names 2"),
        (["NOOP", "LEFT", "RIGHT", "FIRE"], ["NOOP", "LEFT", "RIGHT"], "names 4"),
        (["NOOP", "NOOP", "LEFT"], ["NOOP", "NOOP_1", "LEFT"], "several of them one name"),
        (["A", "A", "A_1"], ["A", "A_1", "A_1_2"], "several of them one name"),
        ({0: "NOOP", 1: "LEFT", 2: "RIGHT"}, ["NOOP", "LEFT", "RIGHT"], ""),
        ({5: "NOOP", 7: "RIGHT"}, ["NOOP", "ACTION1", "RIGHT"], "names 2"),
        ({"RIGHT": 2, "NOOP": 0, "LEFT": 1}, ["NOOP", "LEFT", "RIGHT"], ""),
        (list(Moves), ["STAY", "LEFT", "RIGHT"], ""),
        (Moves, ["STAY", "LEFT", "RIGHT"], ""),
        ([b"NOOP", None, "LEFT"], ["NOOP", "ACTION1", "LEFT"], "names 2"),
        ("NOOP,LEFT,RIGHT", ["ACTION0", "ACTION1", "ACTION2"], "no list of names"),
        (None, ["ACTION0", "ACTION1", "ACTION2"], "no list of names"),
        (ValueError("not yet"), ["ACTION0", "ACTION1", "ACTION2"], "not yet"),
    ],
)
@pytest.mark.parametrize("is_method", [True, False])
def test_every_action_has_a_name_and_is_played(meanings, names, note, is_method, register, capsys):
    def get(self):
        if isinstance(meanings, Exception):
            raise meanings
        return meanings

    if not is_method and (meanings is None or isinstance(meanings, Exception)):
        pytest.skip("there is no such attribute")
    start = 5 if isinstance(meanings, dict) and 5 in meanings else 0
    _note_once.cache_clear()
    environment = opened(
        register(get_action_meanings=get if is_method else meanings, action_space=spaces.Discrete(3, start=start)),
        "states",
    )
    said = capsys.readouterr().err
    assert environment.actions.chosen == names and (note in said if note else not said)
    play(environment, 3)
    assert environment.env.unwrapped.taken == [start, start + 1, start + 2]


@pytest.mark.parametrize(
    ("attributes", "given", "says"),
    [
        ({"action_space": spaces.MultiDiscrete([3, 2])}, {}, "MultiDiscrete"),
        ({"action_space": spaces.MultiBinary(4)}, {}, "MultiBinary"),
        ({"action_space": spaces.Box(0, 5, (2,), np.int64)}, {}, "int64"),
        ({"action_space": spaces.Box(-1, 1, ())}, {}, "only Discrete and Box of one dimension"),
        ({"action_space": spaces.Box(-1, 1, (0,))}, {}, "of no numbers"),
        ({"action_space": spaces.Discrete(10**9)}, {}, "1000000000 actions"),
        ({"action_space": None}, {}, "has no action_space"),
        ({"observation_space": None}, {}, "has no observation_space"),
        ({}, {"actions": []}, "data.recorder.actions=[]"),
        ({}, {"actions": "ACTION1"}, "must be a list"),
        ({}, {"actions": ["ACTION1", "ACTION1"]}, "different names"),
        ({}, {"action_names": ["a", "b", "a"]}, "two actions have one name"),
    ],
)
def test_actions_that_cannot_be_played_are_one_line(attributes, given, says, register):
    env_id = register(**attributes)
    assert says in line(lambda: opened(env_id, "states", **given))
