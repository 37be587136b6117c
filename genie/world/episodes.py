"""What the single and the batched environment share: where episodes begin, and one step of many of them.

Dimension letters: `B` episodes, `T` frames, `H W` pixels.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.config_types import require_whole
from genie.common.device import choose_device, inference
from genie.common.errors import UserError
from genie.common.media import to_bytes
from genie.prompts.data_clips import PromptClips
from genie.prompts.images import usual_fit
from genie.prompts.prompt import array_prompt, read_prompt
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel

Prompt = str | Path | np.ndarray | None
OPTIONS = ("prompt",)  # of `reset`


@dataclass(frozen=True)
class Outcome:
    """Of one step: `frames` uint8 [B, H, W, 3], `rewards` float64 [B], `terminated` bool [B], `passes` int64 [B]."""

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    passes: np.ndarray


@dataclass(frozen=True)
class Start:
    """Prompt `frames` float [T, 3, H, W] in [0, 1] and the `actions` int64 [T-1] between them (None: not known)."""

    frames: Tensor
    actions: Tensor | None


class Episodes:
    """A world in which episodes are begun and stepped. It remembers none of them: their state is the caller's.

    Args:
        run: folder of a trained world, such as outputs/pong; or
        world: one that is loaded already. Environments of one process may share it.
        prompt: where an episode begins: the path of a picture or a video, an array uint8 [T, H, W, 3] or [H, W, 3], or
            None for a clip of the run's validation data, another one for each episode. Any size becomes the world's.
        prompt_frames: length of such a clip, and of what is taken from the start of a video. An array counts whole.
        horizon: steps after which an episode is truncated; None: never.
        device: as in `choose_device`; by default the fastest one for a run, and where it is for a world.
        sampler: how tokens are drawn; by default as the world has it.

    Raises UserError for a value that cannot be. The validation data are opened at the first `begin` that needs them.
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
        require_whole({"prompt_frames": prompt_frames, "horizon": horizon}, "prompt_frames", "horizon")
        if (run is None) == (world is None):
            raise UserError("give either run=, the folder of a trained world such as outputs/pong, or world=")
        if world is None:
            world = WorldModel.load(run).to(choose_device(device or "auto"))
        elif device is not None:
            world.to(choose_device(device))
        self.world = copy.copy(world)  # who shares the world keeps the sampler that it has
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
        """Whether rewards and ends are predicted; they are 0 and False otherwise."""
        return self.world.knows_rewards

    def info(self, passes: int) -> dict[str, Any]:
        """What an environment says beside its observation: passes of the dynamics for this frame, 0 for a prompt's."""
        return {"has_reward_model": self.has_reward_model, "passes": int(passes)}

    def begin(
        self, generators: Sequence[np.random.Generator], prompts: Sequence[Prompt]
    ) -> tuple[WorldState, np.ndarray]:
        """New episodes, one for each generator and prompt: their state, and the last prompt frames uint8 [B, H, W, 3].

        A generator decides the episode's clip, where the prompt is None and the data are the default, and all that
        the world draws in it: an episode does not depend on the others that are begun with it.
        """
        seeds = torch.tensor([int(generator.integers(2**63 - 1)) for generator in generators])
        starts = [self._start(prompt, generator) for prompt, generator in zip(prompts, generators, strict=True)]
        alike: dict[tuple[int, bool], list[int]] = {}
        for row, start in enumerate(starts):
            alike.setdefault((len(start.frames), start.actions is None), []).append(row)
        device, parts = self.world.device, []
        with inference(device):
            for (_, unknown), rows in alike.items():
                frames = torch.stack([starts[row].frames for row in rows]).to(device)
                actions = None if unknown else torch.stack([starts[row].actions for row in rows]).to(device)
                parts.append((rows, self.world.reset(frames, actions, seeds[rows])))
        return woven(parts), to_bytes(torch.stack([start.frames[-1] for start in starts]))

    def step(self, state: WorldState, actions: np.ndarray) -> tuple[WorldState, Outcome]:
        """The state after `actions` int64 [B], and what they led to: one batched step of the world."""
        device = self.world.device
        with inference(device):
            state, step = self.world.step(state, torch.from_numpy(actions).to(device))
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

    def _read(self, prompt: Prompt) -> Start:
        size, fit = self.world.image_size, usual_fit(self.world.config)
        if isinstance(prompt, str | Path):
            name = f"prompt={prompt}"
            return Start(read_prompt(Path(prompt), name, size, self.prompt_frames, self.world.fps, fit), None)
        return Start(array_prompt(prompt, size, fit), None)


def check_options(options: dict[str, Any] | None, known: Sequence[str] = OPTIONS) -> dict[str, Any]:
    """The options of `reset`. Raises UserError for a name that is not known."""
    for name in options or {}:
        if name not in known:
            raise UserError(f"options[{name!r}] is unknown: there is {', '.join(known)}")
    return options or {}


def woven(parts: Sequence[tuple[Sequence[int], WorldState]]) -> WorldState:
    """One state of several, each given with the rows [B'] that it has there; together they are all rows, once each."""
    if len(parts) == 1:
        rows, state = parts[0]
        assert list(rows) == list(range(len(state)))
        return state
    place = {int(row): state.select([index]) for rows, state in parts for index, row in enumerate(rows)}
    return WorldState.joined([place[row] for row in sorted(place)])
