"""A picture of what each action changes: latent actions above, true ones beneath, all on one scale.

Dimension letters: `A` actions, `C H W` channels and pixels.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from genie.common.media import BACKGROUND_COLOR, enlarge, grid, scale_to, text_size, to_bytes, write_png

BRIGHTEST = 0.999  # quantile of the changes that gets the full range: one pixel must not make all others grey


def draw_effects(effects: dict[str, dict[str, Tensor]], labels: dict[str, list[str]], path: Path) -> None:
    """Writes two rows for each kind of action in `effects` (what `ActionEffects` computes): the mean change of every
    pixel around grey, and without its sign on black; a column for each action, named by the `labels` of its kind."""
    seen = [kind["absolute"][kind["transitions"] > 0].flatten() for kind in effects.values()]
    limit = max([1e-6, *(float(np.quantile(values.numpy(), BRIGHTEST)) for values in seen if len(values))])
    names = {kind: [f"{kind}: change", f"{kind}: |change|"] for kind in effects}
    widths = {kind: max(text_size(name)[1] for name in names[kind]) for kind in effects}
    blocks = []
    for kind, maps in effects.items():
        scale = scale_to(maps["signed"].shape[-2], 128)
        signed = 0.5 + maps["signed"].nan_to_num(0) / (2 * limit)
        absolute = maps["absolute"].nan_to_num(0) / limit
        rows = [[enlarge(to_bytes(picture), scale) for picture in row] for row in (signed, absolute)]
        block = grid(rows, names[kind], labels[kind])
        blocks.append(_padded(block, left=max(widths.values()) - widths[kind]))  # columns beneath each other
    width = max(block.shape[1] for block in blocks)
    write_png(path, np.concatenate([_padded(block, right=width - block.shape[1]) for block in blocks]))


def _padded(picture: np.ndarray, left: int = 0, right: int = 0) -> np.ndarray:
    canvas = np.full((len(picture), left + picture.shape[1] + right, 3), BACKGROUND_COLOR, dtype=np.uint8)
    canvas[:, left : left + picture.shape[1]] = picture
    return canvas
