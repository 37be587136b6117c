import math

import pytest
import torch

from genie.stages.losses import pixel_weights, reconstruction_loss


def one(target):
    return torch.ones_like(target[:, :, :1])


def test_a_perfect_prediction_has_no_loss_and_another_has():
    target = torch.rand(2, 3, 3, 4, 4) * 0.98 + 0.01
    logits = target.logit()
    for kind in ("mse", "bce"):
        assert reconstruction_loss(logits, target, kind, one(target)).abs() < 1e-6
        losses = [reconstruction_loss(logits + shift, target, kind, one(target)) for shift in (-1, -0.1, 0.1, 1)]
        assert min(losses) > 1e-4 and losses[0] > losses[1] and losses[3] > losses[2]


def test_values():
    target, logits = torch.full((1, 2, 3, 2, 2), 0.25), torch.zeros(1, 2, 3, 2, 2)
    assert reconstruction_loss(logits, target, "mse", one(target)) == pytest.approx(0.0625)
    divergence = math.log(2) - (0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert reconstruction_loss(logits, target, "bce", one(target)) == pytest.approx(divergence, abs=1e-6)
    ends = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    assert reconstruction_loss(torch.zeros_like(ends), ends, "bce", one(ends)) == pytest.approx(math.log(2))


def test_cross_entropy_has_the_gradient_of_the_sigmoid():
    target, logits = torch.rand(1, 1, 1, 3, 3), torch.randn(1, 1, 1, 3, 3, requires_grad=True)
    reconstruction_loss(logits, target, "bce", one(target)).backward()
    torch.testing.assert_close(logits.grad, (logits.sigmoid() - target).detach() / 9)


def test_weights_count_the_largest_difference_of_the_channels():
    target, background, previous = torch.zeros(1, 2, 3, 2, 2), torch.zeros(3, 2, 2), torch.zeros(1, 2, 3, 2, 2)
    background[1, 0, 0] = 0.5
    background[2, 0, 0] = -0.25
    previous[0, 1, 0, 1, 1] = 1.0
    weights = pixel_weights(target, background, 10, previous, 4)
    expected = torch.ones(1, 2, 1, 2, 2)
    expected[:, :, 0, 0, 0] = 6
    expected[:, 1, 0, 1, 1] = 5
    torch.testing.assert_close(weights, expected)
    assert (pixel_weights(target, background) == 1).all()
    logits = torch.randn(1, 2, 3, 2, 2)
    plain = (logits.sigmoid() - target).square()
    torch.testing.assert_close(reconstruction_loss(logits, target, "mse", weights), (plain * expected).mean())


def test_unknown_loss():
    with pytest.raises(ValueError, match="reconstruction='l1': choose one of mse, bce"):
        reconstruction_loss(torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), "l1", torch.ones(1))


def test_no_operation_that_autocast_on_cuda_refuses(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("binary_cross_entropy is unsafe to autocast")

    monkeypatch.setattr(torch.nn.functional, "binary_cross_entropy", refuse)
    target = torch.rand(1, 1, 1, 2, 2)
    assert reconstruction_loss(torch.zeros_like(target), target, "bce", one(target)) >= 0
