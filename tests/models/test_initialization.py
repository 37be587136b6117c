import torch
from torch import nn

from genie.models import DynamicsModel, VideoTokenizer
from genie.models.initialization import initialize
from genie.models.st_transformer import STTransformer


def tokenizer():
    return VideoTokenizer((8, 8), 4, width=16, num_blocks=2, num_heads=2, num_codes=8, latent_dim=4)


def values(model, seed):
    initialize(model, seed)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_values_depend_on_seed_and_name_alone():
    torch.manual_seed(1)
    first = values(tokenizer(), 5)
    torch.manual_seed(2)
    values(DynamicsModel(8, (2, 2), 3, 16, 1, 2), 5)
    torch.rand(17)
    second = values(tokenizer(), 5)
    assert all(torch.equal(first[name], second[name]) for name in first)

    model = tokenizer()
    reversed_order = nn.Module()
    for name in reversed([name for name, _ in model.named_children()]):
        reversed_order.add_module(name, getattr(model, name))
    third = values(reversed_order, 5)
    assert all(torch.equal(first[name], third[name]) for name in first)


def test_every_matrix_differs_by_seed_and_from_all_others():
    first, second = values(tokenizer(), 5), values(tokenizer(), 6)
    drawn = [name for name in first if first[name].dim() > 1 and not name.endswith(("bias", "spatial_positions"))]
    assert len(drawn) > 20
    assert not any(torch.equal(first[name], second[name]) for name in drawn)
    heads = {tuple(first[name].flatten()[:8].div(first[name].std()).mul(100).round().tolist()) for name in drawn}
    assert len(heads) == len(drawn)


def test_norms_and_biases_start_at_one_and_zero():
    for name, value in values(tokenizer(), 0).items():
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif value.dim() == 1:
            assert (value == 1).all(), name
        else:
            assert value.std() > 0, name


def test_no_two_places_look_alike():
    places = values(tokenizer(), 0)["encoder.spatial_positions"]
    assert (torch.cdist(places, places) + torch.eye(len(places))).min() > 0.1


def test_one_vector_for_all_places_is_small_and_not_zero():
    """Small beside what stands there, which the first norm then sees; at 0 its gradient would have no bound."""
    model = STTransformer(128, 1, 2, (4, 4), spatial_positions="relative")
    initialize(model, 0)
    assert model.spatial_positions.shape == (1, 128) and 0.005 < model.spatial_positions.std() < 0.02


def test_the_residual_stream_does_not_grow_with_depth():
    torch.manual_seed(0)
    spread = {}
    for depth in (2, 16):
        model = DynamicsModel(32, (4, 4), 3, 64, depth, 4)
        initialize(model, 0)
        x = model.transformer.add_positions(model.token_embedding(torch.randint(32, (2, 4, 16))))
        for block in model.transformer.blocks:
            x = block(x)
        spread[depth] = x.std().item()
    assert spread[16] < 1.5 * spread[2]
