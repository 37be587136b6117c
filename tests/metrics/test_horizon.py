"""PSNR against horizon."""

import pytest
import torch

from genie.metrics.horizon import HorizonPSNR


def test_every_horizon_has_the_psnr_of_its_own_frames():
    target = torch.full((2, 3, 3, 8, 8), 0.5)
    errors = torch.tensor([0.1, 0.01, 0.001])
    metric = HorizonPSNR(3)
    metric.update(target + errors[:, None, None, None], target)
    assert metric.compute().tolist() == pytest.approx([20, 40, 58.92], abs=0.05)  # the last is below rounding


def test_clips_are_pooled_whatever_their_batches():
    target = torch.zeros(3, 1, 1, 4, 4)
    predicted = torch.tensor([0.0, 0.0, 0.3])[:, None, None, None, None].expand_as(target)
    whole, parts = HorizonPSNR(1), HorizonPSNR(1)
    whole.update(predicted, target)
    parts.update(predicted[:1], target[:1])
    parts.update(predicted[1:], target[1:])
    expected = -10 * torch.tensor(0.3**2 / 3).log10().item()
    assert whole.compute().item() == pytest.approx(expected, abs=1e-4)
    assert parts.compute().item() == pytest.approx(expected, abs=1e-4)


def test_one_frame_may_stand_for_all_horizons():
    target = torch.rand(2, 5, 3, 8, 8)
    copied, spread = HorizonPSNR(5), HorizonPSNR(5)
    copied.update(target[:, :1], target)
    spread.update(target[:, :1].expand_as(target), target)
    assert torch.equal(copied.compute(), spread.compute())
    assert copied.compute()[0] > 58 > copied.compute()[1]
