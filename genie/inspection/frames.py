"""How the frames of a split look: brightness, motion and duplicates, measured on clips spread over it."""

import hashlib
from typing import Any

import numpy as np

from data_modules.clips import ClipDataset

DARK = 0.02  # of full brightness: a frame whose mean is below is black to the eye


def frame_facts(clips: ClipDataset, seen: dict[str, tuple[str, int]], split: str) -> dict[str, Any]:
    """Means over all sampled frames, in [0, 1], and what comes more than once.

    brightness; motion: mean absolute difference of neighbouring frames; dark: share of frames below `DARK`; still:
    share of frames that are the same as the one before; repeated: clips that are the same as another one of the split;
    in_other_split: clips that are the same as one of a split before. `seen`: the split and number of the first clip
    with each digest, of all splits before; those of this one are added.
    """
    brightness, motion, dark, still = [], [], [], []
    repeated = elsewhere = 0
    for index in range(len(clips)):
        frames = clips[index]["frames"]
        levels = frames.float().mean(dim=(1, 2, 3)) / 255
        brightness.append(levels.mean().item())
        dark.append((levels < DARK).float().mean().item())
        if len(frames) > 1:
            change = (frames[1:].float() - frames[:-1].float()).abs().mean(dim=(1, 2, 3)) / 255
            motion.append(change.mean().item())
            still.append((change == 0).float().mean().item())
        digest = hashlib.sha256(frames.numpy().tobytes()).hexdigest()
        former = seen.setdefault(digest, (split, index))
        # clips in which nothing moves are often the same: `still` says so already
        if former != (split, index) and not (still and still[-1] == 1):
            repeated += former[0] == split
            elsewhere += former[0] != split
    facts = {"brightness": brightness, "motion": motion, "dark": dark, "still": still}
    means = {name: float(np.mean(values)) if values else None for name, values in facts.items()}
    return means | {"clips_sampled": len(clips), "repeated": repeated, "in_other_split": elsewhere}
