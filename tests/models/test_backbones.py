"""The rivals of the ST-Transformer: what each of them sees, of equal size, cached or not."""

import pytest
import torch

from genie.models import VideoTokenizer
from genie.models.backbones import ARCHITECTURES, build_backbone
from genie.models.cache import Past
from genie.models.initialization import initialize

GRID, SIZE, FRAMES, WIDTH = (2, 3), 6, 5, 16
# of four steps of the tiny tokenizer, before there was a choice of architectures
GOLDEN = [0.034893, 0.0397346, 0.0262028, 0.0335733]
ALONE = ("vit", "conv")  # every frame by itself
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def lively(model):
    """With weights that make every connection felt: those of an untrained model hardly look around."""
    initialize(model, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "qkv.weight", "pointwise.weight")):
                parameter *= 4
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def backbone(architecture, num_blocks=2, **options):
    return lively(build_backbone(architecture, WIDTH, num_blocks, 2, GRID, **options))


def tokenizer(architecture, width=WIDTH, num_blocks=2, **options):
    fsq = {"quantizer": "fsq", "levels": [8, 8], "num_codes": 64}
    return VideoTokenizer((8, 12), 4, width, num_blocks, 2, architecture=architecture, **fsq, **options)


def influence(model, frame, place):
    """[T, S]: how far each result moves when the input at one frame and place does."""
    x = torch.randn(1, FRAMES, SIZE, WIDTH)
    moved = x.clone()
    moved[0, frame, place] += torch.randn(WIDTH)
    return (model(moved) - model(x)).abs().amax(-1)[0]


@architectures
def test_a_frame_sees_itself_and_the_past_or_only_itself(architecture):
    felt = influence(backbone(architecture), 2, 4) > 1e-5
    assert felt[2].all() and not felt[:2].any()
    assert not felt[3:].any() if architecture in ALONE else felt[3:].all()


@architectures
def test_later_frames_do_not_change_earlier_tokens(architecture):
    model, frames = lively(tokenizer(architecture)), torch.rand(2, FRAMES, 3, 8, 12)
    other = frames.clone()
    other[:, 3:] = torch.rand(2, FRAMES - 3, 3, 8, 12)
    before, after = model.encode(frames), model.encode(other)
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.equal(before[:, 3:], after[:, 3:])
    shown, changed = model.decode(before), model.decode(torch.cat([before[:, :3], after[:, 3:]], dim=1))
    torch.testing.assert_close(shown[:, :3], changed[:, :3])
    assert (shown[:, 3:] - changed[:, 3:]).abs().max() > 1e-4


@pytest.mark.parametrize(("architecture", "as_a_set"), [("c_vivit", True), ("st_vivit", False)])
def test_c_vivit_reads_earlier_frames_as_sets_of_tokens(architecture, as_a_set):
    """One attention over all tokens: without positions it is all the same where in an earlier frame something stood.

    In an ST block each place reads its own past, so it is not."""
    model, x = backbone(architecture, num_blocks=1), torch.randn(1, FRAMES, SIZE, WIDTH)
    model.spatial_positions.zero_()
    shuffled = x.clone()
    shuffled[:, 1] = x[:, 1, torch.tensor([3, 0, 5, 1, 2, 4])]
    difference = (model(shuffled) - model(x))[:, 2:].abs().max()
    assert difference < 1e-5 if as_a_set else difference > 1e-3


def test_full_attention_tells_frames_apart():
    model, x = backbone("c_vivit", num_blocks=1), torch.randn(1, FRAMES, SIZE, WIDTH)
    swapped = x[:, [1, 0, 2, 3, 4]]
    assert (model(swapped) - model(x))[:, 2:].abs().max() > 1e-3


def test_convolutions_see_their_neighbourhood():
    model = lively(build_backbone("conv", WIDTH, 1, 2, (4, 5)))
    x = torch.randn(1, 1, 20, WIDTH)
    moved = x.clone()
    moved[0, 0, 6] += torch.randn(WIDTH)  # row 1, column 1
    felt = ((model(moved) - model(x)).abs().amax(-1)[0, 0] > 1e-5).view(4, 5)
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[:3, :3] = True
    assert torch.equal(felt, expected)


@architectures
@pytest.mark.parametrize("width", [32, 128, 384])
def test_they_are_of_one_size(architecture, width):
    def count(name):
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in tokenizer(name, width, 3).parameters())

    assert abs(count(architecture) / count("st_vivit") - 1) < 0.06


@architectures
@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("parts", [(1,) * FRAMES, (2, 1, 2), (1, 4)])
def test_frames_behind_a_cache_are_those_of_the_whole_clip(architecture, positions, parts):
    options = {} if architecture == "conv" else {"temporal_positions": positions, "max_frames": FRAMES}
    model, x = backbone(architecture, **options), torch.randn(3, FRAMES, SIZE, WIDTH)
    expected, past, start = model(x), Past.empty(model.num_caches, 3, FRAMES), 0
    for count in parts:
        hidden = model(x[:, start : start + count], span=past.span(count, x.device))
        past = past.appended(count)
        torch.testing.assert_close(hidden, expected[:, start : start + count], atol=1e-4, rtol=0)
        start += count


@architectures
def test_rows_of_different_lengths_in_one_pass(architecture):
    model, x = backbone(architecture), torch.randn(3, FRAMES, SIZE, WIDTH)
    expected, lengths = model(x), [3, 1, 2]

    def run(rows, start, stop, span):
        model(x[rows, start:stop], span=span)

    past = Past.empty(model.num_caches, 3, FRAMES).caught_up(lengths, run, x.device)
    assert past.known() == (3, 1, 2)
    both = torch.stack([x[row, length : length + 2] for row, length in enumerate(lengths)])
    hidden = model(both, span=past.span(2, x.device))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(hidden[row], expected[row, length : length + 2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ALONE)
def test_what_sees_single_frames_keeps_nothing_and_runs_nothing_again(architecture):
    model, ran = backbone(architecture), []
    past = Past.empty(model.num_caches, 2, FRAMES).caught_up([3, 2], lambda *given: ran.append(given), "cpu")
    joined = Past.joined([past, past.select([1])])
    assert not ran and joined.known() == (3, 2, 2) and joined.cache.num_bytes() == 0


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="architecture='vitt': choose one of st_vivit, vit, c_vivit, conv"):
        tokenizer("vitt")
    with pytest.raises(ValueError, match="only the ST-Transformer takes a condition"):
        tokenizer("vit", transformer={"modulated": True})
    with pytest.raises(TypeError, match="mlp_ratio"):
        tokenizer("conv", transformer={"mlp_ratio": 2})


def test_st_vivit_is_what_it_was(build, make_clips):
    """The names and their order are in checkpoints and in optimiser states, and the losses are those before there was
    a choice of architectures."""
    stage = build("tokenizer")
    names = list(stage.model.state_dict())
    assert list(dict.fromkeys(name.split(".")[0] for name in names)) == [
        "quantizer", "patch_embedding", "encoder", "to_latent", "from_latent", "decoder", "to_pixels",
    ]  # fmt: skip
    block = [name.removeprefix("encoder.blocks.0.") for name in names if name.startswith("encoder.blocks.0.")]
    assert block[:2] == ["spatial_norm.weight", "spatial_norm.bias"] and block[-1] == "feed_forward.2.bias"
    assert sum(name.startswith("temporal") for name in block) == sum(name.startswith("spatial") for name in block) == 8
    optimizer, losses = stage.train().configure_optimizers()["optimizer"], []
    for step in range(4):
        torch.manual_seed(step)
        loss, _ = stage.compute(make_clips(4, seed=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN, rel=1e-4)
