"""Cached equals uncached: every frame run behind a cache gives what the whole clip gives at that frame."""

import pytest
import torch
import torch.nn.functional as F

from genie.models import DynamicsModel, VideoTokenizer
from genie.models.dynamics import CONDITIONINGS
from genie.models.initialization import initialize
from genie.models.kv_cache import Past

CODES, GRID, WINDOW = 11, (2, 3), 6
POSITIONS = ("rotary", "learned", "rotary places")


def options(positions):
    places = "rotary" if positions == "rotary places" else "learned"
    times = "learned" if positions == "learned" else "rotary"
    return {"temporal_positions": times, "spatial_positions": places, "max_frames": WINDOW}


def dynamics(conditioning="additive", positions="rotary", width=32):
    transformer = options(positions)
    model = DynamicsModel(CODES, GRID, 3, width, num_blocks=3, num_heads=2, conditioning=conditioning,
                          transformer=transformer)  # fmt: skip
    initialize(model, 0)
    with torch.no_grad():  # an untrained model hardly looks around
        model.action_embedding.weight *= 20
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
        if positions == "learned":
            model.transformer.temporal_positions += torch.randn_like(model.transformer.temporal_positions)
        for name, parameter in model.named_parameters():
            if name.endswith(("qkv.weight", "out.weight")):
                parameter *= 4
    return model.eval().requires_grad_(False)


