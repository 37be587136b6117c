"""What a GPU would do with tensors on the meta device: its types under autocast, and its fused attention.

PyTorch has no autocast for the meta device, and takes attention there apart into products that keep weights of S x S.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class AsOnGPU(TorchFunctionMode):
    """Inside, functions of the meta device save for the backward pass what a GPU's save.

    Args:
        autocast: to bf16. Linear layers and convolutions take inputs and copies of their weights in it, layer norms
            work in fp32. Autocast keeps a copy for the next use; here every weight is used once.
        exact: addresses (`id`) of parameters that are used as they are, whatever autocast says.
    """

    def __init__(self, autocast: bool, exact: set[int]) -> None:
        super().__init__()
        self.autocast, self.exact = autocast, exact

    def __torch_function__(
        self, function: Callable, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        options = options or {}
        if function is F.scaled_dot_product_attention:
            return fused_attention(*arguments, **options)
        if self.autocast and function in (F.linear, F.conv2d) and id(arguments[1]) not in self.exact:
            return function(*in_type(torch.bfloat16, arguments), **options)
        if self.autocast and function is F.layer_norm:
            return function(*in_type(torch.float32, arguments), **options)
        return function(*arguments, **options)


def in_type(dtype: torch.dtype, arguments: tuple) -> list[Any]:
    """The arguments, tensors among them in that type."""
    return [argument.to(dtype) if isinstance(argument, Tensor) else argument for argument in arguments]


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """Attention that keeps its inputs, its result and one number for each row: PyTorch's "flash" kernel, and for a mask
    its "efficient" one, which takes it as numbers."""
    if attn_mask is None:
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, is_causal)[0]
    shape = (*query.shape[:-1], key.shape[-2])
    added = torch.empty(attn_mask.shape, dtype=query.dtype, device=query.device).expand(shape)
    return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, added, True)[0]
