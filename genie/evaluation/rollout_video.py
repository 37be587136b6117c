"""True and imagined videos beside each other, with their difference.

Dimension letters: `N` clips, `T` frames, `P` given ones, `C H W` channels and pixels.
"""

from pathlib import Path

import torch
from torch import Tensor

from genie.common.media import border_by_origin, enlarge, grid, scale_to, to_bytes, write_mp4

SHOWN = 6  # clips in a video


def draw_videos(truth: Tensor, imagined: Tensor, prompt: int, labels: list[str], fps: float, path: Path) -> None:
    """A row for each of some clips, in columns with `labels`: the truth, the imagined video and their difference.

    truth uint8 [N, T, C, H, W], of which the first P = `prompt` frames were given; imagined uint8 [N, T-P, C, H, W].
    """
    count = min(SHOWN, len(truth))
    chosen = torch.arange(count) * len(truth) // count
    scale = scale_to(truth.shape[-2], 128)
    true = truth[chosen]
    video = torch.cat([true[:, :prompt], imagined[chosen]], dim=1)
    error = (video.int() - true.int()).abs().byte()
    parts = [
        border_by_origin(enlarge(to_bytes(part), scale).swapaxes(0, 1), prompt, 3) for part in (true, video, error)
    ]
    rows = [[part[:, index] for part in parts] for index in range(count)]
    write_mp4(path, grid(rows, column_labels=labels), fps)