def clip(batch=3, frames=WINDOW, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(CODES + 1, (batch, frames, GRID[0] * GRID[1]), generator=generator)
    return tokens, torch.randint(3, (batch, frames - 1), generator=generator)


def empty(model, batch=3, capacity=WINDOW):
    return Past.empty(len(model.transformer.blocks), batch, capacity)


def extend(model, past, tokens, actions, start, count, rows=None):
    """`count` frames of a clip from frame `start` (of each row: a list), behind `past`; hidden states and the past."""
    span = past.span(count, torch.device("cpu"), rows)
    incoming = torch.nn.functional.pad(actions, (1, 0))
    batch = range(len(tokens)) if rows is None else rows
    starts = [start] * len(batch) if isinstance(start, int) else start
    index = [slice(first, first + count) for first in starts]
    parts = (torch.stack([part[row, at] for row, at in zip(batch, index, strict=True)]) for part in (tokens, incoming))
    return model.extend(*parts, span), past.appended(count, rows)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("parts", [(1,) * WINDOW, (2, 1, 3), (4, 2), (1, 5)])
def test_frames_behind_a_cache_are_those_of_the_whole_clip(conditioning, positions, parts):
    model, (tokens, actions) = dynamics(conditioning, positions), clip()
    expected = model.hidden(tokens, actions)
    past, start = empty(model), 0
    for count in parts:
        hidden, past = extend(model, past, tokens, actions, start, count)
        torch.testing.assert_close(
            model.logits(hidden), model.logits(expected[:, start : start + count]), atol=1e-4, rtol=0
        )
        start += count
    assert past.known() == (WINDOW,) * 3


@pytest.mark.parametrize("positions", POSITIONS)
def test_rows_of_different_lengths_in_one_pass(positions):
    model, (tokens, actions) = dynamics(positions=positions), clip()
    expected = model.hidden(tokens, actions)
    past, lengths = empty(model), [3, 1, 4]
    for row, length in enumerate(lengths):
        _, past = extend(model, past, tokens, actions, 0, length, rows=[row])
    assert past.known() == (3, 1, 4)
    for count in (2, 2):  # twice: the first pass is a guess, and is overwritten
        hidden, _ = extend(model, past, tokens, actions, lengths, count)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(hidden[row], expected[row, length : length + count], atol=1e-4, rtol=0)


def test_what_was_run_but_not_counted_is_overwritten():
    model, (tokens, actions) = dynamics(), clip()
    expected = model.hidden(tokens, actions)
    _, past = extend(model, empty(model), tokens, actions, 0, 4)
    masked = torch.full_like(tokens, model.mask_token)
    extend(model, past, masked, actions, 4, 2)  # a guess, `past` is not advanced
    hidden, _ = extend(model, past, tokens, actions, 4, 1)
    torch.testing.assert_close(hidden, expected[:, 4:5], atol=1e-4, rtol=0)


def test_later_passes_see_the_whole_past_and_nothing_beyond():
    """A cache that kept too little, or read what is not written yet, would show here."""
    model, (tokens, actions) = dynamics(), clip()
    changed = tokens.clone()
    changed[:, 0] = (tokens[:, 0] + 1) % CODES
    outputs = []
    for first in (tokens, changed):
        _, past = extend(model, empty(model), first, actions, 0, 4)
        hidden, _ = extend(model, past, tokens, actions, 4, 1)
        outputs.append(hidden)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    _, past = extend(model, empty(model), tokens, actions, 0, 4)
    extend(model, past, changed, actions, 4, 2)  # leaves frames 4 and 5 in the memory
    hidden, _ = extend(model, past, tokens, actions, 4, 1)
    assert torch.equal(hidden, outputs[0])


def test_branches_do_not_see_each_other():
    model, (tokens, actions) = dynamics(), clip()
    other = (tokens + 3) % CODES
    other[:, :3] = tokens[:, :3]
    _, trunk = extend(model, empty(model), tokens, actions, 0, 3)
    pasts = [trunk.writable(), None]
    _, pasts[0] = extend(model, pasts[0], tokens, actions, 3, 1)
    pasts[1] = trunk.writable()
    assert pasts[0].cache is trunk.cache and pasts[1].cache is not trunk.cache  # the second one is a copy
    _, pasts[1] = extend(model, pasts[1], other, actions, 3, 1)
    for content, past in zip((tokens, other), pasts, strict=True):
        hidden, _ = extend(model, past, content, actions, 4, 1)
        torch.testing.assert_close(hidden, model.hidden(content, actions)[:, 4:5], atol=1e-4, rtol=0)


def test_selected_rows_share_until_they_are_written():
    model, (tokens, actions) = dynamics(), clip()
    _, past = extend(model, empty(model), tokens, actions, 0, 3)
    forked = past.select([2, 0, 2, 2])
    assert forked.cache is past.cache and forked.known() == (3,) * 4
    own = forked.writable()
    assert own.cache is not past.cache and own.known() == (3,) * 4
    chosen, between = tokens[[2, 0, 2, 2]], actions[[2, 0, 2, 2]]
    hidden, _ = extend(model, own, chosen, between, 3, 2)
    torch.testing.assert_close(hidden, model.hidden(chosen, between)[:, 3:5], atol=1e-4, rtol=0)


def test_a_row_that_begins_anew_takes_the_memory_from_earlier_states():
    model, (tokens, actions) = dynamics(), clip()
    _, earlier = extend(model, empty(model), tokens, actions, 0, 3)
    _, past = extend(model, earlier, tokens, actions, 3, 2)
    again = past.restarted([1])
    assert again.cache is past.cache and again.known() == (5, 0, 5)
    assert past.known() == (5, 0, 5)
    assert earlier.known() == (3, 0, 3)  # they notice, and run row 1 again
    assert earlier.writable().cache is not past.cache


def test_joined_rows_keep_what_they_know():
    model = dynamics()
    clips = [clip(2, seed=1), clip(1, seed=2)]
    pasts = [
        extend(model, empty(model, batch), *content, 0, length)[1]
        for batch, length, content in [(2, 4, clips[0]), (1, 2, clips[1])]
    ]
    joined = Past.joined(pasts)
    assert joined.known() == (4, 4, 2)
    tokens, actions = (torch.cat(parts) for parts in zip(*clips, strict=True))
    hidden, _ = extend(model, joined, tokens, actions, [4, 4, 2], 1)
    expected = model.hidden(tokens, actions)
    for row, at in enumerate((4, 4, 2)):
        torch.testing.assert_close(hidden[row, 0], expected[row, at], atol=1e-4, rtol=0)


def test_memory_is_allocated_once():
    model, (tokens, actions) = dynamics(), clip()
    past = empty(model)
    assert past.cache.num_bytes() == 0
    _, past = extend(model, past, tokens, actions, 0, 1)
    size, places = past.cache.num_bytes(), [buffer.data_ptr() for buffer in past.cache.keys]
    assert size == 3 * 2 * (3 * 6 * 2 * WINDOW * 16) * 4  # blocks, keys and values, [B, S, N, F, E], float32
    for start in range(1, WINDOW):
        _, past = extend(model, past, tokens, actions, start, 1)
    past = past.restarted([0, 1, 2])
    _, past = extend(model, past, tokens, actions, 0, 3)
    assert past.cache.num_bytes() == size and [buffer.data_ptr() for buffer in past.cache.keys] == places


def test_a_window_is_not_exceeded():
    model, (tokens, actions) = dynamics(), clip()
    _, past = extend(model, empty(model), tokens, actions, 0, WINDOW)
    with pytest.raises(AssertionError, match="no more frames"):
        past.span(1, torch.device("cpu"))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_in_bf16_to_its_own_tolerance(conditioning):
    model, (tokens, actions) = dynamics(conditioning), clip()
    exact = model.hidden(tokens, actions)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model.hidden(tokens, actions)
        past, parts = empty(model), []
        for start in range(WINDOW):
            hidden, past = extend(model, past, tokens, actions, start, 1)
            parts.append(hidden)
    rounding = (expected - exact).abs().max()
    assert rounding > 1e-4 and (torch.cat(parts, 1) - expected).abs().max() <= 2 * rounding


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_tokenizer_frame_by_frame(positions):
    transformer = options(positions)
    tokenizer = VideoTokenizer((8, 12), 4, width=16, num_blocks=2, num_heads=2, num_codes=64, quantizer="fsq",
                               levels=[4, 4, 4], transformer=transformer)  # fmt: skip
    initialize(tokenizer, 0)
    tokenizer.eval()
    frames = torch.rand(3, WINDOW, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(64, (3, WINDOW, 6), generator=torch.Generator().manual_seed(1))
    latents, decoded = tokenizer._latents(frames), tokenizer.decode(tokens)
    device = torch.device("cpu")
    encoding, decoding = (Past.empty(2, 3, WINDOW) for _ in range(2))
    for t in range(WINDOW):
        one = tokenizer._latents(frames[:, t : t + 1], encoding.span(1, device))
        torch.testing.assert_close(one[:, 0], latents[:, t], atol=1e-4, rtol=0)
        one = tokenizer.decode(tokens[:, t : t + 1], decoding.span(1, device))
        torch.testing.assert_close(one[:, 0], decoded[:, t], atol=1e-5, rtol=0)
        encoding, decoding = encoding.appended(1), decoding.appended(1)
    assert (tokenizer.decode(tokens[:, :1])[:, 0] - decoded[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_frames_after_a_clean_context_are_what_the_cached_model_makes(conditioning, positions):
    """Training with a clean context computes what a sampler asks for: frame t, partly masked, behind t true ones."""
    model, size = dynamics(conditioning, positions), GRID[0] * GRID[1]
    context = torch.randint(CODES, (2, WINDOW, size))
    tokens = torch.randint(CODES + 1, (2, WINDOW, size))  # other ones, some of them masks
    actions = torch.randint(3, (2, WINDOW - 1))
    found = model.hidden_after(tokens, actions, context)
    incoming = F.pad(actions, (1, 0))
    for t in range(1, WINDOW):
        past = Past.empty(model.transformer.num_caches, 2, WINDOW)
        model.extend(context[:, :t], incoming[:, :t], past.span(t, context.device))
        span = past.appended(t).span(1, context.device)
        expected = model.extend(tokens[:, t : t + 1], incoming[:, t : t + 1], span)
        torch.testing.assert_close(found[:, t - 1], expected[:, 0], atol=1e-4, rtol=0)
