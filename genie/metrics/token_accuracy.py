"""Accuracy of predicted tokens after a true past, and jitter of tokens in unchanged patches.

Most tokens show a static background, so a share over all of them is high for any model. They are counted three times:

- `token`: all of them;
- `object_token`: those of patches in which a pixel of the true frame differs from the background by more than `SHOWS`
  of the full range of a channel;
- `changed_token`: those that differ from the true frame before (a copy of which has none of them right).

A tokenizer *jitters* where a token changes from one frame to the next and no pixel of its patch does (by more than
`STILL`, the rounding of 8 bits): unpredictable noise that wastes the capacity of the dynamics.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `C H W` channels and pixels.
"""

import torch
from torch import Tensor

from genie.metrics.sums import AdditiveMetric
from genie.models.patches import Patches

SHOWS = 0.1
STILL = 1.5 / 255  # a static pixel may change by one of 256 levels
KINDS = ("token", "object_token", "changed_token")


def showing(patches: Patches, frames: Tensor, background: Tensor) -> Tensor:
    """bool [B, T, S]: which patches of frames [B, T, C, H, W] in [0, 1] differ from the background [C, H, W]."""
    return patches.cut((frames.float() - background).abs()).amax(-1) > SHOWS


class TokenAccuracy(AdditiveMetric):
    """Accuracy and cross-entropy of each of `KINDS` of tokens, beside a copy of the frame before."""

    def __init__(self) -> None:
        super().__init__()
        self.add_sums("count", "right", "copied", "nats", shape=(len(KINDS),))

    def update(self, nats: Tensor, right: Tensor, tokens: Tensor, before: Tensor, shown: Tensor) -> None:
        """Of predicted tokens, [..., S] each: cross-entropy, whether the most likely code is right, true tokens int64,
        those of the true frame before, and whether their patch shows something."""
        changed = tokens != before
        for number, chosen in enumerate((torch.ones_like(shown), shown, changed)):
            self.count[number] += chosen.sum()
            self.right[number] += (right & chosen).sum()
            self.copied[number] += (~changed & chosen).sum()
            self.nats[number] += nats.double().where(chosen, 0).sum()

    def compute(self) -> dict[str, float]:
        """`<kind>_accuracy`, `<kind>_accuracy_copy_last` and `<kind>_cross_entropy` in nats of each kind with tokens;
        `share_object_tokens` and `share_changed_tokens`, of all tokens."""
        found = {}
        for number, kind in enumerate(KINDS):
            if count := float(self.count[number]):
                found[f"{kind}_accuracy"] = float(self.right[number]) / count
                found[f"{kind}_accuracy_copy_last"] = float(self.copied[number]) / count
                found[f"{kind}_cross_entropy"] = float(self.nats[number]) / count
                if number:
                    found[f"share_{kind}s"] = count / float(self.count[0])
        return found


class TokenJitter(AdditiveMetric):
    """Share of tokens that change where the picture does not."""

    def __init__(self) -> None:
        super().__init__()
        self.add_sums("changed", "count", shape=(2,))

    def update(self, tokens: Tensor, frames: Tensor, background: Tensor, patches: Patches) -> None:
        """Tokens int64 [B, T, S] of consecutive true frames [B, T, C, H, W] in [0, 1]; background [C, H, W]."""
        still = patches.still(frames.float(), STILL)  # [B, T-1, S]
        empty = still & ~showing(patches, frames, background)[:, 1:]
        changed = tokens[:, 1:] != tokens[:, :-1]
        for number, chosen in enumerate((still, empty)):
            self.count[number] += chosen.sum()
            self.changed[number] += (changed & chosen).sum()

    def compute(self) -> dict[str, float]:
        """`jitter` of the patches without change, and `background_jitter` of those that also show nothing; each where
        there are such patches."""
        shares = zip(("jitter", "background_jitter"), self.changed, self.count, strict=True)
        return {name: float(changed) / float(count) for name, changed, count in shares if count}
