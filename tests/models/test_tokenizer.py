import pytest
import torch

from genie.models import VideoTokenizer
from genie.models.initialization import initialize

VQ = {"quantizer": "vq", "num_codes": 16, "latent_dim": 8}
FSQ = {"quantizer": "fsq", "num_codes": 64, "levels": [8, 8]}


def tokenizer(size=(8, 12), patch=4, **options):
    model = VideoTokenizer(size, patch, width=16, num_blocks=1, num_heads=2, **(VQ | options))
    initialize(model, 0)
    return model.eval()


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_latents_of_a_frame_see_the_past_only(positions):
    model, frames = tokenizer(transformer={"temporal_positions": positions}), torch.rand(2, 5, 3, 8, 12)
    changed = frames.clone()
    changed[:, 3, :, :4, :4] = 1 - changed[:, 3, :, :4, :4]
    difference = (model._latents(changed) - model._latents(frames)).abs().amax(dim=(0, 3))  # [T, S]
    assert (difference[:3] == 0).all()
    assert (difference[3:] > 0).all()
    assert torch.equal(model.encode(changed)[:, :3], model.encode(frames)[:, :3])


@pytest.mark.parametrize("options", [VQ, FSQ])
def test_a_decoded_frame_sees_the_past_only(options):
    model = tokenizer(**options)
    tokens = torch.randint(model.num_codes, (2, 5, 6))
    changed = tokens.clone()
    changed[:, 2, 3] = (changed[:, 2, 3] + 7) % model.num_codes
    difference = (model.decode(changed) - model.decode(tokens)).abs().amax(dim=(0, 2, 3, 4))
    assert (difference[:2] == 0).all()
    assert (difference[2:] > 0).all()


@pytest.mark.parametrize("options", [VQ, FSQ])
def test_decoding_the_tokens_is_the_reconstruction(options):
    model, frames = tokenizer(**options), torch.rand(2, 3, 3, 8, 12)
    model.train()(frames)  # takes the codebook from the data
    out = model.eval()(frames)
    assert torch.equal(model.encode(frames), out.tokens)
    torch.testing.assert_close(model.decode(out.tokens), out.reconstruction)
    assert out.reconstruction.min() >= 0 and out.reconstruction.max() <= 1
    assert len(out.tokens.unique()) > 1


def test_sizes_that_do_not_divide():
    for size, patch, count in [((90, 160), 4, 920), ((72, 128), 16, 40), ((72, 128), 8, 144), ((128, 72), 16, 40)]:
        model = tokenizer(size, patch)
        frames = torch.rand(1, 2, 3, *size)
        tokens = model.encode(frames)
        assert tokens.shape == (1, 2, count) and model.num_tokens == count
        assert model.decode(tokens).shape == frames.shape


def test_decoder_sizes_of_its_own():
    model = tokenizer(decoder_width=24, decoder_blocks=3, decoder_heads=3)
    assert len(model.encoder.blocks) == 1 and len(model.decoder.blocks) == 3
    assert model.decoder.norm.weight.shape == (24,) and model.decoder.blocks[0].spatial.num_heads == 3
    assert len(tokenizer().decoder.blocks) == 1


def test_starts_from_a_frame():
    model, frame = tokenizer(), torch.rand(3, 8, 12) * 0.9 + 0.05
    frames = frame.expand(1, 4, 3, 8, 12)
    before = (model(frames).reconstruction - frames).square().mean()
    model.start_from(frame)
    assert (model(frames).reconstruction - frames).square().mean() < before / 10


def test_a_width_that_does_not_divide():
    with pytest.raises(ValueError, match="width=10.*num_heads=4") as error:
        VideoTokenizer((8, 8), 4, width=10, num_blocks=1, num_heads=4, **VQ)
    assert "\n" not in str(error.value)
