"""Rated pairs as training data of a reward model: features, computed once, and preferences.

Dimension letters: `P` pairs, `T` observations of a segment, `n` = T-1 steps, `F` the shape of features.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_modules.annotations import Window, parts
from data_modules.clip_data import ClipData
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in
from genie.labeling.rate import BETTER, Preferences, SegmentPair
from genie.world.protocol import World

FEWEST = 10  # pairs for training
HELD_OUT = 5  # one of 5 pairs is for validation


class RatedPairs:
    """The pairs of a file of `genie.rate`, of the data of the group `data`; `seed` decides which are held out.

    Raises UserError for a missing file, too few pairs, and pairs of different lengths.
    """

    def __init__(self, path: str, data: dict[str, Any], seed: int) -> None:
        if not Path(path).exists():
            raise UserError(f"there is no reward.ratings={path}: `python -m genie.rate` writes it")
        module = ClipData(**{**data, "augmentation": None, "min_quality": None})
        self.readers = parts(module.open())
        given = Preferences(Path(path), {}, self.readers).given
        if len(given) < FEWEST:
            raise UserError(f"{path} says which is better of {len(given)} pairs: give {FEWEST} at least")
        lengths = {pair.this.stop - pair.this.first for pair in given}
        if len(lengths) > 1:
            raise UserError(f"{path} has segments of {' and '.join(map(str, sorted(lengths)))} frames: give one length")
        generator, rated = torch.Generator().manual_seed(fold_in(seed, Stream.RATED_PAIR)), list(given.items())
        pairs = [rated[number] for number in torch.randperm(len(rated), generator=generator).tolist()]
        held = len(pairs) // HELD_OUT
        self.pairs = {"held_out": pairs[:held], "train": pairs[held:]}
        self.features: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def draw(self, world: World, seeds: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """A pair for each of the seeds int64 [P]: the features [P, n, *F] of the states after the steps of one segment
        and of the other, and the preference [P] in [0, 1] for the first; without `training`, from those held out."""
        first, second, labels = self.all(world, "train" if training else "held_out")
        chosen = [fold_in(seed, Stream.RATED_PAIR) % len(labels) for seed in seeds.tolist()]
        return first[chosen], second[chosen], labels[chosen]

    def agreement(self, world: World, worth: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """`rated_accuracy`: of the held-out pairs that are not equal, the share in which the segment of larger `worth`
        is the preferred one; `rated_pairs`: their number."""
        first, second, labels = self.all(world, "held_out")
        decided = labels != 0.5
        right = ((worth(first) > worth(second)) == (labels > 0.5))[decided].float()
        return {"rated_accuracy": right.sum() / max(len(right), 1), "rated_pairs": torch.tensor(float(len(right)))}

    @torch.no_grad()
    def all(self, world: World, which: str) -> tuple[Tensor, Tensor, Tensor]:
        """All pairs of `which`, "train" or "held_out", as in `draw`."""
        if which not in self.features:
            pairs: list[tuple[SegmentPair, str]] = self.pairs[which]
            first, second = (
                torch.stack([self._features(world, getattr(pair, side)) for pair, _ in pairs])
                for side in ("this", "other")
            )
            labels = torch.tensor([BETTER[better] for _, better in pairs], device=first.device)
            self.features[which] = first, second, labels
        return self.features[which]

    def _features(self, world: World, window: Window) -> Tensor:
        reader, actions = self.readers[window.part], None
        frames = torch.from_numpy(reader.frames(window.first, window.stop).transpose(0, 3, 1, 2).copy())
        if world.takes_environment_actions:
            taken = torch.from_numpy(reader.column("actions", window.first, window.stop - 1))
            actions = taken[None].to(world.device)
        return world.trace(frames[None].to(world.device).float() / 255, actions)[0, 1:]
