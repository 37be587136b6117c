"""What a network trained on photographs sees in a window: the features of some of its frames, pooled over time.

Dimension letters: `B` pictures, `T` frames, `H W` pixels, `D` features of one picture.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.device import choose_device
from genie.common.errors import UserError
from genie.metrics.efficientnet_lite import SHRINKS, pretrained_efficientnet_lite0
from genie.metrics.video_features import Frozen

NETWORKS = ("lite0", "resnet18", "none")
# of the photographs that ResNets are trained on
MEAN, DEVIATION = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its last layer: pictures [B, 3, H, W] in [0, 1] → [B, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pretrained_efficientnet_lite0()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network.pooled(pictures)


class ResNet(nn.Module):
    """A ResNet of `transformers`: pictures [B, 3, H, W] in [0, 1] → [B, D], 512 of ResNet-18.

    `name`: a folder or a name on the hub. Raises UserError where it, or the package, cannot be had.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            from transformers import ResNetModel
        except ImportError:
            way = "pip install 'genie-world[curation]', or features=lite0"
            raise UserError(f"features=resnet18 needs the package transformers: {way}") from None
        try:
            self.network = ResNetModel.from_pretrained(name, use_safetensors=True)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"resnet={name} cannot be loaded ({reason}): give a folder, or features=lite0") from error

    def forward(self, pictures: Tensor) -> Tensor:
        normal = (pictures - MEAN.to(pictures)) / DEVIATION.to(pictures)
        return self.network(normal).pooler_output.flatten(1)


class PooledFeatures:
    """Callable uint8 [T, H, W, 3] → float64 [3 D]: of the features over time the mean, the deviation and the change.

    count: of the frames at most so many are looked at, evenly spaced, the first and the last among them.
    size: pictures are scaled to so many pixels, high and wide, as those that the network was trained on.
    """

    def __init__(self, network: nn.Module, count: int, size: int, device: torch.device):
        self.network, self.count, self.size, self.device = Frozen(network), count, size, device

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        some = frames[np.unique(np.linspace(0, len(frames) - 1, self.count).round().astype(int))]
        pictures = torch.from_numpy(some).to(self.device).permute(0, 3, 1, 2).float() / 255
        pictures = F.interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        features = self.network(pictures).double()  # [T, D]
        change = features.diff(dim=0).abs().mean(0) if len(features) > 1 else torch.zeros_like(features[0])
        return torch.cat([features.mean(0), features.std(0, correction=0), change]).cpu().numpy()


def pooled_features(settings: dict[str, Any], device: str) -> PooledFeatures | None:
    """What the keys `features`, `resnet`, `num_pictures` and `picture_size` choose; None for features=none.

    Raises UserError for a network that is unknown or cannot be had, and for pictures that are too small.
    """
    name, size = settings["features"], settings["picture_size"]
    if name not in NETWORKS:
        raise UserError(f"there is no features={name}, only {', '.join(NETWORKS)}")
    if size < SHRINKS:
        raise UserError(f"picture_size={size} must be at least {SHRINKS}")
    if name == "none":
        return None
    network = Lite0() if name == "lite0" else ResNet(settings["resnet"])
    return PooledFeatures(network, settings["num_pictures"], size, choose_device(device))
