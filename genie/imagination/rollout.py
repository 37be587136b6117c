"""Rollouts of an actor in a world: what is imagined, and nothing of it decoded.

Dimension letters: `B` rollouts, `H` steps, `F` the shape of features, `A` numbers of an action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from genie.common.random import FrameNoise, Stream, derive
from genie.models.actor_critic import Actor
from genie.world.protocol import State, World


@dataclass(frozen=True)
class Rollout:
    """`features` [B, H+1, *F] of all states, the first one given; `actions` int64 [B, H] or float [B, H, A] taken in
    the first H of them; `rewards` and `continues` float [B, H] of these steps."""

    features: Tensor
    actions: Tensor
    rewards: Tensor
    continues: Tensor


@torch.no_grad()
def imagine(world: World, state: State, actor: Actor, horizon: int, seeds: Tensor) -> Rollout:
    """`horizon` steps from `state` with actions that `actor` draws.

    `seeds` int64 [B] decide the actions, the seeds of the state what the world draws: a rollout is the same alone or in
    a batch.
    """
    features, actions, rewards, continues = [world.features(state)], [], [], []
    for number in range(horizon):
        distribution = actor(features[-1])
        actions.append(distribution.sample(action_noise(seeds, number, distribution.noise_size)))
        state, step = world.step(state, actions[-1], decode=False)
        features.append(world.features(state))
        rewards.append(step.reward.float())
        continues.append(step.continues.float())
    return Rollout(*(torch.stack(parts, dim=1) for parts in (features, actions, rewards, continues)))


def action_noise(seeds: Tensor, number: int, size: int) -> Tensor:
    """Uniform float [B, size] in [0, 1) for the decision `number` of worlds with `seeds` int64 [B]."""
    return FrameNoise(derive(seeds, Stream.POLICY_ACTION), torch.full_like(seeds, number)).uniform(0, size)
