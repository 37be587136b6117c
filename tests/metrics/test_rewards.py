"""Figures of a reward model that never errs, of one that always says nothing, and of one that is too sure."""

import pytest
import torch

from genie.metrics.rewards import PreferenceAccuracy, RewardMetrics
from genie.models.heads import Judged, RewardModel

pytestmark = pytest.mark.filterwarnings("error:Metric `Spearman.*", "error:The variance of predictions.*")
REWARDS = torch.tensor([[0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.float32)
TERMINALS = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
MODEL = RewardModel((2,), "state", 8, 1, 8, num_bins=7, limit=torch.tensor(2.0).log1p().item() * 3)


def judged(rewards, ended, sure=20.0):
    """What a model says that puts all but e^-sure on each of these rewards, and ends where `ended` is."""
    logits = sure * MODEL.reward.two_hot(rewards)
    ends = sure * (1 - 2 * ended.float())
    return Judged(MODEL.reward.mean(logits), ends.sigmoid(), ends, logits)


def figures(kind, said, rewards=REWARDS, terminals=TERMINALS, discount=1.0):
    metrics = RewardMetrics(kind, discount)
    last = torch.zeros(len(rewards), 1)  # the step behind the last frame is in no clip
    batch = {"rewards": torch.cat([rewards, 9 + last], 1), "terminals": torch.cat([terminals, last.bool()], 1)}
    metrics.update(said, batch)
    return {name: value.item() for name, value in metrics.compute().items()}


def test_one_that_never_errs():
    values = figures("state", judged(REWARDS * 2, TERMINALS), REWARDS * 2)
    for name in ("precision_positive", "recall_positive", "precision_negative", "recall_negative", "terminal_recall",
                 "terminal_precision", "preference_accuracy", "return_pearson_correlation"):  # fmt: skip
        assert values[name] == pytest.approx(1, abs=1e-4), name
    assert values["reward_mse"] < 1e-3 and values["positive_calibration_error"] < 1e-3
    assert values["reward_mean"] == pytest.approx(values["reward_mean_true"], abs=1e-3) == 0.25
    assert values["reward_mse_always_zero"] == 1 and values["reward_mse_always_mean"] == 1 - 0.25**2
    assert values["terminals"] == 1


def test_one_that_always_says_nothing():
    values = figures("state", judged(REWARDS * 0, TERMINALS & False))
    assert values["recall_positive"] == values["recall_negative"] == values["terminal_recall"] == 0
    for name in ("precision_positive", "precision_negative", "terminal_precision", "return_pearson_correlation"):
        assert name not in values  # it predicts none: there is nothing to take a share of
    assert values["reward_mse"] == pytest.approx(values["reward_mse_always_zero"], abs=1e-3)
    assert values["preference_accuracy"] == 0.5
    assert values["positive_calibration_error"] == pytest.approx(3 / 16, abs=1e-3)


def test_what_there_is_no_case_of_is_not_measured_and_says_so():
    metrics = RewardMetrics("state", 1.0)
    batch = {"rewards": torch.zeros(4, 5), "terminals": torch.zeros(4, 5, dtype=torch.bool)}
    metrics.update(judged(REWARDS, TERMINALS), batch)
    values = metrics.compute()
    assert all(value.isfinite() for value in values.values()) and values["precision_positive"] == 0
    assert (
        metrics.not_measured.items()
        >= {
            "recall_positive": "there is no positive reward",
            "recall_negative": "there is no negative reward",
            "terminal_recall": "there is no end",
            "preference_accuracy": "no two returns differ",
        }.items()
    )
    assert not values.keys() & metrics.not_measured.keys()


def test_one_that_is_too_sure():
    """It says a reward at every step; a sixteenth of them is negative, three are positive."""
    values = figures("state", judged(torch.full_like(REWARDS, 2.0), ~TERMINALS & False))
    assert values["recall_positive"] == 1 and values["precision_positive"] == pytest.approx(3 / 16)
    assert values["positive_calibration_error"] == pytest.approx(13 / 16, abs=1e-3)
    assert values["terminal_recall"] == 0 and values["terminal_calibration_error"] == pytest.approx(1 / 16, abs=1e-3)


def test_returns_are_discounted():
    later = torch.tensor([[0.0, 0, 0, 1], [0.5, 0, 0, 0], [0, 0, 0, 0]])
    said = judged(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]) * 2, later < 0)
    for discount, right in ((1.0, 2.5), (0.5, 1.5)):  # of three pairs; two returns that are said are equal
        values = figures("preference", said, later, later < 0, discount)
        assert values["preference_accuracy"] == pytest.approx(right / 3)
        assert "reward_mse" not in values and "recall_positive" not in values  # its units are its own


def test_preferences_count_over_all_batches():
    metric = PreferenceAccuracy()
    for value in (3.0, 1.0, 2.0):
        metric.update(torch.tensor([value]), torch.tensor([-value]))
    assert metric.compute() == 0
    metric.update(torch.tensor([4.0, 4.0]), torch.tensor([7.0, 7.0]))  # a pair of equals does not count
    assert metric.compute() == 6 / 9
