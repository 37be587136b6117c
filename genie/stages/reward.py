"""Reward stage.

What a reward model is trained by: rewards of steps, returns of segments, preferences between segments.

What the states of a world are worth, learned on its frozen features: rewards, returns or preferences, and ends.

Alignment: `rewards[:, t]` and `terminals[:, t]` are those of the step from observation t to t+1; they are read from the
features of the state after it.

Dimension letters: `B` segments, `n` steps of one.

Dimension letters: `B` clips, `T` observations, `n` = T-1 steps, `F` the shape of features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import Stream, fold_in
from genie.labeling.preference_pairs import RatedPairs
from genie.metrics.rewards import RewardMetrics
from genie.models.heads import Judged, RewardModel, segment_return
from genie.stages.world_stage import WorldStage
from genie.world.protocol import World


def state_loss(model: RewardModel, judged: Judged, rewards: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy (nats) of the rewards of steps [B, n] with what is `judged` of the states after them.

    `weights` [B, n] say how much more often a step ought to have been drawn; their mean is 1 on average only, so this
    is divided by the number of steps: a mean over batches is then the mean over all steps.
    """
    return (weights * model.reward.loss(judged.reward_logits, rewards)).mean()


def trajectory_loss(judged: Judged, returns: Tensor, weights: Tensor, discount: float) -> Tensor:
    """Squared error of the returns [B] of segments; `weights` [B] likewise."""
    return (weights * (segment_return(judged.reward, discount) - returns).square()).mean()


def preference_loss(better: Tensor, labels: Tensor) -> Tensor:
    """Bradley-Terry (nats): `better` [P], by how much the first segment of a pair is worth more, are the logits of its
    being preferred; `labels` [P] in [0, 1], 0.5 for equally good."""
    return F.binary_cross_entropy_with_logits(better, labels)


def continue_loss(judged: Judged, terminals: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy (nats) of whether the episode goes on; `weights` as in `state_loss`."""
    loss = F.binary_cross_entropy_with_logits(judged.continue_logits, (~terminals).float(), reduction="none")
    return (weights * loss).mean()


def others(values: Tensor) -> Tensor:
    """The partner of each segment [B, ...] in a pair: the one before it, so that each is in two pairs."""
    return values.roll(1, 0)


def labels_of(returns: Tensor, seeds: Tensor, margin: float, noise: float) -> Tensor:
    """Which of each segment and its partner has the larger return [B]: 1, 0, or 0.5 where they differ by no more than
    `margin`; a share `noise` of the labels, drawn by the segments' `seeds` int64 [B], is turned round."""
    difference = returns - others(returns)
    labels = 0.5 + 0.5 * difference.sign() * (difference.abs() > margin)
    drawn = [fold_in(seed, Stream.LABEL_NOISE) / 2**63 for seed in seeds.tolist()]
    wrong = torch.tensor(drawn, device=returns.device) < noise
    return torch.where(wrong, 1 - labels, labels)


class RewardStage(WorldStage):
    """Options: those of `WorldStage`, `rare_share` (`RareClips`) and the group `reward`: `name` state | trajectory |
    preference, `network` (the arguments of a `RewardModel`), `discount` of returns, `continue_weight` of the loss of
    ends; of preferences `margin`, `label_noise` (`labels_of`) and `ratings`, a file of `genie.rate` whose pairs take
    the place of pairs that true returns decide."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.reward = config["reward"]
        check(self.options, self.reward, config["data"]["batch_size"])
        self.validation = RewardMetrics(self.reward["name"], self.reward["discount"])
        self.rated: RatedPairs | None = None
        self.said: dict[str, str] = {}  # what could not be measured, and why

    @property
    def rates(self) -> bool:
        """Whether people say which segment is better."""
        return self.reward["name"] == "preference" and self.reward["ratings"] is not None

    def load_dependencies(self, opened: World | None = None) -> None:
        super().load_dependencies(opened)
        if self.rates:
            self.rated = RatedPairs(self.reward["ratings"], self.config["data"], self.config["seed"])

    def set_data(self, data) -> None:
        super().set_data(data)
        if "rewards" not in data.train_dataset.reader.columns and not self.rates:
            way = "record them with `python -m genie.record`, or rate segments: reward=preference reward.ratings=file"
            raise UserError(f"{data.train_dataset.reader.path} records no rewards: {way}")
        data.draw_rare(self.options["rare_share"])

    def compute(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        judged = self.model(self.features(batch)[:, 1:])  # [B, n] each: of the states after the steps
        loss = self.reward_loss(judged, batch)
        metrics = {"reward_loss": loss.detach()}
        if "terminals" in batch:
            weights = batch.get("weights", batch["terminals"].new_ones(batch["terminals"].shape).float())[:, :-1]
            if self.training:
                self.model.knows_ends.fill_(True)
            ends = continue_loss(judged, batch["terminals"][:, :-1], weights)
            metrics["continue_loss"] = ends.detach()
            loss = loss + self.reward["continue_weight"] * ends
        if not self.training:
            self.validation.update(judged, batch)
        return loss, metrics

    def reward_loss(self, judged: Judged, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the kind that was chosen, without that of the ends."""
        kind, discount = self.reward["name"], self.reward["discount"]
        if self.rates:
            first, second, labels = self.rated.draw(self.world, batch["seed"], self.training)
            better = self.worth(first) - self.worth(second)
            return preference_loss(better, labels)
        rewards = batch["rewards"][:, :-1]
        if kind == "state":
            weights = batch.get("weights", rewards.new_ones(batch["rewards"].shape))[:, :-1]
            return state_loss(self.model, judged, rewards, weights)
        returns = segment_return(rewards, discount)
        if kind == "trajectory":
            return trajectory_loss(judged, returns, batch.get("clip_weight", rewards.new_ones(len(rewards))), discount)
        worth = segment_return(judged.reward, discount)
        labels = labels_of(returns, batch["seed"], self.reward["margin"], self.noise)
        return preference_loss(worth - others(worth), labels)

    @property
    def noise(self) -> float:
        """Of labels; those of validation are true."""
        return self.reward["label_noise"] if self.training else 0.0

    def worth(self, features: Tensor) -> Tensor:
        """The predicted return [P] of segments whose states after each step have features [P, n, *F]."""
        return segment_return(self.model(features).reward, self.reward["discount"])

    def on_validation_epoch_end(self) -> None:
        figures = self.validation.compute()
        if self.rates:
            figures |= self.rated.agreement(self.world, self.worth)
        self.log_dict({f"val/{name}": value for name, value in figures.items()})
        if self.validation.not_measured != self.said:  # once, not at each validation
            self.said = self.validation.not_measured
            for reason in dict.fromkeys(self.said.values()):
                names = ", ".join(name for name, why in self.said.items() if why == reason)
                self.print(f"not measured: {names}: {reason} in the validation clips")
        self.validation.reset()


def check(options: dict, reward: dict, batch_size: int) -> None:
    """Raises UserError for a value that cannot be."""
    share = options["rare_share"]
    if not isinstance(share, int | float) or not 0 <= share < 1:
        raise UserError(f"stage.rare_share={share} must be a share, from 0 to below 1")
    if not isinstance(reward["discount"], int | float) or not 0 < reward["discount"] <= 1:
        raise UserError(f"reward.discount={reward['discount']} must be above 0 and at most 1")
    if reward["name"] == "preference":
        if not 0 <= reward["label_noise"] < 0.5:
            raise UserError(f"reward.label_noise={reward['label_noise']} must be from 0 to below 0.5")
        if batch_size < 2:
            raise UserError(f"data.batch_size={batch_size}: a preference is one between two segments, or more")
