import pytest
import torch
from torch.nn import functional as F

from genie.models.delta import DeltaModel, Prediction
from genie.models.initialization import initialize


def make(head="gaussian", num_members=3, **options):
    options = {"circles": [], "num_actions": None, "action_size": 2} | options
    model = DeltaModel(4, num_members=num_members, head=head, width=8, num_layers=2, head_layers=1, **options)
    initialize(model, 0)
    return model


def test_members_share_nothing_but_their_inputs():
    model = make()
    states, actions = torch.randn(5, 4), torch.rand(5, 2)
    delta = model.predict(states, actions).delta
    assert (delta.std(0) > 1e-3).all()
    delta[1].sum().backward()
    first = model.members[0].weight.grad.unflatten(0, (3, -1))
    assert first[1].abs().max() > 0 and not first[[0, 2]].any()


def test_each_member_goes_on_from_a_state_of_its_own():
    model, actions = make(), torch.rand(5, 2)
    states = torch.randn(3, 5, 4)
    together = model.predict(states, actions).delta
    for member in range(3):
        torch.testing.assert_close(together[member], model.predict(states[member], actions).delta[member])


def test_changes_are_in_units_of_the_usual_one_and_what_never_changes_is_not_blown_up():
    model = make("deterministic")
    model.start_from(mean=torch.ones(4), std=torch.tensor([2.0, 1, 1, 0]), change=torch.tensor([0.5, 1, 1, 0]))
    states, following = torch.ones(1, 4), torch.tensor([[2.0, 1, 1, 1]])
    assert model.target(states, following).tolist() == [[2, 0, 0, 0]]
    assert model.normalized(torch.full((1, 4), 3.0)).tolist() == [[1, 2, 2, 2]]
    delta = model.target(states, following).expand(3, -1, -1)
    torch.testing.assert_close(model.following(states, delta), following.expand(3, -1, -1))


def test_gaussian_heads_have_the_likelihood_of_torch_and_bounded_variances():
    model, target = make(), torch.randn(5, 4)
    found = model.predict(torch.randn(5, 4), torch.rand(5, 2))
    wanted = F.gaussian_nll_loss(found.delta, target.expand(3, -1, -1), found.log_variance.exp())
    torch.testing.assert_close(found.loss(target), wanted)
    assert Prediction(target[None], None).loss(target) == 0
    with torch.no_grad():
        model.members[-1].weight *= 1000
        spread = model.predict(torch.randn(50, 4), torch.rand(50, 2)).log_variance
    assert spread.min() >= -10.01 and spread.max() <= 1.01 and spread.max() - spread.min() > 5


def test_angles_and_range():
    model = make(circles=[[0, 2]])
    model.start_from(low=torch.tensor([-1.0, 0, -1, 0]), high=torch.tensor([1.0, 2, 1, 2]))
    off = torch.tensor([[0.6, 1, 1.2, 5]])
    there = model.settled(off)
    assert there[0].tolist() == pytest.approx([0.6 / 1.8**0.5, 1, 1.2 / 1.8**0.5, 5])
    inside = torch.tensor([[0.6, 2.2, 0.8, 0]])
    assert model.violation(inside, 0.1) < 1e-12
    assert model.violation(inside, 0.05) == pytest.approx(0.1**2 / 4)
    assert model.violation(torch.tensor([[0.6, 1, 0.9, 1]]), 0.1) == pytest.approx(0.17**2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "laplace"}, "head='laplace': choose one of gaussian, deterministic"),
        ({"circles": [[0, 4]]}, "circles"),
        ({"num_members": 0}, "num_members=0"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)
