"""Trained simulators (`stage=simulator`), RSSM and delta dynamics, as worlds.

The RSSM filters observations with the most likely latents, so that no past step depends on a seed; imagination draws
them (`simulator.imagine: sample`), each from its world's seed and age alone.

Dimension letters: `B` worlds, `T` observations, `C H W` channels and pixels, `n` numbers of a state, `A` actions or
their numbers, `F` features, `M` members.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import FrameNoise, Stream, derive, row_seeds
from genie.common.run_folders import explained
from genie.models.delta import DeltaModel
from genie.models.heads import Judged
from genie.models.rssm import Rssm
from genie.runs.loading import TrainedModel, fingerprint, load_model, stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.protocol import Step


@dataclass(frozen=True)
class SimulatorState:
    """State of B simulated worlds.

    Attributes:
        values: float [B, …], the simulator's recurrent state.
        seeds, ages: int64 [B], the seed of each world and its number of imagined steps: all its randomness.
        imagined: whether the newest step was imagined instead of observed.
    """

    values: Tensor
    seeds: Tensor
    ages: Tensor
    imagined: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Tensor | list[int]) -> Self:
        at = torch.as_tensor(index, dtype=torch.int64, device=self.values.device)
        return replace(self, values=self.values[at], seeds=self.seeds[at], ages=self.ages[at])

    def reseeded(self, seed: int | Tensor) -> Self:
        return replace(self, seeds=row_seeds(seed, len(self), self.values.device))


M = TypeVar("M", bound=Rssm | DeltaModel)


class SimulatorWorld(Generic[M]):
    """Common part of `RssmWorld` and `DeltaWorld`, which satisfy `genie.world.protocol.World`; `trained` is a
    simulator with its configuration and its frames per second."""

    num_context: int
    observation_shape: tuple[int, ...]
    feature_shape: tuple[int, ...]
    takes_environment_actions = True
    knows_uncertainty = False

    def __init__(self, trained: TrainedModel) -> None:
        self.model = cast(M, trained.model.eval())
        self.config, self.fps = trained.config, float(trained.fps)
        self.settings: dict[str, Any] = self.config["simulator"]
        learned = self.settings["objective"]  # weights of the terms; 0: not learned
        self.knows_rewards, self.knows_ends = learned["reward"] > 0, learned["continues"] > 0
        self.reward_kind = "state" if self.knows_rewards else None
        actions = self.model.actions
        self.action_space: spaces.Discrete | spaces.Box
        if actions.num_actions is not None:
            self.action_space = spaces.Discrete(actions.num_actions)
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (actions.size,), np.float32)

    @staticmethod
    def load(run: str | Path) -> "RssmWorld | DeltaWorld":
        """The world of a run folder (`outputs/<name>`), from its checkpoint; UserError where that is missing or
        damaged."""
        path = stage_file(Path(run), "simulator")
        if not is_checkpoint(path):
            raise UserError(f"{run} holds no trained simulator: {explained(Path(run), need='simulator')}")
        trained = load_model(path)
        return {"rssm": RssmWorld, "delta": DeltaWorld}[trained.config["simulator"]["kind"]](trained)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        self.model.to(device)
        return self

    def fingerprint(self) -> str:
        return fingerprint(self.model)

    def vectors(self, actions: Tensor) -> Tensor:
        """Action vectors [..., A] of actions as in `step`; UserError for invalid ones."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            least, most = (int(actions.min()), int(actions.max())) if actions.numel() else (0, 0)
            if not 0 <= (worst := least if least < 0 else most) < space.n:
                raise UserError(f"action {worst} is not one of this world's {space.n} (0 … {space.n - 1})")
        elif actions.shape[-1:] != space.shape or not actions.is_floating_point():
            raise UserError(f"this world takes actions of {space.shape[0]} numbers in [-1, 1], not {actions.dtype} of "
                            f"shape {list(actions.shape)}")  # fmt: skip
        return self.model.actions(actions)

    def unknown_actions(self, observations: Tensor) -> Tensor:
        """Zero actions [B, T-1] or [B, T-1, A] for a prompt without any."""
        lead = (observations.shape[0], observations.shape[1] - 1)
        if isinstance(self.action_space, spaces.Discrete):
            return torch.zeros(lead, dtype=torch.int64, device=observations.device)
        return torch.zeros(*lead, *self.action_space.shape, device=observations.device)

    def begun(self, values: Tensor, seed: int | Tensor) -> SimulatorState:
        """The state of `values` [B, …] before any imagined step."""
        seeds = row_seeds(seed, len(values), values.device)
        return SimulatorState(values, seeds, torch.zeros_like(seeds))

    def warmed(self, state: SimulatorState) -> SimulatorState:
        """The same state: there is nothing to precompute."""
        return state

    def outcomes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Reward and continuation [B] from features [B, …]; 0 and 1 where they were not learned."""
        reward, goes_on = self.model.outcomes.predict(features)
        reward = reward if self.knows_rewards else torch.zeros_like(reward)
        return reward, goes_on if self.knows_ends else torch.ones_like(goes_on)

    @staticmethod
    def require_seen(state: SimulatorState) -> None:
        if state.imagined:
            raise ValueError("something was imagined in this state: observe from the state before it")


@dataclass(frozen=True)
class SimulatorStep(Step):
    """A step of a simulator; `disagreement` float [B] is the standard deviation of an ensemble's predictions of the
    next state, in standard deviations of the data (None without an ensemble)."""

    disagreement: Tensor | None = None


class RssmWorld(SimulatorWorld[Rssm]):
    """A state's `values` are its features [B, F], deterministic part first."""

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__(trained)
        assert trained.background is not None
        self.observation_shape = tuple(trained.background.shape)
        self.feature_shape = (self.model.num_features,)
        self.num_context = self.config["data"]["num_frames"] - 1  # as in training, which predicts one more

    @torch.no_grad()
    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> SimulatorState:
        """The state after frames [B, T, C, H, W], of which the last `num_context` are used."""
        vectors = self._incoming(observations, actions)[:, -self.num_context :]
        evidence = self.model.encode(observations[:, -self.num_context :])
        return self.begun(self._states(evidence, vectors)[:, -1], seed)

    @torch.no_grad()
    def observe(self, state: SimulatorState, observation: Tensor, actions: Tensor) -> SimulatorState:
        """One step of filtering; memory is not limited to `num_context`."""
        self.require_seen(state)
        evidence = self.model.encode(observation[:, None])
        beliefs = self.model.filter(evidence, self.vectors(actions)[:, None], before=state.values)
        return replace(state, values=beliefs.features[:, 0])

    @torch.no_grad()
    def step(self, state: SimulatorState, actions: Tensor, decode: bool = True) -> tuple[SimulatorState, SimulatorStep]:
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
        """[B, F]."""
        return state.values

    def judge(self, before: SimulatorState, actions: Tensor, after: SimulatorState) -> Judged:
        """Predictions from the features of `after`."""
        return self.model.outcomes.judge(after.values)

    @torch.no_grad()
    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """[B, T, F]. Beyond `num_context` frames each has its own window, as in `reset`."""
        vectors = self._incoming(observations, actions)
        evidence, length = self.model.encode(observations), self.num_context
        rows = [self._states(evidence[:, :length], vectors[:, :length])]
        for end in range(length + 1, observations.shape[1] + 1):
            rows.append(self._states(evidence[:, end - length : end], vectors[:, end - length : end])[:, -1:])
        return torch.cat(rows, 1)

    def _incoming(self, frames: Tensor, actions: Tensor | None) -> Tensor:
        """Vectors [B, T, A] that led to each frame."""
        actions = self.unknown_actions(frames) if actions is None else actions
        self.vectors(actions)  # raises for invalid ones
        return self.model.incoming(actions)

    def _states(self, evidence: Tensor, vectors: Tensor) -> Tensor:
        """Features [B, T, F] of a window, whose first frame has no incoming action."""
        first = torch.zeros_like(vectors[:, :1])
        return self.model.filter(evidence, torch.cat([first, vectors[:, 1:]], 1)).features


