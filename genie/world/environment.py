"""Gymnasium environment of a trained world, with its frames as observations.

    env = gymnasium.make("genie.world.environment:genie/World-v0", run="outputs/pong")

Importing this module registers the id; `gymnasium.make` does it by the part before the colon. The batched environment
is in `vector_environment.py`; docs/environment.md shows both.

Dimension letters: `B` episodes, `T` frames, `H W` pixels.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from torch import Tensor

from genie.common.device import choose_device, inference
from genie.common.errors import UserError
from genie.common.media import to_bytes
from genie.common.settings.kinds import Range
from genie.prompts.data_clips import PromptClips
from genie.prompts.images import usual_fit
from genie.prompts.prompt import array_prompt, read_prompt
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel

Prompt = str | Path | np.ndarray | None
OPTIONS = ("prompt",)  # of `reset`
RENDER_MODES = ["rgb_array"]


@dataclass(frozen=True)
class Outcome:
    """Result of one step: `frames` uint8 [B, H, W, 3], `rewards` float64 [B], `terminated` bool [B], `passes` int64
    [B]."""

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    passes: np.ndarray


@dataclass(frozen=True)
class Start:
    """Prompt `frames` float [T, 3, H, W] in [0, 1] and the `actions` int64 [T-1] between them (None: unknown)."""

    frames: Tensor
    actions: Tensor | None


class Episodes:
    """Starts and steps episodes in a world; callers keep their states.

    Args:
        run: folder of a trained world, such as outputs/pong; or
        world: a loaded one, which environments of one process may share.
        prompt: first frames of an episode: the path of a picture or a video, an array uint8 [T, H, W, 3] or [H, W, 3],
            or None for a random clip of the run's validation data. Any size is fitted to the world's.
        prompt_frames: length of such a clip, and frames used from the start of a video; an array is used whole.
        horizon: steps after which an episode is truncated; None: never.
        device: as in `choose_device`; by default the fastest one for a run, and the world's own for a world.
        sampler: how tokens are drawn; by default the world's.

    Raises UserError for an invalid value. The validation data are opened at the first `begin` that needs them.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        world: WorldModel | None = None,
        prompt: Prompt = None,
        prompt_frames: int = 4,
        horizon: int | None = 100,
        device: str | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        Range(1).require("prompt_frames", prompt_frames)
        if horizon is not None:
            Range(1).require("horizon", horizon)
        if run is not None and world is None:
            world = WorldModel.load(run).to(choose_device(device or "auto"))
        elif run is not None or world is None:
            raise UserError("give either run=, the folder of a trained world such as outputs/pong, or world=")
        elif device is not None:
            world.to(choose_device(device))
        self.world = copy.copy(world)  # others that share the world keep their sampler
        self.world.sampler = sampler or world.sampler
        self.prompt_frames, self.horizon = prompt_frames, horizon
        self._clips: PromptClips | None = None
        self._default = None if prompt is None else self._read(prompt)

    @property
    def observation_space(self) -> spaces.Box:
        """Frames uint8 [H, W, 3]."""
        return spaces.Box(0, 255, (*self.world.image_size, 3), np.uint8)

    @property
    def action_space(self) -> spaces.Discrete:
        """The world's actions."""
        return spaces.Discrete(self.world.num_actions)

    @property
    def has_reward_model(self) -> bool:
        """Whether rewards and ends are predicted instead of 0 and False."""
        return self.world.knows_rewards

    def info(self, passes: int) -> dict[str, Any]:
        """The info of an observation, with the passes of the dynamics for its frame (0 for a prompt)."""
        return {"has_reward_model": self.has_reward_model, "passes": int(passes)}

    def begin(
        self, generators: Sequence[np.random.Generator], prompts: Sequence[Prompt]
    ) -> tuple[WorldState, np.ndarray]:
        """New episodes, one for each generator and prompt: their state, and the last prompt frames uint8 [B, H, W, 3].
        A generator decides its episode's clip (without prompts) and all that the world draws in it: an episode does not
        depend on the others of its batch."""
        seeds = torch.tensor([int(generator.integers(2**63 - 1)) for generator in generators])
        starts = [self._start(prompt, generator) for prompt, generator in zip(prompts, generators, strict=True)]
        alike: dict[tuple[int, bool], list[int]] = {}
        for row, start in enumerate(starts):
            alike.setdefault((len(start.frames), start.actions is None), []).append(row)
        device, parts = self.world.device, []
        with inference(device):
            for rows in alike.values():
                frames = torch.stack([starts[row].frames for row in rows]).to(device)
                known = [between for row in rows if (between := starts[row].actions) is not None]  # all or none
                actions = torch.stack(known).to(device) if known else None
                parts.append((rows, self.world.reset(frames, actions, seeds[rows])))
        return woven(parts), to_bytes(torch.stack([start.frames[-1] for start in starts]))

    def step(self, state: WorldState, actions: np.ndarray) -> tuple[WorldState, Outcome]:
        """One batched step under `actions` int64 [B]: the next state and the outcome."""
        device = self.world.device
        with inference(device):
            state, step = self.world.step(state, torch.from_numpy(actions).to(device))
        assert step.observation is not None
        return state, Outcome(
            to_bytes(step.observation),
            step.reward.double().cpu().numpy(),
            step.terminal.cpu().numpy(),
            step.passes.cpu().numpy(),
        )

    def _start(self, prompt: Prompt, generator: np.random.Generator) -> Start:
        if prompt is not None:
            return self._read(prompt)
        if self._default is not None:
            return self._default
        config = self.world.config
        if self._clips is None:
            if "data" not in config:
                raise UserError("this world does not know the data it was trained on: give prompt=")
            self._clips = PromptClips(config["data"], self.world.image_size, self.prompt_frames)
        frames, actions = self._clips[int(generator.integers(len(self._clips)))]
        return Start(frames, self.world.prompt_actions(actions))

    def _read(self, prompt: str | Path | np.ndarray) -> Start:
        size, fit = self.world.image_size, usual_fit(self.world.config)
        if isinstance(prompt, str | Path):
            name = f"prompt={prompt}"
            return Start(read_prompt(Path(prompt), name, size, self.prompt_frames, self.world.fps, fit), None)
        return Start(array_prompt(prompt, size, fit), None)


