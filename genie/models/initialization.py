"""Initial weights as a function of (seed, parameter name): the same for every strategy, order and device."""

import hashlib
import math

import torch
from torch import nn


@torch.no_grad()
def initialize(model: nn.Module, seed: int, num_residual: int | None = None) -> None:
    """Give every matrix of `model` its initial values from a generator seeded by (seed, its name).

    Linear weights are normal with variance 1 / inputs; embeddings and position tables normal with standard
    deviation 0.1; the layers that write to a residual stream are scaled down by √(2 · num_residual) (GPT-2), so
    that the stream's variance does not grow with depth; the layer to pixels by 10, so that a model starts out close to
    the frame its pixel biases start from. Norms and biases keep PyTorch's 1 and 0.
    """
    depth = num_residual or max(
        1, sum(name.endswith("feed_forward") for name, _ in model.named_modules()) // 2
    )
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full_name = f"{module_name}.{name}"
            if name.endswith("bias"):
                parameter.zero_()
                continue
            if parameter.dim() < 2:  # the scale of a norm
                continue
            key = hashlib.blake2b(f"{seed}/{full_name}".encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
            std = 0.1 if not isinstance(module, nn.Linear) else 1 / math.sqrt(parameter.shape[1])
            if full_name.endswith(("spatial.out.weight", "temporal.out.weight", "feed_forward.2.weight")):
                std /= math.sqrt(2 * depth)
            if full_name.endswith("to_pixels.projection.weight"):
                std /= 10
            values = torch.empty(parameter.shape).normal_(0.0, std, generator=generator)
            parameter.copy_(values)
