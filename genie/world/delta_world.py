"""The ensemble of delta dynamics as a world (`genie.world.protocol`).

Dimension letters: `B` worlds, `T` observations, `n` numbers of a state, `M` members.
"""

from dataclasses import replace

import torch
from torch import Tensor

from genie.common.random import FrameNoise, Stream, derive
from genie.models.heads import Judged
from genie.runs.loading import TrainedModel
from genie.world.simulator_world import SimulatorState, SimulatorStep, SimulatorWorld


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
