"""Do small things survive? A Pong ball is a few pixels of thousands: a picture without it still has a high PSNR.

The data says where each object is (`objects` [B, T, O, 2]: x, y in pixels, NaN when absent). In the original frame x
with background b, the object's mark is the largest colour difference d = x − b (a vector over the channels) within
`radius` pixels of that position. The object has survived in a reconstruction r when, within `radius` pixels of the
*true* position, the difference r − b still goes in the direction of d by more than `threshold` of its length:

    max over pixels q near the position of (r(q) − b(q)) · d/|d|  >  threshold · |d|

A picture full of noise, or a white one, passes that test everywhere. So the same test, with the same d, is made at
the horizontally mirrored position, where nothing is: the share that "survives" there is the share of false alarms,
and survival means something only while that is small. Positions at which the original itself shows something there
(another object, the object itself near the middle) are left out of this control, and objects that the original
hardly shows (behind another, between two pixels) are left out of both.

Dimension letters: `B` batch, `T` frames, `O` objects, `C H W` channels and pixels, `M` objects seen.
"""

import torch
from torch import Tensor
from torchmetrics import Metric


class ObjectSurvival(Metric):
    """Shares of each object that survive, and of false alarms at the mirrored position.

    Args:
        num_objects: O.
        threshold: share of the original's contrast that has to be left.
        radius: pixels around a position (a square).
        min_contrast: length of d, in units of the full range of one channel, below which the original does not show
            the object; the control is made where the original's differences are all smaller, one pixel further around.
    """

    full_state_update = False

    def __init__(self, num_objects: int, threshold: float = 1 / 3, radius: int = 1, min_contrast: float = 0.1) -> None:
        super().__init__()
        self.threshold, self.radius, self.min_contrast = threshold, radius, min_contrast
        for name in ("survived", "seen", "alarms", "controls"):
            self.add_state(name, torch.zeros(num_objects, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, reconstruction: Tensor, frames: Tensor, objects: Tensor, background: Tensor) -> None:
        """reconstruction and frames [B, T, C, H, W], background [C, H, W], all in [0, 1]; objects [B, T, O, 2]."""
        original = (frames - background).flatten(0, 1)  # [B·T, C, H, W]
        rebuilt = (reconstruction.to(frames.dtype) - background).flatten(0, 1)
        width = frames.shape[-1]
        frame, index = torch.nonzero(objects.flatten(0, 1).isfinite().all(-1), as_tuple=True)
        place = objects.flatten(0, 1)[frame, index].round().long()  # [M, 2]
        marks = neighbourhood(original, frame, place, self.radius)  # [M, P, C]
        contrast, strongest = marks.norm(dim=-1).max(dim=1)  # [M]
        mark = marks.gather(1, strongest[:, None, None].expand(-1, 1, marks.shape[-1]))[:, 0]  # [M, C]
        seen = contrast >= self.min_contrast

        mirrored = torch.stack([width - 1 - place[:, 0], place[:, 1]], dim=-1)
        around = neighbourhood(original, frame, mirrored, self.radius + 1).norm(dim=-1).amax(dim=1)
        control = seen & (around < self.min_contrast)

        for counts, total, where, chosen in (
            (self.survived, self.seen, place, seen),
            (self.alarms, self.controls, mirrored, control),
        ):
            remains = self._remains(rebuilt, frame, where, mark, contrast)
            counts.index_add_(0, index[chosen], remains[chosen].to(counts.dtype))
            total.index_add_(0, index[chosen], torch.ones_like(remains[chosen], dtype=total.dtype))

    def _remains(self, rebuilt: Tensor, frame: Tensor, place: Tensor, mark: Tensor, contrast: Tensor) -> Tensor:
        """bool [M]: whether the mark [M, C] is found near `place`."""
        near = neighbourhood(rebuilt, frame, place, self.radius)  # [M, P, C]
        along = (near * mark[:, None]).sum(-1).amax(dim=1) / contrast.clamp_min(1e-12)
        return along > self.threshold * contrast

    def compute(self) -> dict[str, Tensor]:
        """[O] each: the shares `survival` and `false_alarms` (NaN: nothing counted), the counts `seen`, `controls`."""
        return {
            "survival": (self.survived / self.seen).float(),
            "false_alarms": (self.alarms / self.controls).float(),
            "seen": self.seen,
            "controls": self.controls,
        }


def neighbourhood(pictures: Tensor, index: Tensor, place: Tensor, radius: int) -> Tensor:
    """Pixels [M, (2·radius + 1)², C] of pictures [N, C, H, W] number `index` [M] around `place` [M, 2] = (x, y).

    Beyond the edge the edge's pixel is repeated.
    """
    height, width = pictures.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=pictures.device)
    rows = (place[:, 1, None, None] + steps[:, None]).clamp(0, height - 1)  # [M, P', 1]
    columns = (place[:, 0, None, None] + steps).clamp(0, width - 1)  # [M, 1, P']
    return pictures[index[:, None, None], :, rows, columns].flatten(1, 2)
