"""trainer.precision=bf16-true: weights, gradients and optimiser state in bf16, half the memory of fp32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.plugins import Precision
from torch import nn

from genie.parallel.plan import exact_parameters


class TrueBFloat16(Precision):
    """Parameters in bf16 but for those that have to be exact (`genie.parallel.plan.EXACT`); buffers stay as they are.

    Lightning's own converts buffers too, and makes bf16 the type of every new tensor: masks would be drawn in it.

    Args:
        device: type of the device, for autocast.
    """

    precision = "bf16-true"

    def __init__(self, device: str) -> None:
        self.device = device

    def convert_module(self, module: nn.Module) -> nn.Module:
        exact = {id(parameter) for parameter in exact_parameters(module)}
        for parameter in module.parameters():
            if id(parameter) not in exact:
                parameter.data = parameter.data.to(torch.bfloat16)
        return module

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Autocast: frames come in fp32, and what has to be exact switches it off."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            yield
