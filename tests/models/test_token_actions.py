"""Latent actions from tokens: what is read, what is predicted, and from what."""

import pytest
import torch

from genie.models import VideoTokenizer
from genie.models.initialization import initialize
from genie.models.latent_action import TokenActionModel

CODES, FRAMES = 16, 5


@pytest.fixture
def model():
    """With a tokenizer whose codes come from clips, so that different frames have different tokens."""
    tokenizer = VideoTokenizer((8, 12), 4, 16, 1, 2, CODES, latent_dim=4)
    actions = TokenActionModel((8, 12), 4, CODES, num_actions=4, width=16, num_blocks=1, num_heads=2, latent_dim=3)
    for part in (tokenizer, actions):
        initialize(part, 0)
    torch.manual_seed(0)
    clips = torch.rand(8, FRAMES, 3, 8, 12)
    tokenizer.train()(clips)
    actions.use_tokenizer(tokenizer.eval())
    actions.train()(clips)
    with torch.no_grad():
        actions.decoder_embedding.weight *= 10
        actions.action_embedding.weight *= 10
    return actions.eval().requires_grad_(False)


def test_frames_are_read_through_the_tokenizer_alone(model):
    """Frames of the same tokens have the same actions and predictions, whatever their pixels."""
    frames = torch.rand(2, FRAMES, 3, 8, 12)
    other = frames.clone()
    other[:, 2] += 1e-4  # too little for another code
    assert torch.equal(model.read(frames), model.read(other))
    assert torch.equal(model(frames).logits, model(other).logits)
    assert torch.equal(model.encode(frames), model(frames).actions)
    assert not torch.equal(model(frames).logits, model(torch.rand_like(frames)).logits)


def test_the_next_frame_reaches_its_prediction_through_the_code_alone(model):
    frames = torch.rand(2, FRAMES, 3, 8, 12)
    other = frames.clone()
    other[:, -1] = torch.rand(2, 3, 8, 12)
    before, after = model(frames), model(other)
    assert torch.equal(before.logits[:, :-1], after.logits[:, :-1])
    past, latents = model.read(frames)[:, :-1], model.quantizer.lookup(before.actions)
    torch.testing.assert_close(model.predict(past, latents), before.logits)
    turned = model.quantizer.lookup((before.actions + 1) % 4)
    assert (model.predict(past, turned) - before.logits).abs().amax((2, 3)).min() > 1e-3


def test_the_prediction_is_what_the_tokenizer_shows_of_the_likeliest_tokens(model):
    frames = torch.rand(2, FRAMES, 3, 8, 12)
    output = model(frames)
    tokens = torch.cat([model.read(frames)[:, :1], output.logits.argmax(-1)], dim=1)
    assert torch.equal(output.prediction, model.frozen["tokenizer"].decode(tokens)[:, 1:])
    assert output.prediction.shape == (2, FRAMES - 1, 3, 8, 12)


def test_what_the_decoder_is_shown_may_differ(model):
    frames, shown = torch.rand(2, 2, FRAMES, 3, 8, 12)
    output = model(frames, shown=shown)
    assert torch.equal(output.actions, model.encode(frames))
    assert torch.equal(output.tokens, model.read(shown))
    latents = model.quantizer.lookup(output.actions)
    torch.testing.assert_close(output.logits, model.predict(model.read(shown)[:, :-1], latents))


def test_the_tokenizer_stays_outside(model):
    assert not any("tokenizer" in name or "frozen" in name for name in model.state_dict())
    tokenizer = model.frozen["tokenizer"]
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    model.requires_grad_(True).train()
    model(torch.rand(2, FRAMES, 3, 8, 12)).logits.square().mean().backward()
    assert not tokenizer.training and all(parameter.grad is None for parameter in tokenizer.parameters())
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())


def test_a_change_of_the_last_frame_is_of_pixels():
    with pytest.raises(ValueError, match="copy_last=True goes with input=pixels"):
        TokenActionModel((8, 12), 4, CODES, num_actions=4, width=16, num_blocks=1, num_heads=2, copy_last=True)


def test_surprise_is_the_cross_entropy_of_the_expected_tokens(model):
    model.pooling = "surprise"
    frames = torch.rand(2, FRAMES, 3, 8, 12)
    tokens, output = model.read(frames), model(frames)
    assert torch.equal(output.expected, model.predict(tokens[:, :-1], None))
    nats = -output.expected.log_softmax(-1).gather(-1, tokens[:, 1:, :, None])[..., 0]
    torch.testing.assert_close(model.surprise(tokens), nats / nats.sum(-1, keepdim=True))
    assert not torch.equal(model.latents(tokens), model.latents(tokens, model.surprise(tokens).flip(2)))
    with pytest.raises(ValueError, match="tokens have no map of errors"):
        model(frames, relocate=lambda maps: maps)
