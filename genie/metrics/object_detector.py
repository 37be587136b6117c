"""Object detector.

Where is an object in a picture that nobody drew by rule? Found by its colour, its size and the region it keeps to.

What an object looks like is learned from true frames x with background b and recorded positions:

- its colour direction u, a unit vector over the channels: the mean of x − b at its positions;
- its mass: the sum of (x − b) · u over its pixels, the median over true frames. Between two pixels an object is dimmer
  and wider, and its mass is the same;
- its region: a paddle keeps to its column, a ball goes everywhere.

In any picture, a pixel belongs to an object when its difference from the background is long enough, points along u
(their cosine is large), and along no other object's u better. Pixels that touch are a blob. A blob *is* the object
when its mass is right within a factor, and its centroid in the region. So half a paddle at a wall still counts, a faint
trace or a white picture does not, and a picture of noise shows as an object that is there many times.

Objects are assumed to have one colour each. Two that share a colour are told apart by mass and region alone.

Dimension letters: `N` pictures, `B T` batch and frames, `O` objects, `C H W` channels and pixels, `M` blobs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from genie.common.device import full_precision

# pixels of one picture touch along sides and corners; pictures do not touch
TOUCHING = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
SAME_COLOUR = 0.01  # cosines that differ by less cannot tell two objects apart


@dataclass(frozen=True)
class Blobs:
    """M blobs: the number of their `picture` and their `object` int64 [M], `place` float [M, 2] = (x, y) in pixels,
    `mass` float [M] in units of the object's own."""

    picture: Tensor
    object: Tensor
    place: Tensor
    mass: Tensor

    def where(self, chosen: Tensor) -> "Blobs":
        """Those for which `chosen` bool [M] is True."""
        return Blobs(self.picture[chosen], self.object[chosen], self.place[chosen], self.mass[chosen])


class ObjectDetector:
    """Finds the objects whose positions in true frames were recorded.

    Args:
        frames: true frames [N, C, H, W] in [0, 1].
        objects: positions [N, O, 2] in them, (x, y) in pixels, NaN where absent.
        background: [C, H, W] in [0, 1].
        least_mass: share of its mass that a blob has to have to be the object; at most its inverse.
        min_contrast: length of a pixel's difference from the background, in units of the full range of one channel,
            below which nothing is seen.
        alignment: cosine between that difference and u from which on a pixel can belong to an object.
        tolerance: pixels between a recorded position and a centroid at which they are the same object.
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
        self.masses = torch.stack(medians)  # NaN for an object that is never seen: then it is never found

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
        """Twice as far in each direction as the object was ever seen to go: few frames do not show all of its way."""
        known = objects.isfinite()
        low = objects.masked_fill(~known, float("inf")).amin(0)
        high = objects.masked_fill(~known, -float("inf")).amax(0)
        return low - (high - low) - self.tolerance, high + (high - low) + self.tolerance

    def blobs(self, frames: Tensor) -> Blobs:
        """The connected pixels of each object in frames [N, C, H, W] in [0, 1], within its region, of any mass."""
        difference = frames.float() - self.background
        with full_precision(difference):  # thresholds tell pixels apart that bf16 takes for the same
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
        """The blobs of object number `index` where `amount` [N, H, W] is above 0."""
        values = amount.double().numpy()
        labels, count = ndimage.label(values > 0, structure=TOUCHING)
        numbers = np.arange(1, count + 1)
        centres = np.array(ndimage.center_of_mass(values, labels, numbers)).reshape(count, 3)
        centres = torch.from_numpy(centres).float()
        mass = torch.from_numpy(np.asarray(ndimage.sum_labels(values, labels, numbers))).float()
        picture = centres[:, 0].round().long()
        return picture, torch.full_like(picture, index), centres[:, [2, 1]], mass / self.masses[index]

    def are_objects(self, blobs: Blobs) -> Tensor:
        """bool [M]: which blobs have the mass of their object."""
        return (blobs.mass >= self.least_mass) & (blobs.mass <= 1 / self.least_mass)

    def distance(self, blobs: Blobs, objects: Tensor) -> Tensor:
        """Pixels [M] from each blob to the recorded position of its object in objects [N, O, 2]; infinite without."""
        away = (blobs.place - objects[blobs.picture, blobs.object]).norm(dim=-1)
        return away.nan_to_num(nan=float("inf"))
