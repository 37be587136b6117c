"""Object detector by colour, mass and region, learned from true frames with recorded positions.

What an object looks like in frames x with background b:

- Colour direction u, a unit vector over the channels: the mean of x − b at the object's positions.
- Mass: the sum of (x − b) · u over its pixels, the median over true frames; it does not change between two pixels.
- Region: a paddle stays in its column, a ball is everywhere.

A pixel belongs to an object when its difference from the background is long enough and points along u (large cosine),
and along no other object's u better. Pixels that touch are a blob. A blob *is* the object when its mass is right within
a factor, and its centroid in the region: half a paddle at a wall counts, a faint trace or a white picture does not, and
noise shows as an object that is found many times.

Objects have one colour each; two of the same colour are distinguished by mass and region alone.

Dimension letters: `N` pictures, `B T` batch and frames, `O` objects, `C H W` channels and pixels, `M` blobs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from genie.common.device import full_precision

# pixels of one picture touch along sides and corners
TOUCHING = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
SAME_COLOUR = 0.01  # cosines that differ by less count as equal


@dataclass(frozen=True)
class Blobs:
    """M blobs: numbers of their `picture` and `object` int64 [M], `place` float [M, 2] = (x, y) in pixels, `mass` float
    [M] in units of the object's own."""

    picture: Tensor
    object: Tensor
    place: Tensor
    mass: Tensor

    def where(self, chosen: Tensor) -> "Blobs":
        """The blobs with `chosen` bool [M]."""
        return Blobs(self.picture[chosen], self.object[chosen], self.place[chosen], self.mass[chosen])


class ObjectDetector:
    """Finds the objects whose positions in true frames were recorded.

    Args:
        frames: true frames [N, C, H, W] in [0, 1].
        objects: positions [N, O, 2] in them, (x, y) in pixels, NaN where absent.
        background: [C, H, W] in [0, 1].
        least_mass: least share of the object's mass in its blob, and inverse of the largest.
        min_contrast: least length of a visible pixel's difference from the background, in units of the full range of
            one channel.
        alignment: least cosine between that difference and u in an object's pixel.
        tolerance: pixels between the recorded position and the centroid of an object.
    """

    def __init__(
        self,
        frames: Tensor,
        objects: Tensor,
        background: Tensor,
        least_mass: float = 1 / 3,
        min_contrast: float = 0.1,
        alignment: float = 0.9,
        tolerance: float = 2.0,
    ) -> None:
        self.background, self.least_mass = background, least_mass
        self.min_contrast, self.alignment, self.tolerance = min_contrast, alignment, tolerance
        self.num_objects = objects.shape[1]
        self.directions = self._directions(frames, objects)  # [O, C]
        self.low, self.high = self._regions(objects)  # [O, 2] each
        self.masses = torch.ones(self.num_objects)
        blobs = self.blobs(frames)
        own = blobs.where(self.distance(blobs, objects) <= tolerance)
        medians = [own.mass[own.object == index].median() for index in range(self.num_objects)]
        self.masses = torch.stack(medians)  # NaN for an object that is never seen, nor found

    def _directions(self, frames: Tensor, objects: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        directions = torch.zeros(self.num_objects, frames.shape[1])
        for index in range(self.num_objects):
            picture = torch.nonzero(objects[:, index].isfinite().all(-1))[:, 0]
            x, y = objects[picture, index].round().long().unbind(-1)
            x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
            marks = frames[picture, :, y, x] - self.background[:, y, x].T
            directions[index] = marks[marks.norm(dim=-1) >= self.min_contrast].sum(0)
        return directions / directions.norm(dim=-1, keepdim=True).clamp_min(1e-12)

    def _regions(self, objects: Tensor) -> tuple[Tensor, Tensor]:
        """The range of recorded positions, widened by itself at both ends: few frames show a part of it."""
        known = objects.isfinite()
        low = objects.masked_fill(~known, float("inf")).amin(0)
        high = objects.masked_fill(~known, -float("inf")).amax(0)
        return low - (high - low) - self.tolerance, high + (high - low) + self.tolerance

    def blobs(self, frames: Tensor) -> Blobs:
        """The connected pixels of each object in frames [N, C, H, W] in [0, 1], within its region, of any mass."""
        difference = frames.float() - self.background
        with full_precision(difference):  # thresholds are finer than bf16
            along = torch.einsum("nchw,oc->nohw", difference, self.directions)
        length = difference.norm(dim=1)[:, None]  # [N, 1, H, W]
        cosine = along / length.clamp_min(1e-12)
        belongs = (length >= self.min_contrast) & (cosine >= self.alignment)
        belongs &= cosine >= cosine.amax(dim=1, keepdim=True) - SAME_COLOUR
        found = [self._connected((along * belongs)[:, index], index) for index in range(self.num_objects)]
        blobs = Blobs(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        inside = (blobs.place >= self.low[blobs.object]) & (blobs.place <= self.high[blobs.object])
        return blobs.where(inside.all(-1))

    def _connected(self, amount: Tensor, index: int) -> tuple[Tensor, ...]:
        """The blobs of object number `index` where `amount` [N, H, W] > 0."""
        values = amount.double().numpy()
        labels, count = ndimage.label(values > 0, structure=TOUCHING)
        numbers = np.arange(1, count + 1)
        centres = torch.from_numpy(np.array(ndimage.center_of_mass(values, labels, numbers)).reshape(count, 3)).float()
        mass = torch.from_numpy(np.asarray(ndimage.sum_labels(values, labels, numbers))).float()
        picture = centres[:, 0].round().long()
        return picture, torch.full_like(picture, index), centres[:, [2, 1]], mass / self.masses[index]

    def are_objects(self, blobs: Blobs) -> Tensor:
        """bool [M]: whether blobs have the mass of their object."""
        return (blobs.mass >= self.least_mass) & (blobs.mass <= 1 / self.least_mass)

    def distance(self, blobs: Blobs, objects: Tensor) -> Tensor:
        """Pixels [M] from each blob to the position of its object in objects [N, O, 2]; infinite without one."""
        away = (blobs.place - objects[blobs.picture, blobs.object]).norm(dim=-1)
        return away.nan_to_num(nan=float("inf"))