def check_options(options: dict[str, Any] | None, known: Sequence[str] = OPTIONS) -> dict[str, Any]:
    """The options of `reset`; UserError for an unknown name."""
    for name in options or {}:
        if name not in known:
            raise UserError(f"options[{name!r}] is unknown: there is {', '.join(known)}")
    return options or {}


def woven(parts: Sequence[tuple[Sequence[int] | np.ndarray, WorldState]]) -> WorldState:
    """One state of several, each given with its rows [B'] there; together they are all rows, once each."""
    if len(parts) == 1:
        rows, state = parts[0]
        assert list(rows) == list(range(len(state)))
        return state
    place = {int(row): state.select([index]) for rows, state in parts for index, row in enumerate(rows)}
    return WorldState.joined([place[row] for row in sorted(place)])


class GenieEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One episode at a time in a world.

    Observations are frames uint8 [H, W, 3]: after `reset` the last one of the prompt, after `step` the generated one.
    Rewards are 0.0 and `terminated` is False unless the world has a reward model (`info["has_reward_model"]`);
    `truncated` is True after `horizon` steps. `info["passes"]` has the passes of the dynamics for the frame. Equal
    checkpoint, prompt, seed and actions give equal frames.

    Args:
        render_mode: "rgb_array": `render` returns the frame; None: nothing is rendered.
        settings: those of `Episodes`: run or world, prompt, prompt_frames, horizon, device, sampler.

    Raises UserError for an invalid setting, option of `reset` or action, ResetNeeded for a step before `reset` or after
    an episode's end, ClosedEnvironmentError after `close`.
    """

    metadata = {"render_modes": RENDER_MODES}

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.episodes: Episodes | None = Episodes(**settings)
        self.observation_space, self.action_space = self.episodes.observation_space, self.episodes.action_space
        self.metadata = {**self.metadata, "render_fps": self.episodes.world.fps}
        self._state: WorldState | None = None  # None: no episode, or it is over
        self._frame: np.ndarray | None = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode, from `options["prompt"]` where that is given (see `Episodes`)."""
        episodes = require_open(self.episodes)
        prompt = check_options(options).get("prompt")
        super().reset(seed=seed)
        self._state, frames = episodes.begin([self.np_random], [prompt])
        self._frame, self._steps = frames[0], 0
        return frames[0].copy(), episodes.info(passes=0)

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """The next frame under `action` in [0, A)."""
        episodes = require_open(self.episodes)
        if self._state is None:
            raise ResetNeeded("there is no episode, or it is over: call reset() before step()")
        if not self.action_space.contains(action):
            raise UserError(f"action={action!r}: this world takes a whole number in 0 … {episodes.action_space.n - 1}")
        self._state, outcome = episodes.step(self._state, np.array([int(action)]))
        self._frame = outcome.frames[0]
        self._steps += 1
        terminated, truncated = bool(outcome.terminated[0]), self._steps == episodes.horizon
        if terminated or truncated:
            self._state = None
        info = episodes.info(outcome.passes[0])
        return outcome.frames[0].copy(), float(outcome.rewards[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The last observation."""
        if not renders(self.episodes, self.render_mode, self._frame is not None) or self._frame is None:
            return None
        return self._frame.copy()

    def close(self) -> None:
        """Releases the world, its state and its data."""
        self.episodes = self._state = self._frame = None


def check_render_mode(render_mode: str | None) -> str | None:
    """The mode; UserError for an unknown one."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise UserError(f"render_mode={render_mode!r}: give None or {RENDER_MODES[0]!r}")
    return render_mode


def renders(episodes: Episodes | None, render_mode: str | None, begun: bool) -> bool:
    """Whether there is a picture to return; warns where the environment was made without. Raises ResetNeeded where no
    episode has `begun`, ClosedEnvironmentError after `close`."""
    require_open(episodes)
    if render_mode is None:
        gymnasium.logger.warn('nothing is rendered: make the environment with render_mode="rgb_array"')
        return False
    if not begun:
        raise ResetNeeded("there is nothing to render yet: call reset() first")
    return True


def require_open(episodes: Episodes | None) -> Episodes:
    """The episodes; ClosedEnvironmentError after `close`."""
    if episodes is None:
        raise ClosedEnvironmentError("this environment was closed: make another one")
    return episodes


gymnasium.register(
    "genie/World-v0",
    entry_point="genie.world.environment:GenieEnv",
    vector_entry_point="genie.world.vector_environment:GenieVectorEnv",
)
