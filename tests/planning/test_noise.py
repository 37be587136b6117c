"""What planners draw: the right distributions, in time too."""

import pytest
import torch

from genie.planning.distributions import Categorical, Gaussian, PlanNoise


@pytest.fixture(scope="module")
def draw():
    noise = PlanNoise(torch.arange(4))
    return lambda hold=1, colour=0.0: noise.normal(0, (500, 16, 2), hold, colour)


@pytest.mark.parametrize("settings", [{}, {"hold": 3}, {"colour": 2.0}, {"hold": 2, "colour": 1.0}])
def test_every_number_is_normal(draw, settings):
    z = draw(**settings)
    assert z.isfinite().all()
    assert z.mean((0, 1, 3)).abs().max() < 0.08 and (z.std((0, 1, 3)) - 1).abs().max() < 0.08


def test_held_draws_stay_for_their_mean_time(draw):
    z = draw(hold=4)
    stays = (z[:, :, 1:] == z[:, :, :-1]).float().mean()
    assert float(stays) == pytest.approx(3 / 4, abs=0.02)


def test_coloured_draws_are_slow(draw):
    def correlation(z):
        return float((z[:, :, 1:] * z[:, :, :-1]).mean())

    assert abs(correlation(draw())) < 0.03
    assert 0.3 < correlation(draw(colour=1.0)) < correlation(draw(colour=3.0))


def test_the_share_of_each_action_is_its_probability(draw):
    shares = torch.tensor([0.1, 0.6, 0.3])
    drawn = Categorical(shares.expand(4, 16, 3)).draw(draw(hold=2)[..., :1])
    found = torch.stack([(drawn == action).float().mean() for action in range(3)])
    assert torch.allclose(found, shares, atol=0.02)


def test_held_noise_holds_discrete_actions(draw):
    drawn = Categorical(torch.full((4, 16, 5), 0.2)).draw(draw(hold=4)[..., :1])
    assert float((drawn[..., 1:] == drawn[..., :-1]).float().mean()) == pytest.approx(3 / 4 + 1 / 4 / 5, abs=0.03)


def test_weights_move_a_distribution():
    candidates = torch.tensor([[[0, 1], [2, 1], [2, 0]]])  # one state, three candidates of two steps
    weights = torch.tensor([[0.5, 0.25, 0.25]])
    fitted = Categorical(torch.full((1, 2, 3), 1 / 3)).fitted(candidates, weights)
    assert torch.allclose(fitted.probabilities, torch.tensor([[[0.5, 0, 0.5], [0.25, 0.75, 0]]]))
    soft = fitted.softened(0, 0.3).probabilities
    assert torch.allclose(soft, 0.7 * fitted.probabilities + 0.1)
    numbers = torch.tensor([[[[1.0]], [[0.0]], [[-1.0]]]])
    gaussian = Gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)).fitted(numbers, weights)
    assert float(gaussian.mean) == pytest.approx(0.25)
    assert float(gaussian.std) == pytest.approx((0.5 * 0.75**2 + 0.25 * 0.25**2 + 0.25 * 1.25**2) ** 0.5)
