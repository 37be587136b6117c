"""Trained simulators (RSSM, delta) as worlds.

A trained simulator (`stage=simulator`) as a world: what both kinds have, and how they are loaded.

The recurrent state-space model as a world (`genie.world.protocol`).

What was seen is filtered by the most likely latents, so that nothing that happened depends on a seed; what is imagined
draws them (`simulator.imagine: sample`), each from its world's seed and age alone.

The ensemble of delta dynamics as a world (`genie.world.protocol`).

Dimension letters: `B` worlds, `T` observations, `O` the shape of one, `A` actions or their numbers, `F` features.

Dimension letters: `B` worlds, `T` frames, `C H W` channels and pixels, `F` features.

Dimension letters: `B` worlds, `T` observations, `n` numbers of a state, `M` members.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import FrameNoise, Stream, derive, row_seeds
from genie.models.building import simulator_kind
from genie.models.heads import Judged
from genie.runs.loading import TrainedModel, fingerprint, load_model, stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.protocol import Step


@dataclass(frozen=True)
class SimulatorState:
    """What B simulated worlds remember: a value.

    Attributes:
        values: float [B, …], all that the simulator hands on from one step to the next.
        seeds, ages: int64 [B], the seed of each world and the steps that were imagined in it: all its randomness.
        imagined: whether the newest step was imagined, and not seen.
    """

    values: Tensor
    seeds: Tensor
    ages: Tensor
    imagined: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Tensor | list[int]) -> Self:
        """The rows `index` (int [B']), which may repeat: how a state is forked."""
        at = torch.as_tensor(index, dtype=torch.int64, device=self.values.device)
        return replace(self, values=self.values[at], seeds=self.seeds[at], ages=self.ages[at])

    def reseeded(self, seed: int | Tensor) -> Self:
        """The same worlds with another future: one seed for all (each row draws its own), or int64 [B]."""
        return replace(self, seeds=row_seeds(seed, len(self), self.values.device))


class SimulatorWorld:
    """The common part of `RssmWorld` and `DeltaWorld`; both satisfy `genie.world.protocol.World`.

    Args:
        trained: a simulator, with its configuration and its frames per second.
    """

    num_context: int
    observation_shape: tuple[int, ...]
    feature_shape: tuple[int, ...]
    takes_environment_actions = True

    def __init__(self, trained: TrainedModel) -> None:
        self.model, self.config, self.fps = trained.model.eval(), trained.config, float(trained.fps)
        self.settings: dict[str, Any] = self.config["simulator"]
        learned = self.settings["objective"]  # weights of the terms; 0: not learned
        self.knows_rewards, self.knows_ends = learned["reward"] > 0, learned["continues"] > 0
        self.reward_kind = "state" if self.knows_rewards else None
        actions = self.model.actions
        self.action_space: spaces.Discrete | spaces.Box
        if actions.num_actions is not None:
            self.action_space = spaces.Discrete(actions.num_actions)
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (actions.action_size,), np.float32)

    @staticmethod
    def load(run: str | Path) -> "SimulatorWorld":
        """The world of the simulator of a run folder (`outputs/<name>`), rebuilt from its checkpoint alone.

        Raises UserError where there is none, or where it is damaged.
        """
        # REMOVED  # both are made from this module's class
        # REMOVED

        path = stage_file(Path(run), "simulator")
        if not is_checkpoint(path):
            raise UserError(
                f"{run} holds no trained simulator (no {path}): run `python -m genie.train stage=simulator`"
            )
        trained = load_model(path)
        return {"rssm": RssmWorld, "delta": DeltaWorld}[simulator_kind(trained.config)](trained)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Moves the model."""
        self.model.to(device)
        return self

    def fingerprint(self) -> str:
        """Of all weights."""
        return fingerprint(self.model)

    def vectors(self, actions: Tensor) -> Tensor:
        """Action vectors [..., A] of actions as `step` takes them; UserError for those that this world has not."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            if actions.numel() and not 0 <= (worst := _furthest(actions, space.n)) < space.n:
                raise UserError(f"action {worst} is not one of this world's {space.n} (0 … {space.n - 1})")
        elif actions.shape[-1:] != space.shape or not actions.is_floating_point():
            raise UserError(f"this world takes actions of {space.shape[0]} numbers in [-1, 1], not {actions.dtype} of "
                            f"shape {list(actions.shape)}")  # fmt: skip
        return self.model.actions(actions)

    def unknown_actions(self, observations: Tensor) -> Tensor:
        """The actions [B, T-1] or [B, T-1, A] of a prompt without any: the first one, or zeros."""
        lead = (observations.shape[0], observations.shape[1] - 1)
        if isinstance(self.action_space, spaces.Discrete):
            return torch.zeros(lead, dtype=torch.int64, device=observations.device)
        return torch.zeros(*lead, *self.action_space.shape, device=observations.device)

    def begun(self, values: Tensor, seed: int | Tensor) -> SimulatorState:
        """The state of `values` [B, …] in which nothing was imagined yet."""
        seeds = row_seeds(seed, len(values), values.device)
        return SimulatorState(values, seeds, torch.zeros_like(seeds))

    def warmed(self, state: SimulatorState) -> SimulatorState:
        """As it is: its values are all that a step takes."""
        return state

    def outcomes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Reward and continuation [B] read from [B, …]; 0 and 1 where they were not learned."""
        reward, goes_on = self.model.outcomes.predict(features)
        reward = reward if self.knows_rewards else torch.zeros_like(reward)
        return reward, goes_on if self.knows_ends else torch.ones_like(goes_on)

    @staticmethod
    def require_seen(state: SimulatorState) -> None:
        """ValueError for a state in which something was imagined."""
        if state.imagined:
            raise ValueError("something was imagined in this state: observe from the state before it")


def _furthest(actions: Tensor, count: int) -> int:
    """The action that is the furthest from being one of `count`."""
    least, most = int(actions.min()), int(actions.max())
    return least if least < 0 else most


@dataclass(frozen=True)
class SimulatorStep(Step):
    """A step of a simulator.

    Attributes:
        disagreement: float [B], the standard deviation of what the members of an ensemble expect of the next state, in
            standard deviations of the data; None where there is no ensemble.
    """

    disagreement: Tensor | None = None


class RssmWorld(SimulatorWorld):
    """A state's `values` are its features [B, F], deterministic part first."""

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__(trained)
        self.observation_shape = tuple(trained.background.shape)
        self.feature_shape = (self.model.num_features,)
        self.num_context = self.config["data"]["num_frames"] - 1  # as long as in training, where one more was predicted

    @torch.no_grad()
    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> SimulatorState:
        """The state after frames [B, T, C, H, W], of which the last `num_context` count."""
        frames, vectors = self._prompt(observations, actions)
        start = max(0, frames.shape[1] - self.num_context)
        return self.begun(self._filter(frames[:, start:], vectors[:, start:])[:, -1], seed)

    @torch.no_grad()
    def observe(self, state: SimulatorState, observation: Tensor, actions: Tensor) -> SimulatorState:
        """One step of filtering. It hands the state on: an agent's memory is as long as its episode."""
        self.require_seen(state)
        evidence = self.model.encode(observation[:, None])
        beliefs = self.model.filter(evidence, self.vectors(actions)[:, None], before=state.values)
        return replace(state, values=beliefs.features[:, 0])

    @torch.no_grad()
    def step(self, state: SimulatorState, actions: Tensor, decode: bool = True) -> tuple[SimulatorState, SimulatorStep]:
        """One step of imagination."""
        noise = FrameNoise(state.seeds, state.ages).uniform(0, self.model.groups)[:, None]
        draws = noise if self.settings["imagine"] == "sample" else None
        beliefs = self.model.imagine(state.values, self.vectors(actions)[:, None], draws)
        values = beliefs.features[:, 0]
        state = replace(state, values=values, ages=state.ages + 1, imagined=True)
        reward, goes_on = self.outcomes(values)
        return state, SimulatorStep(reward, goes_on, self.decode(state) if decode else None)

    @torch.no_grad()
    def decode(self, state: SimulatorState) -> Tensor:
        """Frames [B, C, H, W] in [0, 1]."""
        return self.model.decode(state.values[:, None])[:, 0].sigmoid()

    def features(self, state: SimulatorState) -> Tensor:
        """[B, F]"""
        return state.values

    def judge(self, before: SimulatorState, actions: Tensor, after: SimulatorState) -> Judged:
        """What the heads say of the features of `after`."""
        return self.model.outcomes.judge(after.values)

    @torch.no_grad()
    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """[B, T, F]. Beyond `num_context` frames each has a window of its own, as `reset` would give it."""
        frames, vectors = self._prompt(observations, actions)
        evidence, length = self.model.encode(frames), self.num_context
        rows = [self._states(evidence[:, :length], vectors[:, :length])]
        for end in range(length + 1, frames.shape[1] + 1):
            rows.append(self._states(evidence[:, end - length : end], vectors[:, end - length : end])[:, -1:])
        return torch.cat(rows, 1)

    def _prompt(self, frames: Tensor, actions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Frames, and the vectors [B, T, A] that led to each."""
        actions = self.unknown_actions(frames) if actions is None else actions
        self.vectors(actions)
        return frames, self.model.incoming(actions)

    def _filter(self, frames: Tensor, vectors: Tensor) -> Tensor:
        return self._states(self.model.encode(frames), vectors)

    def _states(self, evidence: Tensor, vectors: Tensor) -> Tensor:
        """Features [B, T, F] of a window, to the first frame of which no action led."""
        first = torch.zeros_like(vectors[:, :1])
        return self.model.filter(evidence, torch.cat([first, vectors[:, 1:]], 1)).features


class DeltaWorld(SimulatorWorld):
    """A state's `values` are the numbers [B, n] of the environment; its features are these, normalised.

    With `simulator.propagate: member` a world follows one member of the ensemble, drawn from its seed, for all its
    life; with `mean` all follow the mean. With Gaussian heads and `simulator.imagine: sample` changes are drawn, each
    from its world's seed and age. `simulator.pessimism` times the disagreement of the members is taken off the reward.
    """

    num_context = 1

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__(trained)
        self.observation_shape = self.feature_shape = (self.model.state_size,)
        self.propagate, self.pessimism = self.settings["propagate"], self.settings["pessimism"]

    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> SimulatorState:
        """The last of states [B, T, n]: it is all there is to know."""
        return self.begun(observations[:, -1].float(), seed)

    def observe(self, state: SimulatorState, observation: Tensor, actions: Tensor) -> SimulatorState:
        """The observation."""
        self.require_seen(state)
        return replace(state, values=observation.float())

    @torch.no_grad()
    def step(self, state: SimulatorState, actions: Tensor, decode: bool = True) -> tuple[SimulatorState, SimulatorStep]:
        """One step of imagination."""
        model, vectors = self.model, self.vectors(actions)
        prediction = model.predict(state.values, vectors)
        delta = prediction.delta
        if prediction.log_variance is not None and self.settings["imagine"] == "sample":
            uniform = FrameNoise(state.seeds, state.ages).uniform(0, model.state_size)
            delta = delta + torch.special.ndtri(uniform.clamp_min(1e-6)) * (prediction.log_variance / 2).exp()
        expected = model.following(state.values, prediction.delta)
        disagreement = model.normalized(expected).std(0, correction=0).mean(-1)
        following = model.settled(self._follow(model.following(state.values, delta), state.seeds))
        reward, goes_on = self.outcomes(model.outcome_features(state.values, vectors, following))
        reward = reward - self.pessimism * disagreement
        state = replace(state, values=following, ages=state.ages + 1, imagined=True)
        return state, SimulatorStep(reward, goes_on, following if decode else None, disagreement)

    def _follow(self, following: Tensor, seeds: Tensor) -> Tensor:
        """[B, n] of what each member says [M, B, n]."""
        if self.propagate == "mean":
            return following.mean(0)
        rows = torch.arange(len(seeds), device=seeds.device)
        return following[derive(seeds, Stream.ENSEMBLE_MEMBER) % len(following), rows]

    def decode(self, state: SimulatorState) -> Tensor:
        """The state itself [B, n]."""
        return state.values

    def features(self, state: SimulatorState) -> Tensor:
        """[B, n]"""
        return self.model.normalized(state.values)

    def judge(self, before: SimulatorState, actions: Tensor, after: SimulatorState) -> Judged:
        """What the heads say of the step, without `simulator.pessimism`."""
        step = self.model.outcome_features(before.values, self.vectors(actions), after.values)
        return self.model.outcomes.judge(step)

    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """[B, T, n]"""
        return self.model.normalized(observations.float())
