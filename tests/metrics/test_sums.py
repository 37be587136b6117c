"""Results of metrics keep their shapes, whatever their size."""

import pickle

import pytest
import torch

from genie.metrics.objects import ObjectSurvival
from genie.metrics.psnr import HorizonPSNR
from genie.metrics.sums import AdditiveMetric


class Total(AdditiveMetric):
    """[count] sums."""

    def __init__(self, count):
        super().__init__()
        self.add_sums("total", shape=(count,))

    def update(self, values):
        self.total += values

    def compute(self):
        """The sums."""
        return {"total": self.total, "several": [self.total], "none": None}


@pytest.mark.parametrize("count", [1, 3])
def test_a_result_keeps_its_shape_and_what_follows_does_not_change_it(count):
    metric = Total(count)
    metric.update(torch.ones(count))
    found = metric.compute()
    assert found is metric.compute() and found["none"] is None  # not computed again
    metric.update(torch.ones(count))
    assert found["total"].tolist() == found["several"][0].tolist() == [1] * count
    assert metric.compute()["total"].tolist() == [2] * count
    assert metric(torch.ones(count))["total"].tolist() == [1] * count  # of the batch alone
    metric.reset()
    metric.update(torch.ones(count))
    assert metric.compute()["total"].tolist() == [1] * count and metric.compute.__doc__ == "The sums."


def test_one_object_and_one_horizon_are_rows_of_one():
    survival, curve = ObjectSurvival(1), HorizonPSNR(1)
    frames = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    survival.update(frames, frames, torch.full((2, 3, 1, 2), 8.0), torch.zeros(3, 16, 16))
    curve.update(frames[:, :1], frames[:, 1:2])
    assert survival.compute()["survival"].shape == (1,) and curve.compute().shape == (1,)


def test_a_metric_can_be_sent_to_another_process():
    metric = pickle.loads(pickle.dumps(HorizonPSNR(1)))
    metric.update(torch.zeros(2, 1, 3, 4, 4), torch.ones(2, 1, 3, 4, 4))
    assert metric.compute().shape == (1,)
