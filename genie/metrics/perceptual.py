"""How different do two pictures look? The distance `lite0_perceptual`, between features instead of pixels.

The recipe of LPIPS (Zhang et al. 2018, arXiv 1801.03924) without its learned weights, on another network: the features
of five stages of EfficientNet-Lite0, each place's vector scaled to length 1, squared differences, averaged over places
and stages. It is NOT LPIPS, and no number of it can be compared with a published LPIPS.

Dimension letters: `N` pictures, `C H W` channels and pixels.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from genie.metrics.efficientnet_lite import SHRINKS, pretrained_efficientnet_lite0
from genie.metrics.frozen import Frozen, in_batches

SMALLEST = 1e-10  # length of a vector that is nothing


class PerceptualDistance(Metric):
    """Mean over pictures; 0 for equal ones, about 2 for unrelated ones (4 at most), lower is better.

    Noise on smooth areas counts for more here than for the eye. Raises UserError where the weights cannot be had.

    Args:
        batch_size: pairs of pictures that are in the network at once.
    """

    full_state_update = False
    higher_is_better = False
    name = "lite0_perceptual"

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.network = Frozen(pretrained_efficientnet_lite0())
        self.batch_size = batch_size
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Pictures [..., 3, H, W], uint8 or floats in [0, 1], of at least 32x32; raises ValueError for others."""
        fits = target.dim() >= 3 and target.shape[-3] == 3 and min(target.shape[-2:]) >= SHRINKS
        if predicted.shape != target.shape or not fits:
            shapes = f"{list(predicted.shape)} and {list(target.shape)}"
            raise ValueError(f"pictures {shapes}: both have to be [..., 3, H, W] of at least {SHRINKS}x{SHRINKS}")
        pairs = (x.reshape(-1, *x.shape[-3:]) for x in (predicted, target))
        distances = in_batches(self.distance, self.batch_size, *pairs)
        self.total += distances.double().sum()
        self.pictures += len(distances)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """[N] of pictures [N, 3, H, W] each; differentiable, so it can be a loss."""
        first, second = (x.float() / 255 if x.dtype == torch.uint8 else x for x in (first, second))
        stages = zip(self.network(first), self.network(second), strict=True)
        return torch.stack([(unit(a) - unit(b)).square().sum(1).mean(dim=(1, 2)) for a, b in stages]).mean(0)

    def compute(self) -> Tensor:
        """A number; NaN where nothing was counted."""
        return (self.total / self.pictures).float()


def unit(features: Tensor) -> Tensor:
    """Each place's vector of [N, C, H, W] at length 1."""
    return features / features.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
