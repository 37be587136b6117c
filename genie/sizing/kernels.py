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
        autocast: to bf16. Linear layers and convolutions take inputs and copies of their weights in it, each copy made
            once; layer norms work in fp32.
        exact: addresses (`id`) of parameters that are used as they are, whatever autocast says.
    """

    def __init__(self, autocast: bool, exact: set[int]) -> None:
        super().__init__()
        self.autocast, self.exact = autocast, exact
        self.copies: dict[int, Tensor] = {}

    def __torch_function__(
        self, function: Callable, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        options = options or {}
        if function is F.scaled_dot_product_attention:
            return fused_attention(*arguments, **options)
        if self.autocast and function in (F.linear, F.conv2d) and id(arguments[1]) not in self.exact:
            x, weight, *others = arguments
            bias = [self.copy(tensor) if isinstance(tensor, Tensor) else tensor for tensor in others]
            return function(x.bfloat16(), self.copy(weight), *bias, **options)
        if self.autocast and function is F.layer_norm:
            x, *others = arguments
            return function(x.float(), *(self.whole(other) for other in others), **options)
        return function(*arguments, **options)

    def copy(self, parameter: Tensor) -> Tensor:
        if id(parameter) not in self.copies:
            self.copies[id(parameter)] = parameter.bfloat16()
        return self.copies[id(parameter)]

    @staticmethod
    def whole(argument: Any) -> Any:
        return argument.float() if isinstance(argument, Tensor) else argument


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
