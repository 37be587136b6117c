"""Initial weights as a function of seed and parameter name, the same for any strategy and device."""

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from genie.models.patches import Patches, PixelEmbedding
from genie.models.st_transformer import Backbone, STTransformer

POSITION_STD = 0.5
# layers whose output is added to a residual stream
RESIDUAL = (
    "spatial.out.weight",
    "temporal.out.weight",
    "attention.out.weight",
    "feed_forward.2.weight",
    "pointwise.weight",
)


@torch.no_grad()
def initialize(
    model: nn.Module, seed: int, write: Callable[[nn.Parameter, Tensor], object] = nn.Parameter.copy_
) -> None:
    """Sets every parameter of `model`, random ones from a generator seeded by (seed, name of the parameter).

    Weights of linear layers and convolutions are normal with variance 1 / inputs, embeddings normal with standard
    deviation 0.1. `RESIDUAL` layers are scaled down by √(2 · blocks) (GPT-2), so that the variance does not grow with
    depth; the layer to pixels by 10, so that predictions begin close to the frame of the pixel biases; layers with
    `starts_at_zero` are 0. Spatial positions begin as 2-D sinusoids and filters on pixels smooth, so that neighbouring
    places begin alike. Norms and biases have PyTorch's 1 and 0.

    Parameters are drawn one at a time, fp32 on the CPU, and passed to `write`, which may keep a part of them.
    """
    depth = max([1, *(len(module.blocks) for module in model.modules() if isinstance(module, Backbone))])
    patches: dict[nn.Module, Patches] = {
        module.projection: module.patches for module in model.modules() if isinstance(module, PixelEmbedding)
    }
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full_name, shape = f"{module_name}.{name}".lstrip("."), parameter.shape
            if name.endswith("bias") or getattr(module, "starts_at_zero", False):
                write(parameter, torch.zeros(shape))
                continue
            if len(shape) == 1:  # the scale of a norm
                write(parameter, torch.ones(shape))
                continue
            std = 1 / math.sqrt(math.prod(shape[1:])) if isinstance(module, nn.Linear | nn.Conv2d) else 0.1
            if full_name.endswith(RESIDUAL):
                std /= math.sqrt(2 * depth)
            if full_name.endswith("to_pixels.projection.weight"):
                std /= 10
            values = normal(shape, std, seed, full_name)
            if name == "spatial_positions" and isinstance(module, STTransformer):
                grid = sinusoids(module.grid, shape[1])
                if len(values) >= len(grid):
                    values[-len(grid) :] = POSITION_STD * grid
                else:  # one vector for all places, small beside what stands there
                    values = values / 10
            if name == "weight" and module in patches:
                values = smooth_filters(values, patches[module])
            write(parameter, values)


def normal(shape: torch.Size, std: float, seed: int, name: str) -> Tensor:
    """Normal values as a function of the arguments."""
    key = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
    return torch.empty(shape).normal_(0.0, std, generator=generator)


def sinusoids(grid: tuple[int, int], width: int) -> Tensor:
    """A table [rows · columns, D] of sines and cosines of row and column with standard deviation 1; wavelengths from
    about 6 times the grid's longer side down to its length, so that neighbours are similar and all places differ."""
    rows, columns = grid
    quarter = math.ceil(width / 4)
    frequencies = 2.0 ** torch.linspace(-1.5, 1.0, quarter) * math.pi / max(grid)
    row, column = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    waves = [wave(axis.reshape(-1, 1) * frequencies) for axis in (row, column) for wave in (torch.sin, torch.cos)]
    table = torch.cat(waves, dim=1)[:, :width]
    return table / table.std().clamp_min(1e-3)


def smooth_filters(weight: Tensor, patches: Patches) -> Tensor:
    """The filters [D, p² · C] of a pixel embedding, blurred along both axes (Gaussian, a quarter patch wide), at twice
    their norm."""
    size = patches.patch_size
    places = torch.arange(size, dtype=weight.dtype)
    blur = torch.exp(-((places[:, None] - places) ** 2) / (2 * (max(size, 4) / 4) ** 2))
    filters = weight.view(-1, size, size, patches.channels)
    smooth = torch.einsum("ip,jq,dpqc->dijc", blur, blur, filters)
    return (smooth * (2 * weight.norm() / smooth.norm())).reshape(weight.shape)
