"""Agreement of latent with true actions: values worked out by hand."""

import pytest
import torch

from genie.metrics.actions import (
    ActionAlignment,
    ExplainedActions,
    best_matching,
    grouped,
    matched_accuracy,
    normalized_mutual_information,
)


def test_mutual_information_over_the_mean_entropy():
    # two actions share a code: I = ln 2, H(latent) = ln 2, H(true) = 1.5 ln 2
    table = torch.tensor([[1, 1, 0], [0, 0, 2]])
    assert normalized_mutual_information(table).item() == pytest.approx(1 / 1.25)
    assert normalized_mutual_information(table * 1000).item() == pytest.approx(1 / 1.25)
    assert normalized_mutual_information(table.T).item() == pytest.approx(1 / 1.25)


def test_the_best_matching_is_found_where_the_greedy_one_is_not():
    assert matched_accuracy(torch.tensor([[10.0, 9], [9, 0]])).item() == pytest.approx(18 / 28)
    wide = torch.tensor([[5.0, 0, 1], [0, 4, 0]])  # fewer codes than actions, and more
    assert matched_accuracy(wide).item() == matched_accuracy(wide.T).item() == pytest.approx(0.9)


def test_the_matching_names_the_true_action_of_each_latent_one():
    assert best_matching(torch.tensor([[10.0, 9], [9, 0]])).tolist() == [1, 0]
    table = torch.tensor([[5.0, 0], [4, 3], [0, 2]])  # a code too many: the worst pairing stays alone
    assert best_matching(table).tolist() == [0, 1, -1]
    assert best_matching(table.T).tolist() == [0, 1]
    metric = ActionAlignment(3, 2)
    metric.update(torch.tensor([0, 2, 2]), torch.tensor([1, 0, 0]))
    values = metric.compute()
    assert values["matching"].tolist() == [1, -1, 0] and values["confusion"].tolist() == [[0, 1], [0, 0], [2, 0]]


def test_nothing_counted_is_nothing_shared():
    assert normalized_mutual_information(torch.zeros(2, 3)) == 0
    assert matched_accuracy(torch.zeros(2, 3)) == 0


def test_batches_add_up_and_a_reset_forgets():
    metric = ActionAlignment(2, 3)
    metric.update(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[2, 0], [0, 1]]))
    metric.update(torch.tensor([1]), torch.tensor([1]))
    assert metric.confusion.tolist() == [[0, 0, 1], [2, 2, 0]]
    metric.reset()
    assert metric.confusion.sum() == 0


def test_groups_of_actions_of_one_effect():
    """Codes 0 and 2 are both "left" (actions 0, 1), code 1 is "jump" (action 2) and half the time nothing (3, 4)."""
    confusion = torch.tensor([[5, 5, 0, 0, 0], [0, 0, 4, 2, 2], [3, 7, 0, 0, 0]], dtype=torch.float64)
    found = grouped(confusion, [0, 0, 1, 2, 2])
    assert found["accuracy"] == pytest.approx((10 + 4 + 10) / 28) and found["majority"] == pytest.approx(20 / 28)
    merged = torch.tensor([[10, 0, 0], [0, 4, 4], [10, 0, 0]], dtype=torch.float64)
    assert found["nmi"] == pytest.approx(float(normalized_mutual_information(merged)))
    assert found["nmi"] > normalized_mutual_information(confusion)


def test_variance_of_continuous_actions_that_latent_ones_explain():
    metric = ExplainedActions(3, 3)
    # the first number is told by the code, the second has no relation to it, the third never changes
    for codes, sign in (([[0, 1], [0, 1]], 1.0), ([[1, 0]], -1.0), ([[0, 1]], -1.0)):
        codes = torch.tensor(codes)
        true = torch.stack([codes * 2.0 - 1, torch.full(codes.shape, sign), torch.full(codes.shape, 0.3)], dim=-1)
        metric.update(codes, true)
    found = metric.compute()
    assert found["by_number"].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert found["explained"].item() == pytest.approx(1 / 3)
    half = ExplainedActions(2, 1)  # means -1 and 1 of the codes, with a variance of 1 in each: 1 / (1 + 1)
    half.update(torch.tensor([0, 0, 1, 1]), torch.tensor([[-2.0], [0.0], [0.0], [2.0]]))
    assert half.compute()["explained"].item() == pytest.approx(0.5)
    assert ExplainedActions(2, 1).compute()["explained"] == 0
