"""A network that only looks: in full precision whatever happens around it, and owned by nobody's checkpoint."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Frozen:
    """Calls `network` in float32, on the device of what it is given, without dropout; it is trained no further.

    This is no nn.Module, so a metric or a LightningModule that holds one does not see its parameters: they are neither
    saved in checkpoints nor cast by `.half()`. Autocast and TF32 are off inside. Gradients reach the input unless they
    are turned off outside.
    """

    def __init__(self, network: nn.Module | torch.jit.ScriptModule):
        self.network = network.eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)

    def __call__(self, x: Tensor, **options: bool) -> Tensor:
        """float [B, …] → what the network makes of it."""
        cudnn = torch.backends.cudnn
        now = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
        with torch.autocast(x.device.type, enabled=False), cudnn.flags(**now, allow_tf32=False):
            return self.network.to(x.device, torch.float32)(x.float(), **options)


def in_batches(function: Callable[..., Tensor], size: int, *inputs: Tensor) -> Tensor:
    """`function` over tensors [N, …], `size` at a time: memory is bounded however many there are."""
    return torch.cat([function(*parts) for parts in zip(*(x.split(size) for x in inputs), strict=True)])
