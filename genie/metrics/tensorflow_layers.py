"""What networks that were trained in TensorFlow need in PyTorch: its padding, and batch norms that are folded away."""

from torch import Tensor
from torch.nn import functional as F


def pad_like_tensorflow(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around x [B, C, *places] so that ⌈n / stride⌉ places come out of a layer without padding: "SAME".

    The odd one goes behind, where PyTorch's own padding has as much on both sides.
    """
    pads = []
    for length, size, step in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max((-(-length // step) - 1) * step + size - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def fold_batch_norm(
    weight: Tensor, mean: Tensor, variance: Tensor, bias: Tensor, scale: Tensor | float, epsilon: float
) -> dict[str, Tensor]:
    """`weight` and `bias` of the one convolution that is a convolution without bias and the batch norm after it.

    weight [out, …], all others [out]. Computed in float64 and rounded once.
    """
    scale = scale / (variance.double() + epsilon).sqrt()
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    return {"weight": folded.float(), "bias": (bias.double() - mean.double() * scale).float()}
