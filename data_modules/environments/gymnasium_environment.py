"""Gymnasium environment for recordings: frames or states, named actions, optional object positions."""

import copy
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
from ale_py.env import AtariEnv
from gymnasium import error as gymnasium_error
from gymnasium import spaces

from data_modules.environments.actions import actions_of
from data_modules.environments.atari_objects import NOTHING, OBJECTS, visible_centres
from data_modules.environments.making import describe_error, make
from data_modules.environments.observations import Box, Screen, StateVector, Viewport, drawn_by_game
from data_modules.environments.values import flag_of, frame_rate, reward_of, shown
from genie.common.errors import RunError, UserError, reason

# all settings of an environment, and those of them that are only valid for the environment they were made for
REPLAYED = ("env", "observe", "actions", "action_names", "crop", "fps", "reset_screen")
OF_ONE = ("actions", "action_names", "crop", "fps")
OBSERVED = ("frames", "states")
LOOKED_AT = 16  # steps that determine the value of white in pictures whose dtype does not
STEP = "observation, reward, terminated, truncated and info is wanted"
OLD = (
    "it follows the interface before Gymnasium 0.26; wrap it in shimmy's GymV26CompatibilityV0 or GymV21CompatibilityV0"
)


def check_options(options: Any) -> None:
    """Raises UserError where the options of resets are neither keys and values nor null."""
    if not (options is None or isinstance(options, dict)):
        raise UserError(f"data.recorder.env.options={options} must be keys and values, such as {{level: 3}}")


