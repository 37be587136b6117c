"""Intervals over clips hold what they should 95 times of 100, with clips whose frames are alike or not."""

import pytest
import torch

from genie.metrics.intervals import ClipSums, wilson


def added(sums, other):
    return ClipSums(*(getattr(sums, name) + getattr(other, name) for name in vars(sums)))


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_true_share_is_inside_as_often_as_it_says(share, alike):
    """1,000 trials at once of 40 clips with 0 to 8 frames each."""
    whole = torch.randint(0, 9, (40, 1000)).double()
    hits = torch.rand(40, 8, 1000) < share
    if alike:
        hits = hits[:, :1].expand(-1, 8, -1)  # a clip is right or wrong as a whole
    counted = torch.arange(8)[None, :, None] < whole[:, None]
    low, high = ClipSums.of((hits & counted).sum(1), whole).share_interval()
    inside = ((low <= share) & (share <= high)).double().mean()
    assert 0.87 < inside < 0.98  # the least where few clips miss, some of them long and some short
    # frames that are alike say less
    expected = share * (1 - share) / (40 if alike else 160)
    assert (high - low).mean().item() == pytest.approx(2 * 1.96 * expected**0.5, rel=0.3)


def test_a_mean_over_clips():
    whole = torch.randint(1, 9, (40, 1000)).double()
    values = whole * (3 + torch.randn(40, 1000))
    low, high = ClipSums.of(values, whole).mean_interval()
    assert 0.9 < ((low <= 3) & (high >= 3)).double().mean() < 0.98


def test_sums_of_batches_add_up():
    part, whole = torch.rand(9, 3), torch.rand(9, 3) + 1
    both = added(ClipSums.of(part[:4], whole[:4]), ClipSums.of(part[4:], whole[4:]))
    for one, other in zip(both.share_interval(), ClipSums.of(part, whole).share_interval(), strict=True):
        assert torch.allclose(one, other)


def test_few_and_certain_ones():
    one = ClipSums.of(torch.tensor([[2.0, 0.0]]), torch.tensor([[4.0, 0.0]]))  # a single clip; no clip at all
    low, high = one.share_interval()
    assert low[0] < 0.1 and high[0] > 0.9 and low[1].isnan() and high[1].isnan()
    assert one.mean_interval()[0].isnan().all()
    low, high = ClipSums.of(torch.full((10, 1), 4.0), torch.full((10, 1), 4.0)).share_interval()
    ten = wilson(torch.tensor(1.0), torch.tensor(10.0))[0].item()  # as sure as ten clips, not forty
    assert high.item() == pytest.approx(1) and low.item() == pytest.approx(ten)
