"""Reward model: rewards and ends of episodes, learned on the frozen features of a world.

A reward model learns from rewards of steps, returns of segments or preferences between segments. Alignment:
`rewards[:, t]` and `terminals[:, t]` are those of the step from observation t to t+1, and are predicted from the
features of the state after it.

Dimension letters: `B` clips (the segments), `P` pairs of segments, `T` observations, `n` = T-1 steps, `F` the shape of
features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in
from genie.labeling.preference_pairs import RatedPairs
from genie.metrics.rewards import RewardMetrics
from genie.models.heads import Judged, segment_return
from genie.stages.world_stage import WorldStage
from genie.world.protocol import World


class RewardStage(WorldStage):
    """Options: those of `WorldStage`, `rare_share` (`RareClips`) and the group `reward`: `name` state | trajectory |
    preference, `network` (the arguments of a `RewardModel`), `discount` of returns, `continue_weight` of the loss of
    ends; of preferences `margin`, `label_noise` (`labels_of`) and `ratings`, a file of `genie.rate` whose pairs replace
    those that true returns decide.

    The weights of a batch say how much more often a step (`weights`) or a clip (`clip_weight`) ought to have been
    drawn. Their mean is 1 on average only, so losses are divided by the number of steps: a mean over batches is then
    the mean over all steps.
    """

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.reward = config["reward"]
        check(self.reward, config["data"]["batch_size"])
        self.validation = RewardMetrics(self.reward["name"], self.reward["discount"])
        self.rated: RatedPairs | None = None
        self.reported: dict[str, str] = {}  # what could not be measured, and why

    @property
    def rates(self) -> bool:
        """Whether preferences are people's ratings."""
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

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = self.model(self.features(batch)[:, 1:])  # [B, n] each: of the states after the steps
        loss = self.reward_loss(predicted, batch)
        metrics = {"reward_loss": loss.detach()}
        if "terminals" in batch:
            if self.training:
                self.model.knows_ends.fill_(True)
            going = (~batch["terminals"][:, :-1]).float()
            nats = F.binary_cross_entropy_with_logits(predicted.continue_logits, going, reduction="none")
            ends = (step_weights(batch, "terminals") * nats).mean()
            metrics["continue_loss"] = ends.detach()
            loss = loss + self.reward["continue_weight"] * ends
        if not self.training:
            self.validation.update(predicted, batch)
        return loss, metrics

    def reward_loss(self, predicted: Judged, batch: Clip) -> Tensor:
        """The loss of the chosen kind without that of the ends: cross-entropy (nats) of the rewards of steps, squared
        error of the returns of segments, or Bradley-Terry (nats), with differences of predicted returns as logits."""
        kind, discount = self.reward["name"], self.reward["discount"]
        if self.rates:
            first, second, labels = self.rated.draw(self.world, batch["seed"], self.training)
            return F.binary_cross_entropy_with_logits(self.worth(first) - self.worth(second), labels)
        rewards = batch["rewards"][:, :-1]
        if kind == "state":
            return (step_weights(batch, "rewards") * self.model.reward.loss(predicted.reward_logits, rewards)).mean()
        returns, worth = segment_return(rewards, discount), segment_return(predicted.reward, discount)
        if kind == "trajectory":
            return (batch.get("clip_weight", rewards.new_ones(len(rewards))) * (worth - returns).square()).mean()
        noise = self.reward["label_noise"] if self.training else 0.0
        labels = labels_of(returns, batch["seed"], self.reward["margin"], noise)
        return F.binary_cross_entropy_with_logits(worth - partners(worth), labels)

    def worth(self, features: Tensor) -> Tensor:
        """The predicted return [P] of segments whose states after each step have features [P, n, *F]."""
        return segment_return(self.model(features).reward, self.reward["discount"])

    def on_validation_epoch_end(self) -> None:
        metrics = self.validation.compute()
        if self.rates:
            metrics |= self.rated.agreement(self.world, self.worth)
        self.log_validation(metrics)
        if self.validation.not_measured != self.reported:  # once, not at each validation
            self.reported = self.validation.not_measured
            for reason in dict.fromkeys(self.reported.values()):
                names = ", ".join(name for name, why in self.reported.items() if why == reason)
                self.print(f"not measured: {names}: {reason} in the validation clips")
        self.validation.reset()


def step_weights(batch: Clip, column: str) -> Tensor:
    """The weights [B, n] of the steps of clips with a `column` [B, T]: 1 without rare clips."""
    return batch.get("weights", torch.ones_like(batch[column], dtype=torch.float32))[:, :-1]


def partners(values: Tensor) -> Tensor:
    """The partner of each segment [B, ...] in a pair: the one before it, so that each is in two pairs."""
    return values.roll(1, 0)


def labels_of(returns: Tensor, seeds: Tensor, margin: float, noise: float) -> Tensor:
    """Which of each segment and its partner has the larger return [B]: 1, 0, or 0.5 where they differ by no more than
    `margin`; a share `noise` of the labels, drawn by the segments' `seeds` int64 [B], is flipped."""
    difference = returns - partners(returns)
    labels = 0.5 + 0.5 * difference.sign() * (difference.abs() > margin)
    drawn = [fold_in(seed, Stream.LABEL_NOISE) / 2**63 for seed in seeds.tolist()]
    wrong = torch.tensor(drawn, device=returns.device) < noise
    return torch.where(wrong, 1 - labels, labels)


def check(reward: dict, batch_size: int) -> None:
    if reward["name"] == "preference" and batch_size < 2:
        raise UserError(f"data.batch_size={batch_size}: a preference is one between two segments, or more")
