"""Code usage and the agreement of latent with true actions."""

import pytest
import torch

from genie.metrics.actions import ActionAlignment, CodeUsage


def test_usage_counts_codes_over_everything_seen():
    metric = CodeUsage(8)
    metric.update(torch.tensor([[0, 0], [0, 0]]))
    assert metric.compute()["usage"] == 1 / 8 and metric.compute()["perplexity"] == pytest.approx(1)
    metric.update(torch.tensor([1, 1, 1, 1]))
    assert metric.compute()["usage"] == 2 / 8 and metric.compute()["perplexity"] == pytest.approx(2)


def alignment(latent, true, num_latent=3, num_true=3):
    metric = ActionAlignment(num_latent, num_true)
    metric.update(torch.tensor(latent), torch.tensor(true))
    return metric


def test_renamed_actions_are_the_same_actions():
    values = alignment([2, 2, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2]).compute()
    assert values["nmi"] == pytest.approx(1) and values["accuracy"] == 1


def test_actions_that_say_nothing_have_no_information():
    unrelated = alignment([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]).compute()
    assert unrelated["nmi"] == pytest.approx(0, abs=1e-6) and unrelated["accuracy"] == pytest.approx(1 / 3)
    constant = alignment([1] * 6, [0, 0, 0, 0, 1, 2]).compute()
    assert constant["nmi"] == pytest.approx(0, abs=1e-6) and constant["accuracy"] == pytest.approx(4 / 6)


def test_a_code_matches_one_action_only():
    """Two codes for one action: one of them finds no partner."""
    values = alignment([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1]).compute()
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert 0 < values["nmi"] < 1


def test_the_table_counts_pairs_in_its_own_order():
    confusion = alignment([0, 0, 1], [3, 3, 2], num_latent=2, num_true=4).confusion
    assert confusion.tolist() == [[0, 0, 0, 2], [0, 0, 1, 0]]
