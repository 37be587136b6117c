"""ΔPSNR at several frames and from several draws of random actions, for a generated world and for the simulator."""

import torch
from torch import Tensor

from genie.common.random import Stream, fold_in
from genie.metrics.psnr import AVERAGES, DeltaPSNR


def random_actions(num_actions: int, count: int, seeds: Tensor) -> Tensor:
    """Uniform actions int64 [B, count], those of each clip from its own of the seeds int64 [B]."""
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(fold_in(seed, Stream.RANDOM_ROLLOUT))
        rows.append(torch.randint(num_actions, (count,), generator=generator))
    return torch.stack(rows)


class Deltas:
    """Collects videos and gives the figures: at each of the frames `times`, over `num_draws` draws."""

    def __init__(self, times: tuple[int, ...], num_draws: int) -> None:
        self.draws = [
            {(t, average): DeltaPSNR(t, average) for t in times for average in AVERAGES} for _ in range(num_draws)
        ]

    def update(self, draw: int, target: Tensor, inferred: Tensor, random: Tensor) -> None:
        """The videos of draw number `draw`, as `DeltaPSNR` takes them."""
        for metric in self.draws[draw].values():
            metric.update(target, inferred, random)

    def figures(self, name: str = "") -> dict[str, float]:
        """For each t the mean over draws, `t<t><name>`, of the per-clip ΔPSNR (dB), its standard deviation over draws
        `t<t><name>_spread`, and `t<t><name>_pooled` (see `DeltaPSNR`)."""
        figures = {}
        for t, average in self.draws[0]:
            values = torch.stack([metrics[t, average].compute() for metrics in self.draws])
            key = f"t{t}{name}"
            if average == "clip":
                figures[key] = float(values.mean())
                figures[f"{key}_spread"] = float(values.std()) if len(values) > 1 else 0.0
            else:
                figures[f"{key}_{average}"] = float(values.mean())
        return figures
