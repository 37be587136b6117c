"""Gymnasium vector environment of a trained world: one batched step for many episodes.

    envs = gymnasium.make_vec("genie.world.environment:genie/World-v0", num_envs=16, run="outputs/pong")

Dimension letters: `B` environments, `T` frames, `H W` pixels.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from genie.common.errors import UserError
from genie.common.settings.kinds import Range
from genie.world.environment import (
    OPTIONS,
    RENDER_MODES,
    Episodes,
    Prompt,
    check_options,
    check_render_mode,
    renders,
    require_open,
    woven,
)
from genie.world.state import WorldState


class GenieVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` episodes that are stepped together; each is that of a `GenieEnv` with its seed.

    Args:
        num_envs: B.
        render_mode: "rgb_array": `render` returns a tuple of B frames; None: nothing is rendered.
        autoreset_mode: handling of environments whose episode ended; the others continue in any case.
            NEXT_STEP: the next `step` resets them, whatever their action (reward 0, not ended).
            SAME_STEP: the same `step` does; their last frame and info are `info["final_obs"]` and `["final_info"]`.
            DISABLED: `reset(options={"reset_mask": bool [B]})` has to be called before the next `step`.
        settings: those of `Episodes`: run or world, prompt, prompt_frames, horizon, device, sampler.

    Raises what `GenieEnv` raises.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ) -> None:
        Range(1).require("num_envs", num_envs)
        self.num_envs, self.render_mode = num_envs, check_render_mode(render_mode)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.episodes: Episodes | None = Episodes(**settings)
        self.single_observation_space = self.episodes.observation_space
        self.single_action_space = self.episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": self.episodes.world.fps,
            "autoreset_mode": self.autoreset_mode,
        }
        self._generators, self._seeds = map(list, zip(*(seeding.np_random() for _ in range(num_envs)), strict=True))
        self._state: WorldState | None = None
        self._frames = np.zeros((num_envs, *self.episodes.observation_space.shape), np.uint8)
        self._steps = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, bool)  # whose episode ended in the last step

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One for each environment."""
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Initial seeds of the generators."""
        return tuple(self._seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in every environment, or in those of the bool [B] `options["reset_mask"]`.

        Args:
            seed: one number for all (environment b gets `seed + b`), or one for each; None keeps the generators.
            options: `prompt` of all environments (see `Episodes`), or a list of B prompts or an array uint8
                [B, T, H, W, 3] with one for each.
        """
        require_open(self.episodes)
        options = check_options(options, (*OPTIONS, "reset_mask"))
        seeds, prompts = self._per_environment(seed), self._prompts(options.get("prompt"))
        rows = self._masked(options.get("reset_mask"))
        for row in rows:
            if seeds[row] is not None:
                self._generators[row], self._seeds[row] = seeding.np_random(int(seeds[row]))
        infos: dict[str, Any] = {}
        self._replace(rows, self._begin(rows, prompts, infos))
        return self._frames.copy(), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Frames [B, H, W, 3], rewards float64 [B], terminated and truncated bool [B] after `actions` int64 [B]."""
        episodes = require_open(self.episodes)
        if self._state is None:
            raise ResetNeeded("there are no episodes: call reset() before step()")
        actions = self._checked(actions, episodes.world.num_actions - 1)
        going, over = np.flatnonzero(~self._over), np.flatnonzero(self._over)
        if len(over) and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(f'episodes {over.tolist()} are over: reset them with options={{"reset_mask": bool [B]}}')
        rewards, infos = np.zeros(self.num_envs), {}
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        parts = []
        if len(going):
            state = self._state.select(going.tolist()) if len(over) else self._state
            state, outcome = episodes.step(state, actions[going])
            parts.append((going, state))
            self._frames[going], rewards[going], terminated[going] = outcome.frames, outcome.rewards, outcome.terminated
            self._steps[going] += 1
            truncated[going] = self._steps[going] == episodes.horizon
            for row, passes in zip(going.tolist(), outcome.passes, strict=True):
                self._add_info(infos, episodes.info(passes), row)
        if len(over):
            parts.append((over, self._begin(over, self._prompts(None), infos)))
        self._state, self._over = woven(parts), terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._over.any():
            over = np.flatnonzero(self._over)
            for row in over.tolist():
                final = {"final_obs": self._frames[row].copy(), "final_info": episodes.info(infos["passes"][row])}
                self._add_info(infos, final, row)
            self._replace(over, self._begin(over, self._prompts(None), infos))
        return self._frames.copy(), rewards, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The last observations uint8 [H, W, 3] of all environments."""
        if not renders(self.episodes, self.render_mode, self._state is not None):
            return None
        return tuple(self._frames.copy())

    def close_extras(self, **kwargs: Any) -> None:
        """Releases the world, its state and its data."""
        self.episodes = self._state = None

    def _begin(self, rows: np.ndarray, prompts: list[Prompt], infos: dict[str, Any]) -> WorldState:
        """The state of new episodes in the environments `rows`; sets their frames and `infos`."""
        episodes, generators = require_open(self.episodes), [self._generators[row] for row in rows]
        state, self._frames[rows] = episodes.begin(generators, [prompts[row] for row in rows])
        self._steps[rows], self._over[rows] = 0, False
        for row in rows:
            self._add_info(infos, episodes.info(passes=0), row)
        return state

    def _replace(self, rows: np.ndarray, state: WorldState) -> None:
        """Replaces the state of the environments `rows`."""
        others = np.setdiff1d(np.arange(self.num_envs), rows)
        kept = [(others, self._state.select(others.tolist()))] if self._state is not None and len(others) else []
        self._state = woven([*kept, (rows, state)])

    def _per_environment(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if isinstance(seed, int | Integral):
            return [int(seed) + row for row in range(self.num_envs)]
        seeds: list[int | None] = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise UserError(f"seed has {len(seeds)} numbers: give one for each of the {self.num_envs} environments")
        return seeds

    def _prompts(self, prompt: Any) -> list[Prompt]:
        """Of one `Prompt` for all environments, or of a sequence of them."""
        if not isinstance(prompt, list | tuple) and np.ndim(prompt) != 5:
            return [prompt] * self.num_envs
        if len(prompt) != self.num_envs:
            raise UserError(f"{len(prompt)} prompts: give one, or one for each of the {self.num_envs} environments")
        return list(prompt)

    def _masked(self, mask: np.ndarray | None) -> np.ndarray:
        """Indices of the environments of a mask, all without one."""
        if mask is None:
            return np.arange(self.num_envs)
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise UserError(
                f"reset_mask is {mask.dtype} {list(mask.shape)}: give bool [{self.num_envs}] that is not all False"
            )
        if self._state is None:
            raise ResetNeeded("the first reset() is one of all environments: call it without reset_mask")
        return np.flatnonzero(mask)

    def _checked(self, actions: np.ndarray, most: int) -> np.ndarray:
        given = np.asarray(actions)
        whole = given.shape == (self.num_envs,) and given.dtype.kind in "iu"
        if not whole or given.min() < 0 or given.max() > most:
            raise UserError(
                f"actions={given.tolist()}: give a whole number in 0 … {most} for each of the {self.num_envs} "
                "environments"
            )
        return given.astype(np.int64)
