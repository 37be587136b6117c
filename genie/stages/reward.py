"""What the states of a world are worth, learned on its frozen features: rewards, returns or preferences, and ends.

Alignment: `rewards[:, t]` and `terminals[:, t]` are those of the step from observation t to t+1; they are read from the
features of the state after it.

Dimension letters: `B` clips, `T` observations, `n` = T-1 steps, `F` the shape of features.
"""

from torch import Tensor

from genie.common.errors import UserError
from genie.labeling.preference_pairs import RatedPairs
from genie.metrics.rewards import RewardMetrics
from genie.models.heads import Judged, segment_return
from genie.stages.on_world import WorldStage
from genie.stages.reward_losses import (
    continue_loss,
    labels_of,
    others,
    preference_loss,
    state_loss,
    trajectory_loss,
)
from genie.world.protocol import World


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