def settings_for(settings: dict[str, Any], env_id: str | None, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """A group `data.recorder` for another environment: without the settings of the former one.

    Arguments of its constructor and resets (`env.kwargs`, `env.options`), `levels` and `action_groups` stay only within
    a family of environments, as ALE/Pong-v5 and ALE/Breakout-v5. given: settings that the user asked for, which stay as
    well.
    """
    former, given = settings["env"], dict(given or {})
    if env_id is None or env_id == former["id"]:
        return settings
    asked = given.pop("env", {})
    for source in (former, asked):
        check_options(source.get("options"))
    same = env_id.split("/")[0] == former["id"].split("/")[0]
    env = {name: (former.get(name) or {} if same else {}) | (asked.get(name) or {}) for name in ("kwargs", "options")}
    kept = {name: value for name, value in given.items() if name in (*OF_ONE, "levels", "action_groups")}
    dropped = dict.fromkeys((*OF_ONE, *(() if same else ("levels", "action_groups"))))
    return settings | dropped | kept | {"env": {"id": env_id, **env}}


class GymnasiumEnvironment:
    """An `Environment` (`protocol.py`).

    observe: one of `OBSERVED`. image_size, crop: of frames (`Viewport`). fps: None for the environment's own rate.
    actions, action_names: as in `DiscreteActions` and `ContinuousActions`. options: of every reset.
    reset_screen: an Atari episode begins with the emulator's screen while its reset switch is held, which in some games
    is no picture of the game; else with the first picture that the game draws.

    Returned arrays are copies, never buffers that the environment uses again. Raises UserError for an unknown
    environment or action, for spaces that cannot be recorded and values that no recording takes; RunError where the
    environment itself raises an exception during play.
    """

    observes: Literal["frames", "states"]
    action_space: spaces.Discrete | spaces.Box

    def __init__(
        self,
        env_id: str,
        kwargs: dict,
        observe: str,
        image_size: tuple[int, int] | None,
        crop: Box | None,
        fps: float | None,
        actions: list[str] | None,
        action_names: list[str] | None,
        options: dict[str, Any] | None = None,
        reset_screen: bool = True,
    ):
        if observe not in OBSERVED:
            raise UserError(f"data.recorder.observe={observe} must be {' or '.join(OBSERVED)}")
        check_options(options)
        self.id, self.observes, self.options, self.reset_screen = env_id, observe, options or None, reset_screen
        self.env = make(env_id, kwargs)
        self.actions = actions_of(self.env, env_id, actions, action_names)
        self.action_space, self.action_meanings = self.actions.space, self.actions.names
        self.fps = frame_rate(self.env, env_id, fps)
        self.objects = OBJECTS.get(env_id, NOTHING) if observe == "frames" else NOTHING
        self.object_names = list(self.objects.names)
        self.steps, self._observation = 0, None  # of the episode
        self._seen: np.ndarray | None = None  # the current screen, once it was read
        self._screen = Screen(self.env, env_id, lambda: self._ask("render()", self.env.render))
        if observe == "states":
            self.state = StateVector(env_id, self.env.observation_space)
            return
        assert image_size is not None
        try:
            self._begin(seed=0)
            self._look_ahead()
            self.viewport = Viewport(env_id, self.screen().shape[:2], crop, image_size)
        except RunError as error:  # before any episode was played: the environment is unusable
            raise UserError(str(error)) from error.__cause__

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return (self.state.size,) if self.observes == "states" else (*self.viewport.image_size, 3)

    def reset(self, seed: int) -> np.ndarray:
        self._begin(seed)
        return self._observe()

    def step(self, action: int | np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        rest = self._step(action)
        return (self._observe(), *rest)

    def _begin(self, seed: int) -> None:
        self.steps, self._seen = 0, None
        given = self._ask("reset()", self.env.reset, seed=seed, options=self.options)
        if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)):
            raise UserError(f"environment '{self.id}': reset() gives {shown(given)}, no (observation, info): {OLD}")
        self._observation = given[0]
        if not self.reset_screen and hasattr(self.env.unwrapped, "ale"):
            self._seen = drawn_by_game(cast(AtariEnv, self.env.unwrapped).ale)

    def _step(self, action: int | np.ndarray) -> tuple[float, bool, bool]:
        self.steps, self._seen = self.steps + 1, None
        given = self._ask("step()", self.env.step, self.actions.native(action))
        if not (isinstance(given, tuple) and len(given) == 5):
            count = f"{len(given)} values" if isinstance(given, tuple) else shown(given)
            why = OLD if isinstance(given, tuple) and len(given) == 4 else f"a tuple of {STEP}"
            raise UserError(f"environment '{self.id}': step() gives {count}, not five: {why}")
        self._observation, reward, terminal, truncated, _ = given
        place = self._place()
        return reward_of(reward, place), flag_of(terminal, "terminated", place), flag_of(truncated, "truncated", place)

    def _observe(self) -> np.ndarray:
        if self.observes == "states":
            return self.state(self._observation, self._place())
        return self.viewport(self.screen())

    def screen(self) -> np.ndarray:
        if self._seen is None:
            place = self._place()
            self._seen = self._screen.look(self._screen.given(self._observation, place), place)
        return self._seen

    def _look_ahead(self) -> None:
        """Determines the value of white from the first steps, where the first picture does not show it; from the same
        steps each time, so that a replay reads pictures as the recording did."""
        pictures, rng = [], np.random.default_rng(0)
        for _ in range(LOOKED_AT):
            place = self._place()
            given = self._screen.given(self._observation, place)
            assert self._screen.reader is not None  # `given` has made it
            pictures.append(self._screen.reader.read(given, place).copy())
            if len(pictures) == 1 and self._screen.reader.says_white(pictures[0]):
                self._seen = self._seen if self._seen is not None else self._screen.look(given, place)
                return
            space = self.action_space
            action = rng.integers(space.n) if isinstance(space, spaces.Discrete) else rng.uniform(-1, 1, space.shape)
            _, *ends = self._step(action)
            if any(ends):
                break
        assert self._screen.reader is not None
        self._screen.reader.decide(pictures, self._place())
        self._begin(seed=0)

    def _ask(self, what: str, function: Callable, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except gymnasium_error.DependencyNotInstalled as error:
            raise UserError(f"environment '{self.id}' shows no screen: {reason(error)}") from error
        except (Exception, SystemExit) as error:
            if what == "reset()" and isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
                why = f"its reset() has to take seed= and options= ({describe_error(error)}); {OLD}"
                raise UserError(f"environment '{self.id}': {why}") from error
            needs = what == "reset()" and self.options is None and "option" in str(error)
            way = ": give data.recorder.env.options={name: value}" if needs else ""
            raise RunError(f"{self._place()}: {what} raised {describe_error(error)}{way}") from error

    def _place(self) -> str:
        return f"environment '{self.id}' at step {self.steps}"

    def boxes(self) -> np.ndarray:
        """Boxes of the objects: [O, 4], (top, bottom, left, right) in screen pixels."""
        return self.objects.boxes(cast(AtariEnv, self.env.unwrapped).ale.getRAM())

    def places(self, boxes: np.ndarray) -> np.ndarray:
        """Centres float32 [O, 2] of the visible parts of boxes, in pixels of the frame."""
        return visible_centres(boxes, self.objects.field, self.viewport.crop, self.viewport.image_size)

    @property
    def can_branch(self) -> bool:
        """Whether `save` works: only the Atari emulator exposes its whole state."""
        return hasattr(self.env.unwrapped, "ale")

    def save(self) -> tuple:
        """The complete state, random numbers included; for `restore`."""
        unwrapped = cast(AtariEnv, self.env.unwrapped)
        return unwrapped.ale.cloneState(include_rng=True), copy.deepcopy(unwrapped.np_random)

    def restore(self, state: tuple) -> None:
        """Returns to a state of `save`, any number of times."""
        unwrapped = cast(AtariEnv, self.env.unwrapped)
        unwrapped.ale.restoreState(state[0])
        unwrapped.np_random = copy.deepcopy(state[1])

    def close(self) -> None:
        self.env.close()
