import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genie.models import attention
from genie.models.initialization import initialize
from genie.models.st_transformer import STBlock, STTransformer, Thin


def transformer(grid=(2, 3), num_blocks=2, **options):
    model = STTransformer(16, num_blocks, 2, grid, **options)
    initialize(model, 0)
    return model.eval()


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_a_frame_depends_on_itself_and_the_past(positions):
    model, x = transformer(temporal_positions=positions), torch.randn(2, 5, 6, 16)
    changed = x.clone()
    changed[:, 2, 4] += 1  # one token of frame 2
    difference = (model(changed) - model(x)).abs().amax(dim=(0, 3))  # [T, S]
    assert (difference[:2] == 0).all()
    assert (difference[2:] > 0).all()  # all tokens of its own and of the later frames


def test_condition_of_a_frame_acts_from_that_frame_on():
    model, x, condition = transformer(modulated=True), torch.randn(2, 5, 6, 16), torch.randn(2, 5, 16)
    changed = condition.clone()
    changed[:, 3] += 1
    difference = (model(x, changed) - model(x, condition)).abs().amax(dim=(0, 3))
    assert (difference[:3] == 0).all()
    assert (difference[3:] > 0).all()


def test_rotary_positions_have_no_absolute_time():
    frame = torch.randn(1, 1, 6, 16).expand(1, 7, 6, 16)
    out = transformer()(frame)
    torch.testing.assert_close(out, out[:, :1].expand_as(out))  # a still picture is the same at every time
    out = transformer(temporal_positions="learned")(frame)
    assert (out[:, 1:] - out[:, :-1]).abs().amax(dim=(0, 2, 3)).min() > 1e-3


def test_order_in_time_and_place_count():
    model, x = transformer(num_blocks=1), torch.randn(1, 5, 6, 16)
    swapped = x[:, [1, 0, 2, 3, 4]]  # in one causal block only its positions can tell frame 4
    assert (model(swapped)[:, 4] - model(x)[:, 4]).abs().max() > 1e-4
    mirrored = x.flip(2)
    assert (model(mirrored).flip(2) - model(x)).abs().max() > 1e-2


def test_other_lengths_load_and_run():
    short = transformer(max_frames=4)
    longer = STTransformer(16, 2, 2, (2, 3), max_frames=32)
    longer.load_state_dict(short.state_dict())
    x = torch.randn(1, 12, 6, 16)
    torch.testing.assert_close(longer.eval()(x)[:, :4], short(x[:, :4]))


def test_learned_table_says_when_a_clip_is_too_long():
    model = transformer(temporal_positions="learned", max_frames=4)
    model(torch.randn(1, 4, 6, 16))
    with pytest.raises(ValueError, match="5 frames.*table of 4.*temporal_positions=rotary") as error:
        model(torch.randn(1, 5, 6, 16))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="temporal_positions='sinus'.*rotary or learned"):
        transformer(temporal_positions="sinus")


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_rotary_places_are_known_by_what_is_between_them(positions):
    """Of two tokens alone on a 6x7 grid: without the table, moving both changes nothing, and moving one does."""
    model, x = transformer((6, 7), spatial_positions=positions), torch.randn(1, 3, 2, 16)
    with torch.no_grad():
        if positions == "rotary":
            model.spatial_positions.zero_()
        for block in model.blocks:
            block.spatial.qkv.weight *= 4

    def at(*places):
        places = torch.tensor([[row * 7 + column for row, column in places]])
        return model(x, thin=Thin(places, torch.ones(1, 2)))

    expected = at((1, 2), (2, 1))
    for both in [((1, 5), (2, 4)), ((4, 2), (5, 1)), ((0, 6), (1, 5))]:
        torch.testing.assert_close(at(*both), expected, atol=1e-5, rtol=1e-5)
    for one in [((1, 2), (2, 2)), ((1, 2), (1, 1)), ((1, 2), (0, 3))]:
        assert (at(*one) - expected).abs().max() > 1e-3


def test_unknown_places_are_refused():
    with pytest.raises(ValueError, match="spatial_positions='sinus': choose learned, rotary or relative"):
        transformer(spatial_positions="sinus")
    with pytest.raises(ValueError, match="relative.*beyond the grid.*rotary"):
        transformer(spatial_positions="relative", extra_tokens=1)


def test_rotary_places_tell_rows_from_columns():
    """Without the table, what stands above a token and what stands beside it are not the same to it."""
    model = transformer((3, 3), spatial_positions="rotary")
    with torch.no_grad():
        model.spatial_positions.zero_()
        model.blocks[0].spatial.qkv.weight *= 4
    x = torch.zeros(1, 1, 3, 3, 16)
    x[..., 0, 1, :] = torch.randn(16)
    across = x.transpose(2, 3)
    middle = [model(part.flatten(2, 3))[0, 0, 4] for part in (x, across, x.flip(2))]
    assert (middle[0] - middle[1]).abs().max() > 1e-4 and (middle[0] - middle[2]).abs().max() > 1e-4


def test_rotary_places_need_heads_that_four_divides():
    with pytest.raises(
        ValueError, match="spatial_positions=rotary turns heads by row and column: their size, 6, is not"
    ):
        transformer(spatial_positions="rotary", head_dim=6)


def count_flops(model, frames, size, width):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.to("meta")(torch.empty(1, frames, size, width))
    return counter.get_total_flops()


@pytest.mark.parametrize(("frames", "size"), [(4, 16), (4, 32), (8, 16), (8, 32)])
def test_cost_is_space_squared_and_time_squared_but_never_both(frames, size):
    width = 16
    linear = 2 * frames * size * width * (3 * width + width + 8 * width)  # in and out of two attentions: twice
    linear += 2 * frames * size * width * 4 * width
    spatial, temporal = 4 * frames * size**2 * width, 4 * size * frames**2 * width
    assert count_flops(STBlock(width, 2), frames, size, width) == linear + spatial + temporal


def saved(model, x):
    """Numbers of elements of the tensors that are kept for the backward pass, every storage counted once."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes() // tensor.element_size(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x).sum().backward()
    return [size for size, _ in kept.values()]


def test_fused_attention_keeps_weights_of_a_frame_and_of_a_place():
    """And nothing of all tokens by all tokens."""
    size, heads = 64, 2
    model = transformer(grid=(8, 8))
    for frames in (8, 16, 32):
        sizes = saved(model, torch.randn(1, frames, size, 16))
        assert max(sizes) == max(frames * heads * size**2, size * heads * frames**2, frames * size * 4 * 16)


def test_memory_grows_linearly_with_time_and_nothing_is_squared(monkeypatch):
    monkeypatch.setattr(attention, "MOST", 0)  # as on a GPU
    size, width = 64, 16
    model = transformer(grid=(8, 8))
    held = {frames: saved(model, torch.randn(1, frames, size, width)) for frames in (8, 16, 32)}
    for frames, sizes in held.items():
        assert max(sizes) <= frames * size * 4 * width  # the hidden layer of a feed-forward; no attention weights
    fixed = 2 * sum(held[8]) - sum(held[16])  # weights
    assert sum(held[32]) - fixed <= 4.01 * (sum(held[8]) - fixed)
    assert sum(held[16]) < 2.01 * sum(held[8])


def test_activation_checkpointing_changes_memory_and_nothing_else():
    plain, thrifty = transformer(), transformer(activation_checkpointing=True)
    thrifty.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 6, 16)
    for model in (plain.train(), thrifty.train()):
        model(x).square().sum().backward()
    for ours, theirs in zip(plain.parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert sum(saved(thrifty, x)) < sum(saved(plain, x)) / 2
