"""Data parallelism with a copy of the model on each device."""

import inspect

from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

# torch's newer name of the switch, where it has it
SEND_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")


def ddp_strategy(leaves_out: bool) -> DDPStrategy:
    """`leaves_out`: whether there are steps in which parameters get no gradient. Looking for them takes time.

    Buffers are not sent around: each rank computes the same ones (`genie/models/quantizers.py`, `quantizers.py`).
    """
    known = inspect.signature(DistributedDataParallel).parameters
    switch = next(name for name in SEND_BUFFERS if name in known)
    return DDPStrategy(gradient_as_bucket_view=True, find_unused_parameters=leaves_out, **{switch: False})
