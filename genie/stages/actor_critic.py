"""Actor-critic in imagination (DreamerV3).

What imagined steps are worth.

Rollouts of an actor in a world: what is imagined, and nothing of it decoded.

Actor and critic learned in imagination (Hafner et al. 2023, DreamerV3, arXiv 2301.04104, §Actor, §Critic).

From states that real clips lead to, the actor plays on in the frozen world. The critic learns the λ-returns of these
rollouts; the actor is reinforced by how much better than its guess they are. Nothing is drawn but from the seeds of the
clips, so a step is a function of the batch and the weights.

Dimension letters: `B` rollouts, `H` steps of each.

Dimension letters: `B` rollouts, `H` steps, `F` the shape of features, `A` numbers of an action.

Dimension letters: `B` clips, `T` observations, `O` the shape of one, `H` imagined steps.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genie.common.config_types import require_number, require_whole
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in
from genie.common.ranks import from_first, gather_samples
from genie.models.actor_critic import Actor, action_noise
from genie.stages.world_stage import recorded_between, space_of
from genie.world.protocol import State, World

RANGE = (0.05, 0.95)  # percentiles of the returns whose distance is their scale (DreamerV3)


def lambda_returns(rewards: Tensor, continues: Tensor, values: Tensor, discount: float, mixing: float) -> Tensor:
    """λ-returns [B, H] (Sutton & Barto, §12): R_t = r_t + γ c_t ((1-λ) v_{t+1} + λ R_{t+1}), and R_H = v_H.

    Args:
        rewards: [B, H] of the steps.
        continues: [B, H], the probability that the episode goes on behind each step.
        values: [B, H], of the states that the steps led to.
        discount, mixing: γ and λ.
    """
    following, returns = values[:, -1], []
    for step in reversed(range(rewards.shape[1])):
        later = (1 - mixing) * values[:, step] + mixing * following
        following = rewards[:, step] + discount * continues[:, step] * later
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def still_running(continues: Tensor, alive: Tensor) -> Tensor:
    """The probability [B, H] that a rollout has not ended before each of its steps: what the step counts for.

    `continues` [B, H] as above; `alive` float [B]: 0 for a rollout whose first state is behind the end of an episode.
    """
    before = torch.cat([torch.ones_like(continues[:, :1]), continues[:, :-1]], dim=1)
    return alive[:, None] * before.cumprod(1)


class ReturnRange(nn.Module):
    """The scale of returns: the running distance between two of their percentiles, and at least `least`.

    Below `least` differences are left as they are: noise around a return that is always the same is nothing to learn.
    """

    def __init__(self, decay: float, least: float) -> None:
        super().__init__()
        self.decay, self.least = decay, least
        self.register_buffer("distance", torch.tensor(-1.0))  # below 0: nothing was seen yet

    @torch.no_grad()
    def update(self, returns: Tensor, running: Tensor) -> None:
        """With returns [B, H], of those steps that are more likely `running` [B, H] than not, on all ranks."""
        returns, running = gather_samples(returns), gather_samples(running)
        seen = returns[running > 0.5].float()
        if len(seen):
            low, high = seen.quantile(torch.tensor(RANGE, device=seen.device))
            mixed = self.decay * self.distance + (1 - self.decay) * (high - low)
            self.distance.copy_(torch.where(self.distance < 0, high - low, mixed))

    @property
    def scale(self) -> Tensor:
        """What differences of returns are divided by."""
        return self.distance.clamp_min(self.least)


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


class ActorCritic(nn.Module):
    """Options: `horizon` H, `discount` γ, `mixing` λ, `entropy_weight`, `critic_weight`, `slow_weight`, `slow_decay`
    (share of the slow critic that stays in a step), `range_decay` and `least_range` (of `ReturnRange`)."""

    learns_recorded_actions = False

    def __init__(self, model: nn.ModuleDict, options: dict[str, Any]) -> None:
        super().__init__()
        require_whole(options, "horizon", prefix="policy.")
        require_number(options, "discount", "mixing", "slow_decay", "range_decay", above=-1, most=1)
        self.options = options
        self.slow = copy.deepcopy(model["critic"]).requires_grad_(False)
        self.range = ReturnRange(options["range_decay"], options["least_range"])

    @staticmethod
    def check(world: World, options: dict[str, Any]) -> None:
        """Raises UserError for a world in which nothing can be earned."""
        if not world.knows_rewards:
            raise UserError(
                "policy=actor_critic learns from rewards, and this world knows none: train stage=reward on it first"
            )

    @staticmethod
    def actions_of(world: World, options: dict[str, Any]) -> tuple[int | None, int | None]:
        """(number of actions, None) or (None, numbers of an action): those of the world."""
        return space_of(world)

    def begin(self, model: nn.ModuleDict) -> None:
        """The slow critic begins as the critic."""
        self.slow.load_state_dict(model["critic"].state_dict())

    @torch.no_grad()
    def before_step(self, model: nn.ModuleDict) -> None:
        """The slow critic follows the critic, once for every step of the optimiser."""
        for slow, fast in zip(self.slow.parameters(), model["critic"].parameters(), strict=True):
            slow.lerp_(fast, 1 - self.options["slow_decay"])

    def compute(
        self, model: nn.ModuleDict, world: World, observations: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and figures of a batch of clips, `observations` [B, T, *O]."""
        options, (actor, critic) = self.options, (model["actor"], model["critic"])
        state, alive = start(world, observations, batch)
        rollout = imagine(world, state, actor, options["horizon"], batch["seed"])
        with torch.no_grad():
            values = self.slow.value(rollout.features)
            targets = lambda_returns(
                rollout.rewards, rollout.continues, values[:, 1:], options["discount"], options["mixing"]
            )
            running = still_running(rollout.continues, alive)
        if self.training:
            self.range.update(targets, running)

        features = rollout.features[:, :-1]
        distribution = actor(features)
        advantages = (targets - values[:, :-1]) / self.range.scale
        entropy = distribution.entropy()
        reinforced = advantages * distribution.log_prob(rollout.actions) + options["entropy_weight"] * entropy
        logits = critic(features)
        losses = {
            "actor_loss": -(running * reinforced).mean(),
            "critic_loss": (running * critic.head.loss(logits, targets)).mean(),
            "slow_critic_loss": (running * critic.head.loss(logits, values[:, :-1])).mean(),
        }
        loss = losses["actor_loss"] + options["critic_weight"] * (
            losses["critic_loss"] + options["slow_weight"] * losses["slow_critic_loss"]
        )
        figures = {name: value.detach() for name, value in losses.items()}
        return loss, figures | self._figures(rollout, running, entropy.detach(), critic.head.mean(logits), targets)

    def _figures(
        self, rollout: Rollout, running: Tensor, entropy: Tensor, values: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        steps = running.sum().clamp_min(1e-6)
        return {
            "imagined_return": (running * rollout.rewards).sum(1).mean(),
            "entropy": (running * entropy).sum() / steps,
            "value": (running * values.detach()).sum() / steps,
            "value_error": (running * (values.detach() - targets).abs()).sum() / steps,
            "ended": 1 - (running[:, -1] * rollout.continues[:, -1]).mean(),
            "return_range": self.range.scale,
        }


def start(world: World, observations: Tensor, batch: dict[str, Tensor]) -> tuple[State, Tensor]:
    """States after n observations of clips [B, T, *O], and float [B]: 0 where that is behind the end of an episode.

    n, 1 … T, is the same for all clips of a step (a state has one length): drawn from the seed of the first of them.
    """
    first = int(from_first(batch["seed"][:1]))
    length = 1 + fold_in(first, Stream.IMAGINATION_START) % observations.shape[1]
    seen = observations[:, :length]
    state = world.reset(seen, recorded_between(world, batch, length), batch["seed"])
    if "terminals" not in batch:
        return state, torch.ones(len(seen), device=seen.device)
    return state, 1 - batch["terminals"][:, : length - 1].any(1).float()
