"""Metrics of predicted rewards, episode ends and imagined states, beside trivial predictions.

Dimension letters: `B` segments or batch, `n` steps of a segment or numbers of a state, `h` horizon.
"""

import warnings

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MeanSquaredError, Metric, PearsonCorrCoef, SpearmanCorrCoef, SumMetric
from torchmetrics.classification import (
    BinaryCalibrationError,
    BinaryPrecision,
    BinaryRecall,
    MulticlassPrecision,
    MulticlassRecall,
)

from data_modules.clips import Clip
from genie.metrics.sums import AdditiveMetric
from genie.models.heads import Judged, segment_return

SIGNS = ("negative", "zero", "positive")  # of a reward


class OutcomeMetrics(AdditiveMetric):
    """Of predicted rewards and continuation probabilities, where there are data:

    `reward_error`, and `reward_error_zero` of always predicting 0: mean absolute errors.
    `reward_recall`: share of the steps with a reward in which the predicted one is nearer to it than to 0.
    `continue_accuracy`: share of steps in which the more likely of end and continuation occurred, and
    `continue_accuracy_majority` of always predicting continuation. `terminal_recall`: share of ends predicted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_sums(
            "reward_error", "reward_size", "steps", "rewarded", "found", "judged", "right", "ended", "foreseen"
        )

    def update(
        self, reward: Tensor, goes_on: Tensor, rewards: Tensor | None = None, terminals: Tensor | None = None
    ) -> None:
        """Predictions float [...], and the true `rewards` float [...] and `terminals` bool [...]."""
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
        """The metrics by name."""
        shares = {
            "reward_error": (self.reward_error, self.steps),
            "reward_error_zero": (self.reward_size, self.steps),
            "reward_recall": (self.found, self.rewarded),
            "continue_accuracy": (self.right, self.judged),
            "continue_accuracy_majority": (self.judged - self.ended, self.judged),
            "terminal_recall": (self.foreseen, self.ended),
        }
        return {name: (part / whole).float() for name, (part, whole) in shares.items() if whole > 0}


class RewardMetrics(nn.Module):
    """Validation of a reward model of a `kind`; returns of segments are discounted by `discount`.

    Of steps (kinds state and trajectory): `reward_mse`, beside that of always predicting 0 (`_always_zero`) and the
    mean of these rewards (`_always_mean`); `reward_mean` and `reward_mean_true`. Of kind state: `precision_` and
    `recall_` of negative and positive rewards, by the most likely sign, and the calibration error of the probability of
    a positive one.

    Of ends, where the data have them: precision, recall, calibration error, and their number.

    Of segments: Pearson's and Spearman's correlation of predicted and true returns, and the `preference_accuracy`.
    Undefined metrics are left out; after `compute`, `not_measured` has the reasons by name.
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
        self.num_ends, self.predicted_ends = SumMetric(), SumMetric()
        self.true_signs = nn.ModuleDict({sign: SumMetric() for sign in SIGNS})
        self.predicted_signs = nn.ModuleDict({sign: SumMetric() for sign in SIGNS})
        self.not_measured: dict[str, str] = {}

    def update(self, judged: Judged, batch: Clip) -> None:
        """Predictions `judged` from the states after the steps of a batch's clips, [B, n] each."""
        if "rewards" in batch:
            self._update_rewards(judged, batch["rewards"][:, :-1])
        if "terminals" in batch:
            ended, terminals = 1 - judged.continues, batch["terminals"][:, :-1]
            for metric in self.ends.values():
                metric.update(ended.flatten(), terminals.flatten().long())
            self.num_ends.update(terminals)
            self.predicted_ends.update(ended >= 0.5)

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
            likeliest = shares.argmax(-1)
            for number, sign in enumerate(SIGNS):
                self.true_signs[sign].update(signs == number)
                self.predicted_signs[sign].update(likeliest == number)
            self.positive_calibration.update(shares[:, 2], (signs == 2).long())

    def compute(self) -> dict[str, Tensor]:
        """All defined metrics since the last reset, by log name; the others are in `not_measured`."""
        parts: list[nn.ModuleDict] = []
        if self.returns["preference_accuracy"].update_called:
            parts.append(self.returns)
            parts += [] if self.kind == "preference" else [self.errors, self.means]
        parts += [self.ends] if self.num_ends.update_called else []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*variance of predictions or target.*")  # not defined: NaN
            found = {name: metric.compute() for part in parts for name, metric in part.items()}
        if self.errors in parts:
            found["reward_mse_always_mean"] = found["reward_mse_always_zero"] - found["reward_mean_true"].square()
        if self.errors in parts and self.kind == "state":
            for name, values in (("precision", self.precision.compute()), ("recall", self.recall.compute())):
                found |= {f"{name}_{SIGNS[sign]}": values[sign] for sign in (0, 2)}
            found["positive_calibration_error"] = self.positive_calibration.compute()
        if self.ends in parts:
            found["terminals"] = self.num_ends.compute()
        self.not_measured = {name: why for name, why in self._undefined(found).items() if name in found}
        return {name: value.float() for name, value in found.items() if name not in self.not_measured}

    def _undefined(self, found: dict[str, Tensor]) -> dict[str, str]:
        """Reasons by name of undefined metrics."""
        reasons = {}
        if "recall_positive" in found:
            for sign in ("negative", "positive"):
                if not self.true_signs[sign].compute():
                    reasons[f"recall_{sign}"] = f"there is no {sign} reward"
                if not self.predicted_signs[sign].compute():
                    reasons[f"precision_{sign}"] = f"no {sign} reward is predicted"
        if "terminals" in found:
            if not found["terminals"]:
                reasons["terminal_recall"] = "there is no end"
            if not self.predicted_ends.compute():
                reasons["terminal_precision"] = "no end is predicted"
        if "return_pearson_correlation" in found and not found["return_pearson_correlation"].isfinite():
            alike = "all returns, or all predicted ones, are alike"
            reasons |= dict.fromkeys(("return_pearson_correlation", "return_spearman_correlation"), alike)
        if "preference_accuracy" in found and not found["preference_accuracy"].isfinite():
            reasons["preference_accuracy"] = "no two returns differ"
        others = (name for name, value in found.items() if name not in reasons and not value.isfinite())
        return reasons | dict.fromkeys(others, "it is not a finite number")

    def reset(self) -> None:
        """Resets all metrics."""
        for module in self.modules():
            if isinstance(module, Metric):
                module.reset()


class PreferenceAccuracy(Metric):
    """Share of pairs of segments with different true returns whose predicted returns have the same order; equal
    predictions count 0.5, which is chance level."""

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
        agreement = 0.5 + 0.5 * truth * (predicted[:, None] - predicted).sign()
        return agreement[truth != 0].mean()


class StateErrors(AdditiveMetric):
    """Root mean squared error of each of `horizon` steps, over all clips and numbers of a state, in standard deviations
    of the data, beside that of expecting no change."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.add_sums("imagined", "unchanged", "count", shape=(horizon,))

    def update(self, imagined: Tensor, given: Tensor, truth: Tensor) -> None:
        """Normalised states: `imagined` and `truth` [B, h, n], and the last observed one `given` [B, n]."""
        self.imagined += (imagined - truth).square().mean(-1).sum(0)
        self.unchanged += (given[:, None] - truth).square().mean(-1).sum(0)
        self.count += len(truth)

    def compute(self) -> dict[str, Tensor]:
        """[h] of the imagined states ("") and of no change ("unchanged"); NaN without data."""
        errors = {"": self.imagined, "unchanged": self.unchanged}
        return {name: (total / self.count).sqrt().float() for name, total in errors.items()}
