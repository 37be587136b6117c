"""Behaviour cloning of recordings, in the environment's actions or in latent ones (Genie §3.3).

Latent actions need no recorded ones: the world's latent action model reads them from a video. Which environment actions
they correspond to is learned from a few labelled transitions afterwards (`genie/agents/label_curve.py`).

Dimension letters: `B` clips, `T` observations, `O` the shape of one, `A` actions, or numbers of one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.common.ranks import gather_samples
from genie.metrics.metric_info import HIGHER, LOWER, MetricInfo
from genie.stages.world_stage import recorded_between, space_of
from genie.world.protocol import World

METRICS = (
    MetricInfo("{split:train|val}/accuracy", "actions as in the data", unit="%", better=HIGHER),
    MetricInfo("{split:train|val}/absolute_error", "absolute error of actions", better=LOWER),
)


class Cloning(nn.Module):
    """Options: `actions` environment | latent: what is cloned; `num_actions`: the environment's, where the world's own
    are latent."""

    def __init__(self, model: nn.ModuleDict, options: dict[str, Any]) -> None:
        super().__init__()
        self.latent = options["actions"] == "latent"
        self.learns_recorded_actions = not self.latent
        head, discrete = model["actor"].head, model["actor"].is_discrete
        # of the training clips, for the baselines: how often each action was taken, or the sum of all
        self.register_buffer("seen", torch.zeros(head.out_features if discrete else head.out_features // 2))
        self.register_buffer("num_seen", torch.zeros(()))

    @staticmethod
    def check(world: World, options: dict[str, Any]) -> None:
        """Raises UserError where the actions to clone are not available."""
        if options["actions"] == "latent":
            if getattr(world, "lam", None) is None:
                raise UserError("policy.actions=latent needs a world with a latent action model: train stage=lam first")
        elif not world.takes_environment_actions and options["num_actions"] is None:
            raise UserError(
                "this world's actions are latent: give the environment's number of actions, policy.num_actions=3, or "
                "clone latent ones with policy=latent_bc"
            )

    @staticmethod
    def actions_of(world: World, options: dict[str, Any]) -> tuple[int | None, int | None]:
        """(number of actions, None) or (None, numbers of an action) of what is cloned."""
        if options["actions"] == "latent":
            return world.lam.num_actions, None
        return space_of(world) if world.takes_environment_actions else (options["num_actions"], None)

    def use_world(self, world: World) -> None:
        """Nothing to do."""

    def begin(self, model: nn.ModuleDict) -> None:
        """Nothing to do."""

    before_step = begin

    def compute(
        self, model: nn.ModuleDict, world: World, observations: Tensor, batch: Clip
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood, and metrics beside their baselines, of clips `observations` [B, T, *O].

        The last observation of a clip is left out: an episode's last one has no recorded action.
        """
        with torch.no_grad():
            done = world.lam.encode(observations) if self.latent else batch["actions"][:, :-1]
            seen = observations[:, :-1]
            features = world.trace(seen, recorded_between(world, batch, seen.shape[1]))
        actor = model["actor"]
        distribution = actor(features)
        loss = -distribution.log_prob(done).mean()
        if self.training:
            self._count(done)
        metrics = {"entropy": distribution.entropy().detach().mean()}
        mode = distribution.mode().detach()
        if actor.is_discrete:
            metrics["accuracy"] = (mode == done).float().mean()
            metrics["accuracy_majority"] = (done == self.seen.argmax()).float().mean()
        else:
            mean = self.seen / self.num_seen.clamp_min(1)
            metrics["absolute_error"] = (mode - done).abs().mean()
            metrics["absolute_error_of_mean"] = (mean - done).abs().mean()
        return loss, metrics

    @torch.no_grad()
    def _count(self, done: Tensor) -> None:
        done = gather_samples(done).flatten(0, 1)
        counted = done.bincount(minlength=len(self.seen)) if done.ndim == 1 else done.sum(0)
        self.seen += counted.to(self.seen)
        self.num_seen += len(done)
