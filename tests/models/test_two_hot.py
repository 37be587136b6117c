"""Numbers as distributions over bins: what goes in comes out, and what is learned is the mean."""

import pytest
import torch

from genie.models.heads import TwoHotHead, symexp, symlog
from genie.models.initialization import initialize


def test_symlog_and_its_inverse():
    values = torch.tensor([-1000.0, -1.0, -0.01, 0.0, 0.01, 1.0, 1000.0])
    assert torch.allclose(symexp(symlog(values)), values, rtol=1e-5)
    assert symlog(values)[2:5].allclose(values[2:5], atol=1e-4)


def test_the_mean_of_two_hot_weights_is_the_number():
    head = TwoHotHead(4)
    values = torch.tensor([-1096.0, -3.3, -0.5, 0.0, 1e-3, 0.7, 1.0, 21.0, 900.0])
    weights = head.two_hot(values)
    assert torch.allclose(weights.sum(-1), torch.ones(9)) and (weights > 0).sum(-1).max() == 2
    assert torch.allclose(head.mean(weights.clamp_min(1e-30).log()), values, rtol=1e-3, atol=1e-4)
    assert head.two_hot(torch.tensor([1e9]))[0, -1] == 1  # beyond the last bin


def test_it_begins_at_zero_and_learns_the_mean():
    head = TwoHotHead(4)
    initialize(head, seed=0)
    hidden, targets = torch.ones(8, 4), torch.tensor([0.0, 0, 0, 0, 0, 0, 10, 10])
    assert head.mean(head(hidden)).abs().max() == 0
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        head.loss(head(hidden), targets).mean().backward()
        optimizer.step()
    assert head.mean(head(hidden))[0].item() == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("num_bins", [0, 1, 64])
def test_bins_without_a_zero_are_refused(num_bins):
    with pytest.raises(ValueError, match="odd"):
        TwoHotHead(4, num_bins)
