import pytest
import torch

from genie.models import DynamicsModel
from genie.models.dynamics import CONDITIONINGS
from genie.models.initialization import initialize
from genie.models.st_transformer import Thin

CODES, ACTIONS = 10, 4
conditionings = pytest.mark.parametrize("conditioning", CONDITIONINGS)


def dynamics(conditioning="additive", **options):
    model = DynamicsModel(CODES, (2, 3), ACTIONS, 16, 2, 2, conditioning=conditioning, **options)
    initialize(model, 0)
    return model.eval()


def clip(frames=5):
    return torch.randint(CODES, (2, frames, 6)), torch.randint(ACTIONS, (2, frames - 1))


@conditionings
def test_action_t_acts_from_frame_t_plus_1_on(conditioning):
    model, (tokens, actions) = dynamics(conditioning), clip()
    for t in range(actions.shape[1]):
        changed = actions.clone()
        changed[:, t] = (changed[:, t] + 1) % ACTIONS
        difference = (model.hidden(tokens, changed) - model.hidden(tokens, actions)).abs().amax(dim=3)
        assert (difference[:, : t + 1] == 0).all()
        assert (difference[:, t + 1 :] > 0).all()  # every token of every sample


@conditionings
def test_tokens_of_a_frame_do_not_reach_earlier_ones(conditioning):
    model, (tokens, actions) = dynamics(conditioning), clip()
    changed = tokens.clone()
    changed[:, 3, 1] = (changed[:, 3, 1] + 1) % CODES
    difference = (model.hidden(changed, actions) - model.hidden(tokens, actions)).abs().amax(dim=3)
    assert (difference[:, :3] == 0).all()
    assert (difference[:, 3:] > 0).all()


@conditionings
def test_what_comes_out_at_a_place_belongs_to_it(conditioning):
    model, (tokens, actions), found = dynamics(conditioning), clip(), []
    for place in range(6):
        changed = tokens.clone()
        changed[:, 3, place] = (changed[:, 3, place] + 1) % CODES
        difference = (model.hidden(changed, actions) - model.hidden(tokens, actions)).norm(dim=3)[:, 3]
        found.append(difference.argmax(1) == place)
    assert torch.stack(found).float().mean() > 0.7  # by the residual stream, though not trained yet


@conditionings
def test_masked_tokens_are_hidden_from_the_model(conditioning):
    model, (tokens, actions) = dynamics(conditioning), clip()
    mask = torch.rand(tokens.shape) < 0.5
    logits = model(tokens, actions, mask)
    assert logits.shape == (mask.sum(), CODES) and logits.dtype == torch.float32
    others = torch.where(mask, (tokens + 1) % CODES, tokens)
    assert torch.equal(model(others, actions, mask), logits)
    others = torch.where(mask, tokens, (tokens + 1) % CODES)
    assert (model(others, actions, mask) - logits).abs().max() > 1e-3


def test_logits_come_in_the_order_of_the_targets():
    model, (tokens, actions) = dynamics(), clip()
    mask = torch.rand(tokens.shape) < 0.5
    everywhere = model.to_logits(model.hidden(tokens.masked_fill(mask, model.mask_token), actions))
    at = mask.nonzero()
    rows = torch.stack([everywhere[tuple(position)] for position in at])
    torch.testing.assert_close(model(tokens, actions, mask), rows)
    assert torch.equal(tokens[mask], torch.stack([tokens[tuple(position)] for position in at]))


@conditionings
def test_logits_of_the_last_frame(conditioning):
    model, (tokens, actions) = dynamics(conditioning), clip()
    mask = torch.zeros(tokens.shape, dtype=torch.bool)
    mask[:, -1] = True
    expected = model(tokens, actions, mask).view(2, 6, CODES)
    hidden = model.hidden(tokens.masked_fill(mask, model.mask_token), actions)
    torch.testing.assert_close(model.logits(hidden[:, -1]), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.logits(model.hidden(tokens, actions)).dtype == torch.float32


def test_one_frame_and_no_action():
    model = dynamics("film")
    out = model.logits(model.hidden(torch.randint(CODES, (2, 1, 6)), torch.zeros(2, 0, dtype=torch.int64)))
    assert out.shape == (2, 1, 6, CODES) and out.isfinite().all()


def test_unknown_conditioning():
    with pytest.raises(ValueError, match="conditioning='concat': choose one of additive, prepend, film"):
        dynamics("concat")


@conditionings
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_all_places_in_any_order_give_what_the_grid_gives(conditioning, positions):
    model, (tokens, actions) = dynamics(conditioning, transformer={"spatial_positions": positions}), clip()
    places = torch.stack([torch.randperm(6), torch.randperm(6)])
    thin = Thin(places, torch.ones(2, 6))
    context = torch.randint(CODES, tokens.shape)
    whole = model.hidden(tokens, actions), model.hidden_after(tokens, actions, context)
    some = (
        model.hidden(thin.of(tokens), actions, thin),
        model.hidden_after(thin.of(tokens), actions, thin.of(context), thin),
    )
    for expected, found in zip(whole, some, strict=True):
        index = places[:, None, :, None].expand(-1, expected.shape[1], -1, 16)
        torch.testing.assert_close(found, expected.gather(2, index), atol=1e-5, rtol=1e-5)


@conditionings
def test_a_place_counts_for_as_many_as_it_stands_for(conditioning):
    """Where several places hold the same, one of them that stands for all of them changes nothing for the others."""
    model = dynamics(conditioning)
    with torch.no_grad():
        model.transformer.spatial_positions[-4:] = model.transformer.spatial_positions[-4:-3]  # places 2 … 5 are alike
    tokens, actions = clip()
    tokens[:, :, 3:] = tokens[:, :, 2:3]
    places = torch.tensor([[0, 1, 4]]).expand(2, -1)
    thin = Thin(places, torch.tensor([[1.0, 1.0, 4.0]]).expand(2, -1))
    expected, found = model.hidden(tokens, actions), model.hidden(thin.of(tokens), actions, thin)
    torch.testing.assert_close(found, expected[:, :, [0, 1, 4]], atol=1e-5, rtol=1e-5)
    alone = Thin(places, torch.ones(2, 3))
    assert (model.hidden(alone.of(tokens), actions, alone) - found).abs().max() > 1e-3
