"""What does each action change in the picture? A joystick moves one thing one way; a code that merely counts, nothing.

Dimension letters: `A` actions, `B` batch, `T` frames, `M` transitions, `C H W` channels and pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from genie.common.device import full_precision


class ActionEffects(Metric):
    """The mean change x_{t+1} - x_t over the transitions of each action, signed and without its sign.

    Args:
        num_actions: A, latent or true ones.
        frame_shape: C, H, W.
    """

    full_state_update = False

    def __init__(self, num_actions: int, frame_shape: tuple[int, int, int]) -> None:
        super().__init__()
        for name in ("signed", "absolute"):
            self.add_state(name, torch.zeros(num_actions, *frame_shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("transitions", torch.zeros(num_actions, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, frames: Tensor, actions: Tensor) -> None:
        """frames [B, T, C, H, W] in [0, 1]; actions int64 [B, T-1], of the transitions between them."""
        change = (frames[:, 1:] - frames[:, :-1]).flatten(0, 1).flatten(1)  # [M, C·H·W]
        taken = F.one_hot(actions.flatten(), len(self.transitions)).T.to(change.dtype)  # [A, M]
        with full_precision(change):
            self.signed += (taken @ change).view_as(self.signed)
            self.absolute += (taken @ change.abs()).view_as(self.absolute)
        self.transitions += taken.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """`signed` in [-1, 1] and `absolute` in [0, 1], float [A, C, H, W], NaN for an action that was never taken;
        `transitions` float64 [A], how many there were."""
        count = self.transitions[:, None, None, None]
        return {
            "signed": (self.signed / count).float(),
            "absolute": (self.absolute / count).float(),
            "transitions": self.transitions.clone(),
        }
