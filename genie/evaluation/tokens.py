"""Token metrics: accuracy of one pass after a true past, and jitter of tokens where pixels do not change.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from data_modules.held_out_clips import Clips, in_segments
from genie.evaluation.part import Part, Row, number, percent
from genie.evaluation.rollout import true_actions
from genie.evaluation.trained_run import LeftOut, Trained, TrainedRun
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.metrics.token_accuracy import TokenAccuracy, TokenJitter, showing
from genie.models import DynamicsModel

AT_ONCE = 8  # clips: the logits of all their tokens are in memory together


def evaluate_tokens(run: TrainedRun, clips: Clips) -> dict[str, float]:
    """Metrics of `TokenJitter`, and of `TokenAccuracy` where there is a world whose actions are known.

    Clips are cut into stretches as long as those of the training, as for reconstructions; the first frame of each is
    past alone.
    """
    tokenizer, accuracy, jitter = run.tokenizer, TokenAccuracy(), TokenJitter()
    patches, background = tokenizer.model.patches, clips.background
    for batch in _few_at_a_time(clips):
        frames = batch.floats()
        tokens = encode(tokenizer, frames)
        for part, seen in zip(tokens.split(tokenizer.window, 1), frames.split(tokenizer.window, 1), strict=True):
            jitter.update(part, seen, background, patches)
    found = jitter.compute()
    try:
        world, _ = run.world, true_actions(run, clips.sample(1))
    except LeftOut:
        return found
    trained = Trained(world.tokenizer, world.window)
    for batch in _few_at_a_time(clips):
        frames, actions = batch.floats(), true_actions(run, batch)
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


ACCURACY = Definition(
    "tokens", "Right tokens", "Tokens",
    "One pass of the dynamics guesses all tokens of a frame when all frames before it are the true ones. Most "
    "tokens show the background and stay as they are, so that a copy of the frame before is right for most of "
    "them. Those of patches that show something, and those that change, say what the dynamics knows.",
)  # fmt: skip
JITTER = Definition(
    "jitter", "Jitter", "Tokens",
    "Tokens that change from one frame to the next though no pixel of their patch does: noise that nobody can "
    "predict.",
)  # fmt: skip


def _accuracy(kind: str, label: str, says: str, more: dict[str, str], logged: str = "") -> MetricInfo:
    beside = {f"{kind}_cross_entropy": "cross-entropy [nats]"} | more
    return MetricInfo(f"tokens.{kind}_accuracy", label, says, ACCURACY, "%", 1, HIGHER, beside, logged)


def _rows(report: dict) -> list[Row]:
    figures, rows = report.get("tokens", {}), []
    for kind, label in (("token", "all"), ("object_token", "of objects"), ("changed_token", "that change")):
        if f"{kind}_accuracy" in figures:
            note = f"cross-entropy {number(figures[f'{kind}_cross_entropy'])} nats"
            shares = (percent(figures[f"{kind}_accuracy{end}"]) for end in ("", "_copy_last"))
            rows.append((f"right tokens, {label}", *shares, "", note))
    if "jitter" in figures:
        note = f"of the background {percent(figures['background_jitter'])}" if "background_jitter" in figures else ""
        rows.append(("jitter of tokens", percent(figures["jitter"]), "", "", note))
    return rows


TOKENS = Part(
    "tokens",
    lambda evaluation: {"tokens": evaluate_tokens(evaluation.run, evaluation.clips)},
    needs=("genie", "tokenizer"),
    metrics=(
        _accuracy("token", "right tokens", "in one pass after the true past", {}),
        _accuracy("object_token", "right tokens, of objects", "of patches that show something",
                  {"share_object_tokens": "share of all tokens"}, "val/object_token_accuracy"),
        _accuracy("changed_token", "right tokens, of those that change", "from the frame before",
                  {"share_changed_tokens": "share of all tokens"}, "val/changed_token_accuracy"),
        MetricInfo("tokens.{kind:token|object_token|changed_token}_cross_entropy", "cross-entropy", "", ACCURACY,
                   "nats", better=LOWER),
        MetricInfo("tokens.share_{kind:object|changed}_tokens", "share of all tokens", "", ACCURACY, "%", 1),
        MetricInfo("tokens.jitter", "jitter", "share of tokens that change where the picture does not", JITTER, "%",
                   better=LOWER, logged="val/jitter"),
        MetricInfo("tokens.background_jitter", "jitter of the background", "of patches that show nothing else", JITTER,
                   "%", better=LOWER, logged="val/background_jitter"),
    ),
    titles={"tokens": "Tokens after a true past"},
    rows=_rows,
    optional={"tokens.token_accuracy": "there is no dynamics, or it is not known what was done in the clips"},
)  # fmt: skip
