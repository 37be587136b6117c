"""The recurrent state-space model as a world (`genie.world.protocol`).

What was seen is filtered by the most likely latents, so that nothing that happened depends on a seed; what is imagined
draws them (`simulator.imagine: sample`), each from its world's seed and age alone.

Dimension letters: `B` worlds, `T` frames, `C H W` channels and pixels, `F` features.
"""

from dataclasses import replace

import torch
from torch import Tensor

from genie.common.random import FrameNoise
from genie.models.heads import Judged
from genie.runs.loading import TrainedModel
from genie.world.simulator_world import SimulatorState, SimulatorStep, SimulatorWorld


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
