"""Next frame of a Genie world: tokens by the dynamics, pixels by the tokenizer's decoder.

Both keep the keys and values of earlier frames (a `Past`). The uncached variants compute the same up to rounding and
serve for comparison.

Dimension letters: `B` worlds, `n` visible frames, `S` tokens of one frame, `U` positions, `D` width, `K` codes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.common.random import FrameNoise
from genie.models import DynamicsModel, VideoTokenizer
from genie.models.kv_cache import Past, Span
from genie.world.sampler import Predict, Sampler
from genie.world.state import WorldState


def next_tokens(
    dynamics: DynamicsModel, sampler: Sampler, state: WorldState, actions: Tensor
) -> tuple[Tensor, Tensor, Tensor, Past]:
    """Tokens int64 [B, S] of the frame after `actions` int64 [B], their passes [B] and entropy [B] (`Sampler.sample`),
    and the dynamics' past with the frame before it."""
    incoming, device = led_to(state), actions.device
    past = past_before(dynamics, state)
    rows, last = torch.arange(len(state), device=device), torch.tensor(state.lengths, device=device) - 1
    before, led = state.tokens[rows, last], incoming[rows, last]
    span = None

    def predict(tokens: Tensor, asked: Tensor | None) -> Tensor:
        nonlocal past, span
        if span is None:
            both = torch.stack([before, tokens], dim=1), torch.stack([led, actions], dim=1)
            hidden = dynamics.extend(*both, past.span(2, device))
            past = past.appended(1)
            span = past.span(1, device)
        else:
            hidden = dynamics.extend(tokens[:, None], actions[:, None], span)
        return logits_at(dynamics, hidden[:, -1], asked)

    return (*sample(dynamics, sampler, state, predict), past)


def next_tokens_uncached(
    dynamics: DynamicsModel, sampler: Sampler, state: WorldState, actions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`next_tokens` from the whole window in every pass."""
    rows, ends = torch.arange(len(state)), torch.tensor(state.lengths)

    def predict(tokens: Tensor, asked: Tensor | None) -> Tensor:
        clip = state.appended(tokens, actions)
        return logits_at(dynamics, dynamics.hidden(clip.tokens, clip.actions)[rows, ends], asked)

    return sample(dynamics, sampler, state, predict)


def past_before(dynamics: DynamicsModel, state: WorldState) -> Past:
    """The dynamics' past with all frames of a state but the last, which is run together with the first pass for the new
    one."""
    incoming = led_to(state)

    def extend(rows: list[int] | slice, start: int, stop: int, span: Span) -> None:
        dynamics.extend(state.tokens[rows, start:stop], incoming[rows, start:stop], span)

    return state.dynamics.caught_up([length - 1 for length in state.lengths], extend, incoming.device)


def led_to(state: WorldState) -> Tensor:
    """int64 [B, n]: the actions that led to each frame, 0 to the first."""
    return F.pad(state.actions, (1, 0))


def logits_at(dynamics: DynamicsModel, hidden: Tensor, asked: Tensor | None) -> Tensor:
    """Logits [B, U, K] at the positions `asked` [B, U] (None: all S) of hidden states [B, S, D]."""
    if asked is not None:
        hidden = hidden.gather(1, asked[..., None].expand(-1, -1, hidden.shape[-1]))
    return dynamics.logits(hidden)


def sample(
    dynamics: DynamicsModel, sampler: Sampler, state: WorldState, predict: Predict
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, passes and entropy, drawn with the seeds and ages of a state."""
    noise = FrameNoise(state.seeds, state.ages)
    return sampler.sample(predict, noise, dynamics.num_tokens, dynamics.mask_token)


def newest_frame(tokenizer: VideoTokenizer, state: WorldState) -> tuple[Tensor, Past]:
    """The newest frame [B, C, H, W] of a state, and the decoder's past with it."""
    rows, device = torch.arange(len(state)), state.tokens.device
    last = torch.tensor(state.lengths) - 1

    def decode(rows: list[int] | slice, start: int, stop: int, span: Span) -> None:
        tokenizer.decode(state.tokens[rows, start:stop], span)

    before = state.decoder.shortened(last.tolist()).caught_up(last.tolist(), decode, device)
    frame = tokenizer.decode(state.tokens[rows, last][:, None], before.span(1, device))[:, 0]
    return frame, before.appended(1)


def newest_frame_uncached(tokenizer: VideoTokenizer, state: WorldState) -> Tensor:
    """`newest_frame` from all visible tokens."""
    return tokenizer.decode(state.tokens)[torch.arange(len(state)), torch.tensor(state.lengths) - 1]
