"""The tokens: how many of them does one pass get right after a true past, and do they keep still where pixels do?

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from genie.evaluation.clips import Clips, in_segments
from genie.evaluation.rollout import true_actions
from genie.evaluation.trained_run import LeftOut, Trained, TrainedRun
from genie.metrics.token_accuracy import TokenAccuracy, TokenJitter, showing
from genie.models import DynamicsModel

AT_ONCE = 8  # clips: the logits of all their tokens are in memory together


def evaluate_tokens(subject: TrainedRun, clips: Clips) -> dict[str, float]:
    """Figures of `TokenJitter`, and of `TokenAccuracy` where there is a world whose actions are known.

    Clips are cut into stretches as long as those of the training, as for reconstructions; the first frame of each is
    past alone.
    """
    tokenizer, accuracy, jitter = subject.tokenizer, TokenAccuracy(), TokenJitter()
    patches, background = tokenizer.model.patches, clips.background
    for batch in _few_at_a_time(clips):
        frames = batch.floats()
        tokens = encode(tokenizer, frames)
        for part, seen in zip(tokens.split(tokenizer.window, 1), frames.split(tokenizer.window, 1), strict=True):
            jitter.update(part, seen, background, patches)
    found = jitter.compute()
    try:
        world, _ = subject.world, true_actions(subject, clips.sample(1))
    except LeftOut:
        return found
    trained = Trained(world.tokenizer, world.window)
    for batch in _few_at_a_time(clips):
        frames, actions = batch.floats(), true_actions(subject, batch)
        shown = showing(patches, frames, background)
        for start in range(0, frames.shape[1] - 1, world.window):  # a stretch of one frame is past alone
            part = slice(start, start + world.window)
            tokens = encode(trained, frames[:, part]).to(world.device)
            steps = actions[:, start : start + tokens.shape[1] - 1]
            nats, right = after_true_past(world.dynamics, tokens, steps)
            ours = (nats, right, tokens[:, 1:], tokens[:, :-1])
            accuracy.update(*(values.cpu() for values in ours), shown[:, part][:, 1:])
    return accuracy.compute() | found


def encode(tokenizer: Trained, frames: Tensor) -> Tensor:
    """Tokens int64 [B, T, S] of frames [B, T, C, H, W] in [0, 1], in stretches of its window; on the CPU."""
    device = next(tokenizer.model.parameters()).device
    return in_segments(lambda part: (tokenizer.model.encode(part),), frames.to(device), tokenizer.window)[0].cpu()


@torch.no_grad()
def after_true_past(model: DynamicsModel, tokens: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Of every frame but the first of true tokens int64 [B, T, S], guessed in one pass (all of its tokens hidden) after
    all true frames before it: cross-entropy in nats and whether the likeliest code is right, [B, T-1, S] each."""
    hidden = torch.ones_like(tokens, dtype=torch.bool)
    hidden[:, 0] = False
    nats, right = model.score(tokens, actions, hidden, tokens, tokens)
    return nats.view(tokens[:, 1:].shape), right.view(tokens[:, 1:].shape)


def _few_at_a_time(clips: Clips) -> Iterator[Clips]:
    for start in range(0, len(clips), AT_ONCE):
        yield clips.select(torch.arange(start, min(start + AT_ONCE, len(clips))))
