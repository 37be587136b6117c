"""The rivals of the ST-Transformer: what each of them sees, of equal size, cached or not."""

import pytest
import torch

from genie.models import VideoTokenizer
from genie.models.baselines import ARCHITECTURES, build_backbone
from genie.models.initialization import initialize
from genie.models.kv_cache import Past

GRID, SIZE, FRAMES, WIDTH = (2, 3), 6, 5, 16
# of four steps of the tiny tokenizer, before there was a choice of architectures
GOLDEN = [0.034893, 0.0397346, 0.0262028, 0.0335733]
ALONE = ("vit", "conv", "patch_mlp")  # every frame by itself
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
    own = torch.arange(SIZE) == 4 if architecture == "patch_mlp" else torch.ones(SIZE, dtype=torch.bool)
    assert torch.equal(felt[2], own) and not felt[:2].any()
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


def test_full_attention_has_no_rotary_places():
    with pytest.raises(ValueError, match="c_vivit attends to space and time at once"):
        backbone("c_vivit", spatial_positions="rotary")


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


def standardized(**options):
    """A tokenizer of frames of 9x11 pixels in patches of 4, with running statistics of its latents and a background."""
    model = VideoTokenizer((9, 11), 4, WIDTH, 2, 2, quantizer="fsq", levels=[8, 8, 8], num_codes=512, standardize=True,
                           **options)  # fmt: skip
    lively(model)
    model.start_from(torch.rand(3, 9, 11))
    model.train()(torch.rand(8, FRAMES, 3, 9, 11))
    return model.eval()


@pytest.mark.parametrize("decoder", ARCHITECTURES)
def test_a_patch_local_token_changes_with_its_own_pixels_alone(decoder):
    """No jitter: what changes anywhere else, in the frame or in others, moves no latent by a bit."""
    model, frames = standardized(encoder="patch_mlp", decoder=decoder), torch.rand(2, FRAMES, 3, 9, 11)
    frames[:, 3] = frames[:, 2]
    before = model._latents(frames)
    assert len(model.encode(frames).unique()) > 20
    assert torch.equal(model.encode(frames)[:, 3], model.encode(frames)[:, 2])
    for patch, (rows, columns) in {0: ((0, 4), (0, 4)), 5: ((4, 8), (8, 11)), 7: ((8, 9), (4, 8))}.items():
        changed = frames.clone()
        changed[0, 2, :, slice(*rows), slice(*columns)] = torch.rand(())
        felt = (model._latents(changed) != before).any(-1)
        expected = torch.zeros_like(felt)
        expected[0, 2, patch] = True
        assert torch.equal(felt, expected)


def test_other_encoders_let_a_change_into_other_tokens():
    frames = torch.rand(1, FRAMES, 3, 9, 11)
    changed = frames.clone()
    changed[0, 2, :, :4, :4] = 1
    for architecture in set(ARCHITECTURES) - {"patch_mlp"}:
        model = standardized(architecture=architecture)
        assert (model._latents(changed) != model._latents(frames)).any(-1)[0, 2, 1]


def test_a_patch_is_a_patch_anywhere():
    """The same difference from the background has the same token in every place."""
    model = standardized(encoder="patch_mlp", decoder="vit")
    model.start_from(torch.zeros(3, 9, 11))
    frames = torch.zeros(1, 1, 3, 9, 11)
    frames[..., 1:3, 1:3] = frames[..., 5:7, 5:7] = 1.0
    tokens = model.encode(frames)[0, 0]
    assert tokens[0] == tokens[4] and tokens[1] == tokens[3] and tokens[0] != tokens[1]


def test_encoder_and_decoder_of_their_own():
    mixed = tokenizer(None, encoder="patch_mlp", decoder="conv")
    assert type(mixed.encoder) is ARCHITECTURES["patch_mlp"] and type(mixed.decoder) is ARCHITECTURES["conv"]
    half = tokenizer("vit", encoder="patch_mlp")
    assert type(half.encoder) is ARCHITECTURES["patch_mlp"] and type(half.decoder) is ARCHITECTURES["vit"]
    assert tokenizer("vit", encoder=None, decoder=None).state_dict().keys() == tokenizer("vit").state_dict().keys()
    learned = {"temporal_positions": "learned", "max_frames": 4}  # of the one that has any
    assert tokenizer("st_vivit", encoder="patch_mlp", transformer=learned).decoder.temporal_positions.shape == (4, 16)


def test_mistakes_are_told():
    for option in ("encoder", "decoder"):
        with pytest.raises(ValueError, match=f"{option}='vitt': choose one of st_vivit, vit, c_vivit, conv, patch_mlp"):
            tokenizer("vit", **{option: "vitt"})
    with pytest.raises(
        ValueError, match="architecture='vit' says nothing beside encoder='patch_mlp' and decoder='conv'"
    ):
        tokenizer("vit", encoder="patch_mlp", decoder="conv")
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
