import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from genie.models.rssm import draw, entropy, kl, log_probabilities

LOGITS = torch.tensor([[[2.0, 0.0, -3.0], [-50.0, 50.0, 0.0]]])  # one row, two groups of three classes


def test_a_share_is_spread_over_all_classes():
    probs = log_probabilities(LOGITS, 0.3).exp()
    torch.testing.assert_close(probs, 0.7 * LOGITS.softmax(-1) + 0.1)
    torch.testing.assert_close(log_probabilities(LOGITS, 0.0), LOGITS.log_softmax(-1))


def test_classes_come_as_often_as_they_are_likely_and_without_noise_the_likeliest():
    log_probs = log_probabilities(LOGITS, 0.1)
    noise = (torch.arange(1000) / 1000)[:, None].expand(-1, 2)
    drawn = draw(log_probs.expand(1000, -1, -1), noise)
    assert (drawn.sum(-1) == 1).all()
    torch.testing.assert_close(drawn.mean(0), log_probs[0].exp(), atol=2e-3, rtol=0)
    assert draw(log_probs, None).argmax(-1).tolist() == [[0, 1]]


def test_the_gradient_of_a_draw_is_that_of_the_probabilities():
    logits, weights = LOGITS.clone().requires_grad_(), torch.randn(LOGITS.shape)
    for noise in (None, torch.rand(1, 2)):
        drawn = draw(log_probabilities(logits, 0.01), noise)
        assert ((drawn == 0) | (drawn - 1).abs().lt(1e-6)).all()
        (straight,) = torch.autograd.grad((drawn * weights).sum(), logits)
        (wanted,) = torch.autograd.grad((log_probabilities(logits, 0.01).exp() * weights).sum(), logits)
        torch.testing.assert_close(straight, wanted)
        assert straight.abs().max() > 0.01


def test_divergence_and_entropy_are_those_of_torch():
    first, second = (log_probabilities(torch.randn(4, 2, 3), 0.01) for _ in range(2))
    ours, theirs = (Categorical(logits=part) for part in (first, second))
    torch.testing.assert_close(kl(first, second), kl_divergence(ours, theirs).sum(-1))
    torch.testing.assert_close(entropy(first), ours.entropy().sum(-1))
    assert kl(first, first).tolist() == pytest.approx([0] * 4, abs=1e-6)
