"""How much of a codebook is in use: the collapse of a quantiser shows here before it shows anywhere else."""

import torch
from torch import Tensor
from torchmetrics import Metric


class CodeUsage(Metric):
    """Share of codes chosen at least once, and the perplexity of the distribution over codes (1 … K).

    Counts whole codes over everything seen since the last reset.
    """

    full_state_update = False

    def __init__(self, num_codes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(num_codes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, codes: Tensor) -> None:
        """codes int64 [...] in [0, K)."""
        self.counts += torch.bincount(codes.flatten(), minlength=len(self.counts)).to(self.counts.dtype)

    def compute(self) -> dict[str, Tensor]:
        """`usage` in [0, 1] and `perplexity` in [1, K]."""
        share = self.counts / self.counts.sum().clamp_min(1)
        entropy = -(share * share.clamp_min(1e-30).log()).sum()
        return {"usage": (self.counts > 0).double().mean().float(), "perplexity": entropy.exp().float()}
