import pytest
import torch

from genie.models.frame_coders import FrameDecoder, FrameEncoder, halved
from genie.models.initialization import initialize
from genie.models.patches import Patches
from genie.models.rssm import Rssm

VIT = {"width": 16, "num_blocks": 1, "num_heads": 2, "channels": 4}


def make(encoder="conv", **sizes):
    sizes = sizes or {"num_actions": 3, "action_size": None}
    model = Rssm(
        (10, 10), **sizes, patch_size=2, encoder=encoder, vit=VIT, channels=4, deterministic=16, groups=3, classes=4,
        uniform=0.01, width=16, head_layers=1,
    )  # fmt: skip
    initialize(model, 0)
    torch.manual_seed(0)
    with torch.no_grad():  # an untrained model hardly cares for its inputs
        for layer in (model.inputs[0], model.from_frame, model.posterior[1], model.prior[2]):
            layer.weight *= 5
    return model.eval()


@pytest.fixture(scope="module", params=["conv", "vit"])
def model(request):
    return make(request.param)


@pytest.fixture
def clip():
    return torch.rand(2, 6, 3, 10, 10), torch.randint(3, (2, 5))


def filtered(model, frames, actions):
    return model.filter(model.encode(frames), model.incoming(actions)).features


def first_difference(one, other):
    differs = (one - other).abs().amax((0, 2)) > 1e-6
    return int(differs.nonzero()[0])


@torch.no_grad()
def test_an_action_matters_from_the_next_frame_on_and_a_frame_from_itself_on(model, clip):
    frames, actions = clip
    before = filtered(model, frames, actions)
    other = actions.clone()
    other[:, 2] = (other[:, 2] + 1) % 3
    assert first_difference(before, filtered(model, frames, other)) == 3
    shown = frames.clone()
    shown[:, 3] = 1 - shown[:, 3]
    after = filtered(model, shown, actions)
    assert first_difference(before, after) == 3
    hidden = first_difference(model.split(before)[0], model.split(after)[0])
    assert hidden == 4  # the deterministic part of a frame does not see it: imagination has nothing else


@torch.no_grad()
def test_filtering_goes_on_from_where_it_was(model, clip):
    frames, actions = clip
    whole = filtered(model, frames, actions)
    evidence, incoming = model.encode(frames), model.incoming(actions)
    start = model.filter(evidence[:, :4], incoming[:, :4]).features[:, -1]
    rest = model.filter(evidence[:, 4:], incoming[:, 4:], before=start).features
    torch.testing.assert_close(rest, whole[:, 4:])


@torch.no_grad()
def test_imagination_follows_its_noise_and_what_was_foreseen(model, clip):
    frames, actions = clip
    beliefs = model.filter(model.encode(frames), model.incoming(actions))
    vectors, noise = model.actions(actions), torch.rand(2, 1, 3)
    dreamt = model.imagine(beliefs.features[:, 2], vectors[:, 2:3], noise)
    torch.testing.assert_close(dreamt.prior[:, 0], beliefs.prior[:, 3])  # before frame 3 is seen
    torch.testing.assert_close(dreamt.hidden[:, 0], beliefs.hidden[:, 3])
    again = model.imagine(beliefs.features[:, 2], vectors[:, 2:3], noise)
    assert torch.equal(dreamt.features, again.features)
    first, last = (model.imagine(beliefs.features[:, 2], vectors[:, 2:3], noise * 0 + end) for end in (0, 0.999))
    assert not torch.equal(first.latent, last.latent)


def test_actions_may_be_numbers(clip):
    model, frames = make(num_actions=None, action_size=2), clip[0]
    actions = torch.rand(2, 5, 2, requires_grad=True)
    filtered(model, frames, actions)[:, 3].sum().backward()
    assert (actions.grad[:, :3].abs().amax((0, 2)) > 0).all() and not actions.grad[:, 3:].any()


@pytest.mark.parametrize(("size", "patch_size"), [((10, 10), 2), ((64, 64), 4), ((7, 13), 4), ((5, 3), 8)])
@torch.no_grad()
def test_frames_of_any_size_begin_at_the_background_and_every_pixel_is_seen(size, patch_size):
    patches = Patches(size, patch_size)
    encoder, decoder = FrameEncoder(patches, "conv", 4, {}), FrameDecoder(6, patches, 4)
    for part in (encoder, decoder):
        initialize(part, 0)
    background = torch.rand(3, *size) * 0.8 + 0.1
    encoder.embedding.start_from(background)
    decoder.to_pixels.start_from(background)
    drawn = decoder(torch.zeros(1, 2, 6)).sigmoid()
    assert (drawn - background).abs().max() < 0.2
    assert not encoder(background[None, None]).any()  # nothing but the background is nothing
    frames = background.repeat(4, 1, 1, 1, 1)
    for row, (y, x) in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1)]):
        frames[row, 0, :, y, x] = 1
    vectors = encoder(frames)
    assert vectors.shape[-1] == encoder.size
    assert all(vectors[a].sub(vectors[b]).abs().max() > 1e-3 for a in range(4) for b in range(a))


def test_grids_are_halved_and_rounded_up():
    assert halved((16, 16)) == [(16, 16), (8, 8), (4, 4)] and halved((5, 9)) == [(5, 9), (3, 5), (2, 3)]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"encoder": "mlp"}, "encoder='mlp': choose one of conv, vit"), ({"uniform": 1}, "uniform=1")],
)
def test_wrong_options(options, words):
    sizes = {"num_actions": 3, "action_size": None, "patch_size": 2, "encoder": "conv", "vit": VIT, "channels": 4}
    sizes |= {"deterministic": 8, "groups": 2, "classes": 2, "uniform": 0.1, "width": 8, "head_layers": 1}
    with pytest.raises(ValueError, match=words):
        Rssm((10, 10), **sizes | options)
    with pytest.raises(ValueError, match="exactly one"):
        Rssm((10, 10), **sizes | {"action_size": 2})
