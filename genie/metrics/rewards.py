"""Reward metrics.

How well rewards and ends are predicted, beside the trivial predictions.

Is a reward model right where it matters: at the few steps with a reward, at ends, and about which segment is better?

Error of imagined states against the horizon, beside that of expecting no change.

Dimension letters: `B` segments, `n` steps of one.

Dimension letters: `B` batch, `h` horizon, `n` numbers of a state.
"""

import warnings

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MeanSquaredError, Metric, PearsonCorrCoef, SpearmanCorrCoef
from torchmetrics.classification import (
    BinaryCalibrationError,
    BinaryPrecision,
    BinaryRecall,
    MulticlassPrecision,
    MulticlassRecall,
)

from genie.models.heads import Judged, segment_return

SUMS = ("reward_error", "reward_size", "steps", "rewarded", "found", "judged", "right", "ended", "foreseen")


class OutcomeMetrics(Metric):
    """Of predicted rewards and probabilities that the episode goes on:

    `reward_error`, and `reward_error_zero` of always predicting 0: mean absolute errors.
    `reward_recall`: of the steps with a reward, the share in which the predicted one is nearer to it than to 0.
    `continue_accuracy`: share of steps in which an end, or none, was rightly the more likely, and
    `continue_accuracy_majority` of always predicting that it goes on. `terminal_recall`: share of ends foreseen.

    What nothing was seen of is left out.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in SUMS:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self, reward: Tensor, goes_on: Tensor, rewards: Tensor | None = None, terminals: Tensor | None = None
    ) -> None:
        """Predictions float [...], and what came true: `rewards` float [...], `terminals` bool [...]."""
        if rewards is not None:
            error, size = (reward - rewards).abs(), rewards.abs()
            self.reward_error += error.sum()
            self.reward_size += size.sum()
            self.steps += error.numel()
            self.rewarded += (size > 0).sum()
            self.found += ((size > 0) & (error < size / 2)).sum()
        if terminals is not None:
            foreseen = goes_on < 0.5
            self.judged += terminals.numel()
            self.right += (foreseen == terminals).sum()
            self.ended += terminals.sum()
            self.foreseen += (foreseen & terminals).sum()

    def compute(self) -> dict[str, Tensor]:
        """The figures, by name."""
        shares = {
            "reward_error": (self.reward_error, self.steps),
            "reward_error_zero": (self.reward_size, self.steps),
            "reward_recall": (self.found, self.rewarded),
            "continue_accuracy": (self.right, self.judged),
            "continue_accuracy_majority": (self.judged - self.ended, self.judged),
            "terminal_recall": (self.foreseen, self.ended),
        }
        return {name: (part / whole).float() for name, (part, whole) in shares.items() if whole > 0}


SIGNS = ("negative", "zero", "positive")  # of a reward


class RewardMetrics(nn.Module):
    """What validation says of a reward model of a `kind`; returns of segments are discounted by `discount`.

    Of steps, where rewards are predicted and not only compared (kinds state and trajectory): `reward_mse`, beside it
    that of always predicting 0 (`_always_zero`) and the mean of these rewards (`_always_mean`); `reward_mean` and
    `reward_mean_true`. Of kind state: `precision_` and `recall_` of negative and positive rewards, by the likeliest
    sign, and the calibration error of the probability of a positive one.

    Of ends, where the data have them: precision, recall and calibration error, and how many there were.

    Of segments: Pearson's and Spearman's correlation of predicted and true returns, and the `preference_accuracy`.
    What is not defined, for want of any such case, is not there, and `not_measured` says why, by name, after `compute`.
    """

    def __init__(self, kind: str, discount: float) -> None:
        super().__init__()
        self.kind, self.discount = kind, discount
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*will save all targets.*")  # of a few hundred segments
            self.returns = nn.ModuleDict(
                {
                    "return_pearson_correlation": PearsonCorrCoef(),
                    "return_spearman_correlation": SpearmanCorrCoef(),
                    "preference_accuracy": PreferenceAccuracy(),
                }
            )
        self.errors = nn.ModuleDict({"reward_mse": MeanSquaredError(), "reward_mse_always_zero": MeanSquaredError()})
        self.means = nn.ModuleDict({"reward_mean": MeanMetric(), "reward_mean_true": MeanMetric()})
        self.precision = MulticlassPrecision(3, average=None)
        self.recall = MulticlassRecall(3, average=None)
        self.positive_calibration = BinaryCalibrationError(n_bins=15)
        self.ends = nn.ModuleDict(
            {
                "terminal_precision": BinaryPrecision(),
                "terminal_recall": BinaryRecall(),
                "terminal_calibration_error": BinaryCalibrationError(n_bins=15),
            }
        )
        self.num_ends, self.said_ends = TrueCount(), TrueCount()
        # how many rewards of a sign there were, and how many were said to be
        self.true_signs = nn.ModuleDict({sign: TrueCount() for sign in SIGNS})
        self.said_signs = nn.ModuleDict({sign: TrueCount() for sign in SIGNS})
        self.not_measured: dict[str, str] = {}

    def update(self, judged: Judged, batch: dict[str, Tensor]) -> None:
        """What is `judged` of the states after the steps of a batch's clips, [B, n] each."""
        if "rewards" in batch:
            self._update_rewards(judged, batch["rewards"][:, :-1])
        if "terminals" in batch:
            ended, terminals = 1 - judged.continues, batch["terminals"][:, :-1]
            for metric in self.ends.values():
                metric.update(ended.flatten(), terminals.flatten().long())
            self.num_ends.update(terminals)
            self.said_ends.update(ended >= 0.5)

    def _update_rewards(self, judged: Judged, rewards: Tensor) -> None:
        predicted, true = (segment_return(values, self.discount) for values in (judged.reward, rewards))
        for metric in self.returns.values():
            metric.update(predicted, true)
        if self.kind == "preference":
            return
        self.errors["reward_mse"].update(judged.reward.flatten(), rewards.flatten())
        self.errors["reward_mse_always_zero"].update(torch.zeros_like(rewards).flatten(), rewards.flatten())
        self.means["reward_mean"].update(judged.reward)
        self.means["reward_mean_true"].update(rewards)
        if self.kind == "state":
            shares, signs = judged.signs.flatten(0, -2), rewards.flatten().sign().long() + 1
            self.precision.update(shares, signs)
            self.recall.update(shares, signs)
            said = shares.argmax(-1)
            for number, sign in enumerate(SIGNS):
                self.true_signs[sign].update(signs == number)
                self.said_signs[sign].update(said == number)
            self.positive_calibration.update(shares[:, 2], (signs == 2).long())

    def compute(self) -> dict[str, Tensor]:
        """All figures since the last reset that are defined, by log name; the others are in `not_measured`."""
        parts: list[nn.ModuleDict] = []
        if self.returns["preference_accuracy"].update_called:
            parts.append(self.returns)
            parts += [] if self.kind == "preference" else [self.errors, self.means]
        parts += [self.ends] if self.num_ends.update_called else []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*variance of predictions or target.*")  # not defined: NaN
            figures = {name: metric.compute() for part in parts for name, metric in part.items()}
        if self.errors in parts:
            mean = figures["reward_mean_true"]
            figures["reward_mse_always_mean"] = figures["reward_mse_always_zero"] - mean.square()
        if self.errors in parts and self.kind == "state":
            for name, values in (("precision", self.precision.compute()), ("recall", self.recall.compute())):
                figures |= {f"{name}_{SIGNS[sign]}": values[sign] for sign in (0, 2)}
            figures["positive_calibration_error"] = self.positive_calibration.compute()
        if self.ends in parts:
            figures["terminals"] = self.num_ends.compute()
        self.not_measured = {name: why for name, why in self._undefined(figures).items() if name in figures}
        return {name: value.float() for name, value in figures.items() if name not in self.not_measured}

    def _undefined(self, figures: dict[str, Tensor]) -> dict[str, str]:
        """Why figures are not defined."""
        reasons = {}
        if "recall_positive" in figures:
            for sign in ("negative", "positive"):
                if not self.true_signs[sign].compute():
                    reasons[f"recall_{sign}"] = f"there is no {sign} reward"
                if not self.said_signs[sign].compute():
                    reasons[f"precision_{sign}"] = f"no {sign} reward is predicted"
        if "terminals" in figures:
            if not figures["terminals"]:
                reasons["terminal_recall"] = "there is no end"
            if not self.said_ends.compute():
                reasons["terminal_precision"] = "no end is predicted"
        if "return_pearson_correlation" in figures and not figures["return_pearson_correlation"].isfinite():
            alike = "all returns, or all predicted ones, are alike"
            reasons |= dict.fromkeys(("return_pearson_correlation", "return_spearman_correlation"), alike)
        if "preference_accuracy" in figures and not figures["preference_accuracy"].isfinite():
            reasons["preference_accuracy"] = "no two returns differ"
        others = (name for name, value in figures.items() if name not in reasons and not value.isfinite())
        return reasons | dict.fromkeys(others, "it is not a finite number")

    def reset(self) -> None:
        """Forget everything counted."""
        for module in self.modules():
            if isinstance(module, Metric):
                module.reset()


