"""Actor-critic learned in imagination (DreamerV3, Hafner et al. 2023, arXiv 2301.04104).

From states of real clips the actor acts in the frozen world, and no observation is decoded. The critic learns the
λ-returns of these rollouts; the actor is reinforced by how far they exceed the critic's estimate. All random draws are
functions of the clips' seeds, so a step is a function of the batch and the weights.

Dimension letters: `B` clips or rollouts, `T` observations, `O` shape of one, `H` imagined steps, `F` shape of features,
`A` numbers of an action.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in
from genie.common.ranks import from_first, gather_samples
from genie.metrics.metric_info import HIGHER, LOWER, MetricInfo
from genie.models.actor_critic import Actor, action_noise
from genie.stages.world_stage import recorded_between, space_of
from genie.world.protocol import State, World
from genie.world.world_model import WorldModel

RANGE = (0.05, 0.95)  # percentiles of the returns whose distance is their scale (DreamerV3)


METRICS = (
    MetricInfo("{split:train|val}/imagined_return", "return of imagined episodes", better=HIGHER),
    MetricInfo("{split:train|val}/value_error", "absolute error of the critic", "from the λ-returns", better=LOWER),
)


class ActorCritic(nn.Module):
    """Options: `horizon` H, `passes` of Genie's dynamics for an imagined frame (None: as its sampler does), `discount`
    γ, `mixing` λ, `entropy_weight`, `critic_weight`, `slow_weight`, `slow_decay` (share of the slow critic that a step
    keeps), `range_decay` and `least_range` (of `ReturnRange`)."""

    learns_recorded_actions = False

    def __init__(self, model: nn.ModuleDict, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options
        self.slow = copy.deepcopy(model["critic"]).requires_grad_(False)
        self.range = ReturnRange(options["range_decay"], options["least_range"])

    @staticmethod
    def check(world: World, options: dict[str, Any]) -> None:
        """Raises UserError for a world without rewards, or `passes` in another than Genie's."""
        if not world.knows_rewards:
            raise UserError(
                "policy=actor_critic learns from rewards, and this world knows none: train stage=reward on it first"
            )
        if options.get("passes") and not isinstance(world, WorldModel):
            raise UserError(
                f"policy.passes={options['passes']}: only a Genie world draws its frames in passes; leave it out"
            )

    @staticmethod
    def actions_of(world: World, options: dict[str, Any]) -> tuple[int | None, int | None]:
        """(number of actions, None) or (None, numbers of an action): those of the world."""
        return space_of(world)

    def use_world(self, world: World) -> None:
        """Sets how `world` draws frames."""
        if self.options.get("passes"):
            world.sampler = replace(world.sampler, steps=self.options["passes"])

    def begin(self, model: nn.ModuleDict) -> None:
        """Copies the initial critic into the slow one."""
        self.slow.load_state_dict(model["critic"].state_dict())

    @torch.no_grad()
    def before_step(self, model: nn.ModuleDict) -> None:
        """Moves the slow critic towards the critic, once for every step of the optimiser."""
        for slow, fast in zip(self.slow.parameters(), model["critic"].parameters(), strict=True):
            slow.lerp_(fast, 1 - self.options["slow_decay"])

    def compute(
        self, model: nn.ModuleDict, world: World, observations: Tensor, batch: Clip
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of a batch of clips, `observations` [B, T, *O]."""
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
        estimates, steps = critic.head.mean(logits).detach(), running.sum().clamp_min(1e-6)
        return loss, {
            **{name: value.detach() for name, value in losses.items()},
            "imagined_return": (running * rollout.rewards).sum(1).mean(),
            "entropy": (running * entropy.detach()).sum() / steps,
            "value": (running * estimates).sum() / steps,
            "value_error": (running * (estimates - targets).abs()).sum() / steps,
            "ended": 1 - (running[:, -1] * rollout.continues[:, -1]).mean(),
            "return_range": self.range.scale,
        }


def start(world: World, observations: Tensor, batch: Clip) -> tuple[State, Tensor]:
    """States after n observations of clips [B, T, *O], and float [B]: 0 where that is after the end of an episode.

    n, 1 … T, is the same for all clips of a step (a state has one length): drawn from the seed of the first of them.
    """
    first = int(from_first(batch["seed"][:1]))
    length = 1 + fold_in(first, Stream.IMAGINATION_START) % observations.shape[1]
    seen = observations[:, :length]
    state = world.reset(seen, recorded_between(world, batch, length), batch["seed"])
    if "terminals" not in batch:
        return state, torch.ones(len(seen), device=seen.device)
    return state, 1 - batch["terminals"][:, : length - 1].any(1).float()


@dataclass(frozen=True)
class Rollout:
    """`features` [B, H+1, *F] of all states, the given one first; `actions` int64 [B, H] or float [B, H, A] taken in
    the first H of them; `rewards` and `continues` float [B, H] of these steps."""

    features: Tensor
    actions: Tensor
    rewards: Tensor
    continues: Tensor


@torch.no_grad()
def imagine(world: World, state: State, actor: Actor, horizon: int, seeds: Tensor) -> Rollout:
    """`horizon` steps from `state` with actions that `actor` draws.

    `seeds` int64 [B] determine the actions, the seeds of the state the draws of the world: a rollout is the same alone
    or in a batch.
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


def lambda_returns(rewards: Tensor, continues: Tensor, values: Tensor, discount: float, mixing: float) -> Tensor:
    """λ-returns [B, H] (Sutton & Barto, §12): R_t = r_t + γ c_t ((1-λ) v_{t+1} + λ R_{t+1}), and R_H = v_H.

    Args:
        rewards: [B, H] of the steps.
        continues: [B, H], the probability that the episode continues after each step.
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
    """The probability [B, H] that a rollout has not ended before each of its steps: the weight of the step.

    `continues` [B, H] as above; `alive` float [B]: 0 for a rollout whose first state is after the end of an episode.
    """
    before = torch.cat([torch.ones_like(continues[:, :1]), continues[:, :-1]], dim=1)
    return alive[:, None] * before.cumprod(1)


class ReturnRange(nn.Module):
    """The scale of returns: the moving average of the distance between two of their percentiles, at least `least`.

    Differences below `least` are not scaled up: noise around a constant return is nothing to learn.
    """

    def __init__(self, decay: float, least: float) -> None:
        super().__init__()
        self.decay, self.least = decay, least
        self.register_buffer("distance", torch.tensor(-1.0))  # below 0: no returns yet

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
        return self.distance.clamp_min(self.least)