class DeltaWorld(SimulatorWorld[DeltaModel]):
    """A state's `values` are the numbers [B, n] of the environment; its features are these, normalised.

    With `simulator.propagate: member` a world always follows one member of the ensemble, drawn from its seed; with
    `mean` all follow the mean. With Gaussian heads and `simulator.imagine: sample` changes are drawn, each from its
    world's seed and age. `simulator.pessimism` times the disagreement of the members is subtracted from the reward.
    """

    num_context = 1

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__(trained)
        self.observation_shape = self.feature_shape = (self.model.state_size,)
        self.propagate, self.pessimism = self.settings["propagate"], self.settings["pessimism"]

    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> SimulatorState:
        """The last of states [B, T, n], which are Markovian."""
        return self.begun(observations[:, -1].float(), seed)

    def observe(self, state: SimulatorState, observation: Tensor, actions: Tensor) -> SimulatorState:
        self.require_seen(state)
        return replace(state, values=observation.float())

    @torch.no_grad()
    def step(self, state: SimulatorState, actions: Tensor, decode: bool = True) -> tuple[SimulatorState, SimulatorStep]:
        model, vectors = self.model, self.vectors(actions)
        prediction = model.predict(state.values, vectors)
        delta = prediction.delta
        if prediction.log_variance is not None and self.settings["imagine"] == "sample":
            uniform = FrameNoise(state.seeds, state.ages).uniform(0, model.state_size)
            delta = delta + torch.special.ndtri(uniform.clamp_min(1e-6)) * (prediction.log_variance / 2).exp()
        expected = model.following(state.values, prediction.delta)
        disagreement = model.normalized(expected).std(0, correction=0).mean(-1)
        following = model.following(state.values, delta)  # [M, B, n]
        if self.propagate == "mean":
            following = following.mean(0)
        else:
            rows = torch.arange(len(state), device=state.seeds.device)
            following = following[derive(state.seeds, Stream.ENSEMBLE_MEMBER) % len(following), rows]
        following = model.settled(following)
        reward, goes_on = self.outcomes(model.outcome_features(state.values, vectors, following))
        reward = reward - self.pessimism * disagreement
        state = replace(state, values=following, ages=state.ages + 1, imagined=True)
        return state, SimulatorStep(reward, goes_on, following if decode else None, disagreement)

    def decode(self, state: SimulatorState) -> Tensor:
        """[B, n]."""
        return state.values

    def features(self, state: SimulatorState) -> Tensor:
        """[B, n]."""
        return self.model.normalized(state.values)

    def judge(self, before: SimulatorState, actions: Tensor, after: SimulatorState) -> Judged:
        """Predictions for the step, without `simulator.pessimism`."""
        step = self.model.outcome_features(before.values, self.vectors(actions), after.values)
        return self.model.outcomes.judge(step)

    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """[B, T, n]."""
        return self.model.normalized(observations.float())
