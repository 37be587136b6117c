import pytest
import torch

from genie.stages.actor_critic import ReturnRange, lambda_returns, still_running


def test_returns_are_those_of_a_calculation_by_hand():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    on = torch.ones(1, 3)
    # the last: 3 + 0.5 · 30; before it: 2 + 0.5 · (half of 20 and half of 18); the first: 1 + 0.5 · (5 + 5.75)
    assert lambda_returns(rewards, on, values, 0.5, 0.5).tolist() == [[6.375, 11.5, 18.0]]
    assert lambda_returns(rewards, on, values, 0.5, 0.0).tolist() == [[6.0, 12.0, 18.0]]  # one step and the value
    assert lambda_returns(rewards, on, values, 0.5, 1.0).tolist() == [[6.5, 11.0, 18.0]]  # all steps, the last value


def test_returns_are_the_mean_of_n_step_returns():
    """λ-returns by their definition: of all n, with weights (1-λ) λ^(n-1), the last taking what is left."""
    rewards, continues, values = torch.rand(3, 4, 6, dtype=torch.float64)
    discount, mixing = 0.9, 0.7
    returns = lambda_returns(rewards, continues, values, discount, mixing)
    for row in range(4):
        for start in range(6):
            expected, reached, earned = 0.0, 1.0, 0.0
            for n in range(1, 6 - start + 1):
                step = start + n - 1
                earned += reached * rewards[row, step]
                reached *= discount * continues[row, step]
                weight = mixing ** (n - 1) * (1 if step == 5 else 1 - mixing)
                expected += weight * (earned + reached * values[row, step])
            assert returns[row, start] == pytest.approx(float(expected))


def test_nothing_is_worth_anything_behind_an_end():
    rewards, values = torch.rand(1, 5), torch.rand(1, 5)
    continues = torch.tensor([[1.0, 0.0, 1.0, 1.0, 1.0]])
    before = lambda_returns(rewards, continues, values, 0.9, 0.8)
    rewards[:, 2:], values[:, 1:] = 100, 100
    after = lambda_returns(rewards, continues, values, 0.9, 0.8)
    assert torch.equal(before[:, :2], after[:, :2]) and not torch.equal(before[:, 2:], after[:, 2:])


def test_steps_behind_an_end_do_not_count():
    continues = torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]])
    running = still_running(continues, torch.tensor([1.0, 1.0, 0.0]))
    assert running.tolist() == [[1, 1, 0], [1, 0.5, 0.25], [0, 0, 0]]


def test_the_range_is_that_of_the_returns_that_count():
    scale, on = ReturnRange(decay=0.5, least=1.0), torch.ones(1, 101)
    assert scale.scale == 1
    returns = torch.arange(101.0)[None]
    scale.update(returns, on)
    assert scale.scale == pytest.approx(90)  # the first is taken as it is
    scale.update(2 * returns, on)
    assert scale.scale == pytest.approx(135)
    off = on * (returns < 50)
    scale.update(returns, off)
    assert scale.scale == pytest.approx((135 + 0.9 * 49) / 2, rel=1e-3)
    scale.update(torch.full_like(returns, 1e9), torch.zeros_like(on))
    assert scale.scale == pytest.approx((135 + 0.9 * 49) / 2, rel=1e-3)
    for _ in range(12):
        scale.update(torch.zeros_like(returns), on)
    assert scale.scale == 1
