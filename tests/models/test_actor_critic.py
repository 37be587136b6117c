import math

import pytest
import torch

from genie.models.actor_critic import LARGEST_ACTION, Actor, CategoricalActions, TanhNormal


def grid(count):
    """Uniform noise, evenly spaced."""
    return (torch.arange(count) + 0.5)[:, None] / count


def test_a_categorical_draws_its_probabilities_and_rules_nothing_out():
    logits = torch.tensor([0.0, 1.0, -30.0])
    distribution = CategoricalActions(logits)
    assert distribution.probabilities[2] == pytest.approx(0.01 / 3)
    drawn = CategoricalActions(logits.expand(30000, 3)).sample(grid(30000))
    shares = drawn.bincount(minlength=3) / 30000
    torch.testing.assert_close(shares, distribution.probabilities, atol=1e-4, rtol=0)
    assert drawn.dtype == torch.int64 and distribution.mode() == 1


def test_the_logarithms_and_entropy_of_a_categorical():
    distribution = CategoricalActions(torch.randn(4, 5))
    logs = torch.stack([distribution.log_prob(torch.full((4,), action)) for action in range(5)], dim=1)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(4))
    torch.testing.assert_close(distribution.entropy(), -(logs.exp() * logs).sum(1))


@pytest.mark.parametrize("mean", [0.0, 0.7, -2.0])
@pytest.mark.parametrize("spread", [-2.0, -5.0])
def test_a_tanh_normal_is_the_density_that_it_draws(mean, spread):
    """Its density integrates to one and to what is drawn, and its entropy is the mean of -log p over what is drawn."""
    values = torch.tensor([mean, spread], dtype=torch.float32)
    count = 20001
    distribution = TanhNormal(values.expand(count, 2))
    drawn = distribution.sample(grid(count))
    places = torch.linspace(-LARGEST_ACTION, LARGEST_ACTION, count)[:, None]
    density = distribution.log_prob(places).exp()
    assert torch.trapezoid(density, places[:, 0]) == pytest.approx(1, abs=5e-3)
    assert torch.trapezoid(density * places[:, 0], places[:, 0]) == pytest.approx(float(drawn.mean()), abs=5e-3)
    assert distribution.entropy()[0] == pytest.approx(-float(distribution.log_prob(drawn).mean()), abs=0.02)
    assert drawn.abs().max() <= LARGEST_ACTION


def test_any_noise_and_any_recorded_action_have_a_finite_probability():
    distribution = TanhNormal(torch.tensor([[9.0, 3.0], [-9.0, -9.0]]))
    for noise in (torch.zeros(2, 1), torch.full((2, 1), 1 - 2.0**-24)):
        assert distribution.log_prob(distribution.sample(noise)).isfinite().all()
    assert distribution.log_prob(torch.tensor([[1.0], [-1.0]])).isfinite().all()


def test_an_actor_begins_undecided():
    features = torch.randn(6, 3)
    discrete = Actor((3,), 4, None, width=8, num_layers=1)
    torch.nn.init.zeros_(discrete.head.weight), torch.nn.init.zeros_(discrete.head.bias)
    torch.testing.assert_close(discrete(features).entropy(), torch.full((6,), math.log(4)))
    continuous = Actor((3,), None, 2, width=8, num_layers=1)
    assert continuous(features).mode().shape == (6, 2) and continuous(features).noise_size == 2
    for wrong in ((None, None), (3, 1)):
        with pytest.raises(ValueError, match="give one of them"):
            Actor((3,), *wrong, width=8, num_layers=1)
