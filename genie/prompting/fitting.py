"""A picture of any shape becomes one of the model's size."""

from typing import Any

import numpy as np

from data_modules.image_resize import Fit


def usual_fit(config: dict[str, Any]) -> str:
    """How the frames were fitted that a run was trained on, by its configuration."""
    return config.get("data", {}).get("fit", "squeeze")


def fit_picture(
    picture: np.ndarray, size: tuple[int, int], how: str, around: np.ndarray | tuple[int, int, int] = (0, 0, 0)
) -> np.ndarray:
    """uint8 [H, W, 3] → [*size, 3], `how` as in `Fit`; "pad" shows the colour `around` the picture."""
    fit = Fit(picture.shape[:2], size, how)
    fitted = fit(picture[None])[0]
    if how == "pad":
        (top, left), (height, width) = fit.place, fit.filled
        inside = fitted[top : top + height, left : left + width].copy()
        fitted[:] = around
        fitted[top : top + height, left : left + width] = inside
    return fitted
