"""Initial weights as a function of (seed, parameter name): the same for every strategy, order and device."""

import hashlib
import math

import torch
from torch import Tensor, nn

from genie.models.backbone import Backbone
from genie.models.patches import PixelEmbedding
from genie.models.st_transformer import STTransformer

POSITION_STD = 0.5
# layers that write to a residual stream
RESIDUAL = (
    "spatial.out.weight",
    "temporal.out.weight",
    "attention.out.weight",
    "feed_forward.2.weight",
    "pointwise.weight",
)


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Give every parameter of `model` its initial values, random ones from a generator seeded by (seed, its name).

    Weights of linear layers and convolutions are normal with variance 1 / inputs; embeddings normal with standard
    deviation 0.1; the layers that write to a residual stream are scaled down by √(2 · blocks) (GPT-2), so that the
    stream's variance does not grow with depth; the layer to pixels by 10, so that a model starts out close to the frame
    its pixel biases start from. Spatial positions start as 2-D sinusoids and filters on pixels smooth, so that what is
    learned at one place holds at its neighbours from the start. Norms and biases keep PyTorch's 1 and 0.
    """
    depth = max([1, *(len(module.blocks) for module in model.modules() if isinstance(module, Backbone))])
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full_name = f"{module_name}.{name}".lstrip(".")
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() > 1:  # else the scale of a norm
                std = 1 / math.sqrt(parameter[0].numel()) if isinstance(module, nn.Linear | nn.Conv2d) else 0.1
                if full_name.endswith(RESIDUAL):
                    std /= math.sqrt(2 * depth)
                if full_name.endswith("to_pixels.projection.weight"):
                    std /= 10
                parameter.copy_(normal(parameter.shape, std, seed, full_name))
    for module in model.modules():
        if isinstance(module, STTransformer):
            grid = sinusoids(module.grid, module.spatial_positions.shape[1])
            module.spatial_positions[-len(grid) :].copy_(POSITION_STD * grid)
        if isinstance(module, PixelEmbedding):
            smooth_filters(module)


def normal(shape: torch.Size, std: float, seed: int, name: str) -> Tensor:
    """Normal values that depend on nothing but the arguments."""
    key = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
    return torch.empty(shape).normal_(0.0, std, generator=generator)


def sinusoids(grid: tuple[int, int], width: int) -> Tensor:
    """A table [rows · columns, D] of sines and cosines of row and column, with a standard deviation of 1.

    The wavelengths run from the grid's longer side times 6 down to its length: neighbours are alike, all differ.
    """
    rows, columns = grid
    quarter = math.ceil(width / 4)
    frequencies = 2.0 ** torch.linspace(-1.5, 1.0, quarter) * math.pi / max(grid)
    row, column = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    waves = [wave(axis.reshape(-1, 1) * frequencies) for axis in (row, column) for wave in (torch.sin, torch.cos)]
    table = torch.cat(waves, dim=1)[:, :width]
    return table / table.std().clamp_min(1e-3)


def smooth_filters(embedding: PixelEmbedding) -> None:
    """Blur the filters of a pixel embedding along both axes (Gaussian, a quarter patch wide), at twice their norm."""
    size, weight = embedding.patches.patch_size, embedding.projection.weight
    places = torch.arange(size, dtype=torch.float32)
    blur = torch.exp(-((places[:, None] - places) ** 2) / (2 * (max(size, 4) / 4) ** 2))
    filters = weight.view(-1, size, size, embedding.patches.channels)
    smooth = torch.einsum("ip,jq,dpqc->dijc", blur, blur, filters)
    weight.copy_((smooth * (2 * weight.norm() / smooth.norm())).reshape(weight.shape))
