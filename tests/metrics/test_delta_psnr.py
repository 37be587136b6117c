"""ΔtPSNR: what it is on videos whose errors are known."""

import math

import pytest
import torch

from genie.metrics.psnr import ROUNDING_ERROR, DeltaPSNR, psnr


def videos(errors, frames=4):
    """Truth and a video whose clip i is off by errors[i] everywhere: PSNR -20 log10(error)."""
    truth = torch.full((len(errors), frames, 3, 8, 8), 0.4)
    return truth, truth + torch.tensor(errors)[:, None, None, None, None]


def measure(target, inferred, random, **settings):
    metric = DeltaPSNR(**settings)
    metric.update(target, inferred, random)
    return metric.compute().item()


def test_it_is_the_difference_of_the_two_psnrs():
    truth, near = videos([0.01])
    _, far = videos([0.1])
    assert measure(truth, near, far) == pytest.approx(20, abs=1e-3)
    assert measure(truth, far, near) == pytest.approx(-20, abs=1e-3)
    assert measure(truth, far, far) == 0


def test_only_frame_t_counts():
    truth, near = videos([0.01])
    _, far = videos([0.1])
    far[:, [0, 2, 3]] = torch.rand(3, 3, 8, 8)
    assert measure(truth, near, far, t=2) == pytest.approx(20, abs=1e-3)
    assert measure(truth, near, far, t=1) != pytest.approx(20, abs=1e-3)


def test_clips_are_averaged_in_decibels_and_pooled_ones_in_squared_errors():
    truth, inferred = videos([0.1, 0.01])
    _, random = videos([0.1, 0.1])
    assert measure(truth, inferred, random) == pytest.approx((0 + 20) / 2, abs=1e-2)
    pooled = 10 * math.log10(0.1**2 / ((0.1**2 + 0.01**2) / 2))
    assert measure(truth, inferred, random, average="pooled") == pytest.approx(pooled, abs=1e-2)


def test_equal_frames_count_as_rounded_ones_not_as_infinitely_alike():
    truth, far = videos([0.1])
    assert measure(truth, truth, far) == pytest.approx(-10 * math.log10(ROUNDING_ERROR) - 20, abs=1e-3)
    assert measure(truth, truth, truth) == 0
    assert psnr(torch.tensor(0.0)) == pytest.approx(58.92, abs=0.01)


@pytest.mark.parametrize("average", ["clip", "pooled"])
def test_batches_of_any_size_give_the_same(average):
    generator = torch.Generator().manual_seed(0)
    truth, inferred, random = (torch.rand(5, 4, 3, 8, 8, generator=generator) for _ in range(3))
    metric = DeltaPSNR(average=average)
    for part in (slice(0, 1), slice(1, 5)):
        metric.update(truth[part], inferred[part], random[part])
    assert metric.compute().item() == pytest.approx(measure(truth, inferred, random, average=average), abs=1e-5)


def test_what_cannot_be_measured_is_refused():
    truth, near = videos([0.01], frames=3)
    with pytest.raises(ValueError, match="at least 4 frames"):
        DeltaPSNR(t=4).update(truth, near, near)
    with pytest.raises(ValueError, match="t=0"):
        DeltaPSNR(t=0)
    with pytest.raises(ValueError, match="clip, pooled"):
        DeltaPSNR(average="median")
