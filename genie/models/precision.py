"""Precision where it matters: stretches of a forward pass that stay in fp32 whatever autocast says."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of `like` (the meta device, used for counting, has none)."""
    return nullcontext() if like.device.type == "meta" else torch.autocast(like.device.type, enabled=False)