class PreferenceAccuracy(Metric):
    """Of all pairs of segments with different true returns, the share in which the predicted ones say the same of which
    is the larger; 0.5 is what a coin does, and what equal predictions count."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("predicted", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Returns [B]."""
        self.predicted.append(predicted.float())
        self.true.append(true.float())

    def compute(self) -> Tensor:
        """In [0, 1]; NaN without two different true returns."""
        predicted, true = (torch.cat(part) if isinstance(part, list) else part for part in (self.predicted, self.true))
        truth = (true[:, None] - true).sign().triu(1)
        said = (predicted[:, None] - predicted).sign()
        agreement = 0.5 + 0.5 * truth * said
        return agreement[truth != 0].mean()


class TrueCount(Metric):
    """How many values are true."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """bool [...]."""
        self.count += values.sum()

    def compute(self) -> Tensor:
        return self.count


class StateErrors(Metric):
    """Root mean squared error of each of `horizon` steps, over all clips and numbers of a state, in standard deviations
    of the data."""

    full_state_update = False

    def __init__(self, horizon: int) -> None:
        super().__init__()
        for name in ("imagined", "unchanged", "count"):
            self.add_state(name, torch.zeros(horizon, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, imagined: Tensor, given: Tensor, truth: Tensor) -> None:
        """Normalised states: `imagined` and `truth` [B, h, n], and `given` [B, n], the last that was seen."""
        self.imagined += (imagined - truth).square().mean(-1).sum(0)
        self.unchanged += (given[:, None] - truth).square().mean(-1).sum(0)
        self.count += len(truth)

    def compute(self) -> dict[str, Tensor]:
        """[h] of the imagined states ("") and of no change ("unchanged"); NaN where nothing was counted."""
        errors = {"": self.imagined, "unchanged": self.unchanged}
        return {name: (total / self.count).sqrt().float() for name, total in errors.items()}
