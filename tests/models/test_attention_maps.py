"""Recorded weights are those that the forward pass used, of the token that was asked for."""

import pytest
import torch

from genie.models import DynamicsModel
from genie.models.attention_maps import has_attention_maps, recorded_attention
from genie.models.baselines import ARCHITECTURES, build_backbone
from genie.models.initialization import initialize
from genie.models.kv_cache import Past
from genie.models.st_transformer import STTransformer

PLACE, FRAME, CLIP = 4, 2, 1


@pytest.fixture(params=["learned", "rotary"])
def transformer(request):
    model = STTransformer(16, 3, 2, (2, 3), spatial_positions=request.param)
    initialize(model, 0)
    return model.eval()


def spy(layer, kept):
    """Keeps the input and the output of a layer."""
    layer.register_forward_hook(lambda module, arguments, output: kept.append((arguments[0], output)))


def test_weights_times_values_are_the_output_of_the_attention(transformer):
    spatial, temporal = [], []
    spy(transformer.blocks[1].spatial, spatial)
    spy(transformer.blocks[1].temporal, temporal)
    with recorded_attention(transformer, PLACE, FRAME, CLIP) as maps:
        transformer(torch.randn(2, 5, 6, 16))
    for layer, weights, kept, (row, position) in (
        (transformer.blocks[1].spatial, maps.space[1], spatial, (FRAME, PLACE)),
        (transformer.blocks[1].temporal, maps.time[1], temporal, (PLACE, FRAME)),
    ):
        x, output = kept[0][0][CLIP, row], kept[0][1][CLIP, row, position]
        value = layer.project(x)[2]  # [N, P, E]
        heads = (weights[:, None] @ value).flatten()  # a row of [N, E], head after head
        torch.testing.assert_close(layer.out(heads), output, atol=1e-5, rtol=1e-5)


def test_a_network_of_single_frames_looks_at_no_other_frame():
    vit, kept = build_backbone("vit", 16, 2, 2, (2, 3)).eval(), []
    spy(vit.blocks[1].attention, kept)
    with recorded_attention(vit, PLACE, FRAME, CLIP) as maps:
        vit(torch.randn(2, 5, 6, 16))
    layer, (x, output) = vit.blocks[1].attention, kept[0]
    heads = (maps.space[1][:, None] @ layer.project(x[CLIP, FRAME])[2]).flatten()
    torch.testing.assert_close(layer.out(heads), output[CLIP, FRAME, PLACE], atol=1e-5, rtol=1e-5)
    assert torch.equal(maps.time[1], (torch.arange(5) == FRAME).float().expand(2, 5))


def test_which_networks_have_maps():
    shown = {name: has_attention_maps(build_backbone(name, 16, 1, 2, (2, 3))) for name in ARCHITECTURES}
    assert shown == {"st_vivit": True, "vit": True, "c_vivit": False, "conv": False, "patch_mlp": False}


def test_weights_sum_to_one_and_see_no_later_frame(transformer):
    with recorded_attention(transformer, PLACE, FRAME) as maps:
        transformer(torch.randn(1, 5, 6, 16))
    assert sorted(maps.space) == sorted(maps.time) == [0, 1, 2]
    for block in range(3):
        assert maps.space[block].shape == (2, 6) and maps.time[block].shape == (2, 5)
        torch.testing.assert_close(maps.space[block].sum(-1), torch.ones(2))
        torch.testing.assert_close(maps.time[block].sum(-1), torch.ones(2))
        assert (maps.time[block][:, FRAME + 1 :] == 0).all() and (maps.time[block][:, : FRAME + 1] > 0).all()


def test_recording_changes_nothing_and_ends(transformer):
    x = torch.randn(1, 5, 6, 16)
    before = transformer(x)
    with recorded_attention(transformer, PLACE, blocks=[2]) as maps:
        assert torch.equal(transformer(x), before)
    kept = maps.space[2]
    transformer(x + 1)
    assert list(maps.space) == [2] and maps.space[2] is kept


def test_a_prepended_action_comes_before_the_grid():
    model = DynamicsModel(8, (2, 3), 3, width=16, num_blocks=1, num_heads=2, conditioning="prepend").eval()
    tokens = torch.randint(8, (1, 4, 6))
    kept = []
    spy(model.transformer.blocks[0].spatial, kept)
    with recorded_attention(model.transformer, PLACE) as maps:
        model.hidden(tokens, torch.ones(1, 3, dtype=torch.int64))
    layer, weights = model.transformer.blocks[0].spatial, maps.space[0]
    assert weights.shape == (2, 7)
    value = layer.project(kept[0][0][0, -1])[2]
    torch.testing.assert_close(layer.out((weights[:, None] @ value).flatten()), kept[0][1][0, -1, 1 + PLACE])


def test_frames_behind_a_cache_are_refused(transformer):
    span = Past.empty(3, 1, 4).span(2, torch.device("cpu"))
    with pytest.raises(ValueError, match="without a cache"), recorded_attention(transformer, PLACE):
        transformer(torch.randn(1, 2, 6, 16), span=span)
