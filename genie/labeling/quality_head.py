"""Ridge regression from features of windows to their quality, and its predictions of held-out ratings.

The fit, and every fit with some ratings held out, comes from one singular value decomposition: without the ratings of
a group G, its predictions are off by (1 - H_GG)⁻¹ r_G, with r the residuals of the whole fit and H its hat matrix. This
is exact for ridge regression with a free intercept.

Dimension letters: `N` windows, `D` features.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from genie.common.errors import UserError
from genie.common.files import replacing

PENALTIES = 10.0 ** np.arange(-4, 2)  # times the largest eigenvalue
OUTLYING = 5.0  # deviations, to which features are clipped: the ratings do not support extrapolation
SMALLEST = 1e-6  # deviation below which a feature counts as constant


@dataclass
class Head:
    """Callable float64 [N, D] → quality [N]. `settings`: of the computation of its features."""

    mean: np.ndarray  # [D] of the features of the rated windows; likewise the others
    deviation: np.ndarray
    share: np.ndarray  # weight of a feature, smaller in larger blocks
    weights: np.ndarray
    intercept: float
    settings: dict[str, Any]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return self.scaled(features) @ self.weights + self.intercept

    def scaled(self, features: np.ndarray) -> np.ndarray:
        return ((features - self.mean) / self.deviation).clip(-OUTLYING, OUTLYING) * self.share

    def save(self, path: Path) -> None:
        """Writes a safetensors file, whole or not at all. Raises UserError where it cannot be written."""
        arrays = {name: getattr(self, name) for name in ("mean", "deviation", "share", "weights")}
        arrays["intercept"] = np.array([self.intercept])
        try:
            with replacing(path) as file:
                file.write(safetensors.numpy.save(arrays, {"settings": json.dumps(self.settings)}))
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror or error}): give output= another folder") from error

    @classmethod
    def load(cls, path: Path) -> "Head":
        """Reads a file of `save`. Raises UserError for anything else."""
        try:
            with safe_open(path, "numpy") as file:
                names = file.keys()
                arrays = {name: file.get_tensor(name) for name in names}
                settings = json.loads(file.metadata()["settings"])
            return cls(**arrays | {"intercept": float(arrays["intercept"][0])}, settings=settings)
        except FileNotFoundError:
            raise UserError(f"there is no head {path}: `python -m genie.curate step=train` trains one") from None
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no head of genie.curate ({error}): train it again") from error


@dataclass
class RidgeFit:
    """`held_out` [N]: the quality of each window by a head that was fitted without its group."""

    head: Head
    held_out: np.ndarray
    penalty: float


def fit_head(blocks: list[np.ndarray], ratings: np.ndarray, groups: list, settings: dict[str, Any]) -> RidgeFit:
    """Fits the ratings [N] with the penalty of the smallest held-out error.

    blocks: features [N, D_i] of several kinds, weighted so that all kinds count the same.
    groups: N values; windows of one group, which resemble each other, are held out together.
    """
    features = np.concatenate(blocks, axis=1)
    share = np.concatenate([np.full(block.shape[1], block.shape[1] ** -0.5) for block in blocks])
    deviation = features.std(axis=0)
    deviation[deviation < SMALLEST] = np.inf  # ignored
    head = Head(features.mean(axis=0), deviation, share, np.zeros(len(share)), float(ratings.mean()), settings)
    inputs = head.scaled(features)
    centre = inputs.mean(axis=0)
    left, sizes, right = np.linalg.svd(inputs - centre, full_matrices=False)
    members = [np.flatnonzero([group == one for group in groups]) for one in dict.fromkeys(groups)]
    best: RidgeFit | None = None
    smallest_error = np.inf
    for penalty in PENALTIES * max(sizes[0] ** 2, SMALLEST):
        shrink = sizes**2 / (sizes**2 + penalty)
        held_out = _held_out(left, shrink, ratings, members)
        error = float(np.square(held_out - ratings).mean())
        if error < smallest_error:
            weights = right.T @ (sizes / (sizes**2 + penalty) * (left.T @ (ratings - ratings.mean())))
            intercept = float(ratings.mean() - centre @ weights)
            fitted = Head(head.mean, deviation, share, weights, intercept, settings)
            best, smallest_error = RidgeFit(fitted, held_out, float(penalty)), error
    return best


def _held_out(left: np.ndarray, shrink: np.ndarray, ratings: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Predictions [N], of each group without its ratings."""
    centred = ratings - ratings.mean()
    residuals = centred - left @ (shrink * (left.T @ centred))
    held_out = np.empty(len(ratings))
    for group in members:
        hat = left[group] * shrink @ left[group].T + 1 / len(ratings)
        held_out[group] = ratings[group] - np.linalg.solve(np.eye(len(group)) - hat, residuals[group])
    return held_out


@dataclass(frozen=True)
class Agreement:
    """Agreement of qualities with ratings, both at least `threshold`; NaN for a share of no windows."""

    threshold: float
    precision: float
    recall: float
    kept: float  # share of windows with the quality


def agreement(quality: np.ndarray, ratings: np.ndarray, threshold: float) -> Agreement:
    kept, good = quality >= threshold, ratings >= threshold
    both = float((kept & good).sum())
    precision, recall = (both / n if (n := group.sum()) else float("nan") for group in (kept, good))
    return Agreement(threshold, precision, recall, float(kept.mean()))
