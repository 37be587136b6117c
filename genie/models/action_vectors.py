"""Actions as vectors, whether they are choices or numbers.

Dimension letters: `A` actions, or their numbers.
"""

import torch
from torch import Tensor, nn


class ActionVectors(nn.Module):
    """Actions int64 [...] in 0 … A-1, or float [..., A] in [-1, 1], to float vectors [..., A].

    Args:
        num_actions: A for choices, which become one-hot.
        action_size: A for numbers, which stay as they are. ValueError unless exactly one of the two is given.
    """

    def __init__(self, num_actions: int | None, action_size: int | None) -> None:
        super().__init__()
        if (num_actions is None) == (action_size is None):
            raise ValueError(f"num_actions={num_actions} and action_size={action_size}: exactly one of them is given")
        self.num_actions, self.action_size = num_actions, action_size

    @property
    def size(self) -> int:
        """A."""
        return self.num_actions or self.action_size

    def forward(self, actions: Tensor) -> Tensor:
        """float32 [..., A]."""
        if self.num_actions is None:
            return actions.float()
        return (actions[..., None] == torch.arange(self.num_actions, device=actions.device)).float()
