"""Tokens that are right after a true past, and tokens that change where the picture does not.

Most tokens of a game show the background and stay as they are: a share over all of them is high for a model that knows
nothing of what moves. So they are counted three times:

- `token`: all of them;
- `object_token`: those of patches that show something, where a pixel of the true frame differs from the background by
  more than `SHOWS` of the full range of a channel;
- `changed_token`: those that are not the ones of the true frame before (a copy of which has none of them right).

A tokenizer *jitters* where a token changes from one frame to the next and no pixel of its patch does (by more than
`STILL`, the rounding of 8 bits): this is noise, which nobody can predict and a dynamics wastes its capacity on.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `C H W` channels and pixels.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from genie.models.patches import Patches

SHOWS = 0.1
STILL = 1.5 / 255  # by one of 256 levels, a pixel that is recorded anew may differ
KINDS = ("token", "object_token", "changed_token")


def showing(patches: Patches, frames: Tensor, background: Tensor) -> Tensor:
    """bool [B, T, S]: which patches of frames [B, T, C, H, W] in [0, 1] show something before [C, H, W]."""
    return patches.cut((frames.float() - background).abs()).amax(-1) > SHOWS


class TokenAccuracy(Metric):
    """Share of right tokens and cross-entropy of each of `KINDS`, beside a copy of the frame before."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "right", "copied", "nats"):
            self.add_state(name, torch.zeros(len(KINDS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, nats: Tensor, right: Tensor, tokens: Tensor, before: Tensor, shown: Tensor) -> None:
        """Of predicted tokens, [..., S] each: their cross-entropy, whether the likeliest code is right, the true tokens
        int64, those of the true frame before, and whether their patch shows something."""
        changed = tokens != before
        for number, chosen in enumerate((torch.ones_like(shown), shown, changed)):
            self.count[number] += chosen.sum()
            self.right[number] += (right & chosen).sum()
            self.copied[number] += (~changed & chosen).sum()
            self.nats[number] += nats.double().where(chosen, 0).sum()

    def compute(self) -> dict[str, float]:
        """`<kind>_accuracy`, `<kind>_accuracy_copy_last` and `<kind>_cross_entropy` in nats of each kind of which there
        is any token; `share_object_tokens` and `share_changed_tokens`, of all tokens."""
        found = {}
        for number, kind in enumerate(KINDS):
            if count := float(self.count[number]):
                found[f"{kind}_accuracy"] = float(self.right[number]) / count
                found[f"{kind}_accuracy_copy_last"] = float(self.copied[number]) / count
                found[f"{kind}_cross_entropy"] = float(self.nats[number]) / count
                if number:
                    found[f"share_{kind}s"] = count / float(self.count[0])
        return found


class TokenJitter(Metric):
    """Share of tokens that change where the picture does not."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("changed", "count"):
            self.add_state(name, torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tokens: Tensor, frames: Tensor, background: Tensor, patches: Patches) -> None:
        """Tokens int64 [B, T, S] of true frames [B, T, C, H, W] in [0, 1], which follow one another; background
        [C, H, W]."""
        still = patches.still(frames.float(), STILL)  # [B, T-1, S]
        empty = still & ~showing(patches, frames, background)[:, 1:]
        changed = tokens[:, 1:] != tokens[:, :-1]
        for number, chosen in enumerate((still, empty)):
            self.count[number] += chosen.sum()
            self.changed[number] += (changed & chosen).sum()

    def compute(self) -> dict[str, float]:
        """`jitter`, of the patches whose pixels do not change, and `background_jitter`, of those of them that show
        nothing; each where there is any such patch."""
        shares = zip(("jitter", "background_jitter"), self.changed, self.count, strict=True)
        return {name: float(changed) / float(count) for name, changed, count in shares if count}
