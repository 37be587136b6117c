"""PSNR and SSIM against horizon."""

import pytest
import torch
from torchmetrics.image import StructuralSimilarityIndexMeasure

from genie.metrics.psnr import HorizonPSNR, HorizonSSIM


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


def test_ssim_of_every_horizon_is_that_of_its_own_frames_and_a_mean_over_clips():
    target = torch.rand(3, 2, 3, 16, 16)
    predicted = target.clone()
    predicted[:, 1] = (predicted[:, 1] + 0.2 * torch.rand(3, 3, 16, 16)).clamp(0, 1)
    metric = HorizonSSIM(2)
    for part in (slice(0, 2), slice(2, 3)):
        metric.update(predicted[part], target[part])
    known = StructuralSimilarityIndexMeasure(data_range=1.0)(predicted[:, 1], target[:, 1])
    assert metric.compute().tolist() == pytest.approx([1, known.item()], abs=1e-5) and known < 0.98


@pytest.mark.parametrize("kind", [HorizonPSNR, HorizonSSIM])
def test_autocast_around_them_changes_nothing(kind):
    target = 0.4 + 0.01 * torch.rand(3, 2, 3, 16, 16)
    usual, around = kind(2), kind(2)
    usual.update(target + 0.003, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around.update(target + 0.003, target)
    assert torch.equal(usual.compute(), around.compute())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_counted_is_no_number():
    assert HorizonPSNR(2).compute().isnan().all() and HorizonSSIM(2).compute().isnan().all()
