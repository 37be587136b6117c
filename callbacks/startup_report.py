"""Report before the first step: parameters by part, work per clip, memory, data, steps."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from torch import nn

from genie.common.tables import print_table, short, size

ADAM_STATES, MUON_STATES = 2, 1  # first and second moments, momentum: of the size of the parameter


class StartupReport(Callback):
    """Prints a table at the start of training.

    The module has `parts() -> dict[str, nn.Module]`, `example_flops() -> int` (forward, one clip), `tokens_per_frame`
    and `optimizer_groups()`; the data module may have `train_dataset` and `val_dataset`.
    """

    def __init__(self, label: str, folder: str):
        self.label, self.folder = label, folder

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        table = Table(title=f"{self.label} → {self.folder}", title_justify="left", show_header=False)
        table.add_column()
        table.add_column()
        for name, value in report(trainer, module).items():
            table.add_row(name, value)
        print_table(table)


def report(trainer: Trainer, module: LightningModule) -> dict[str, str]:
    """The rows of the table, by name."""
    lines = {f"parameters: {name}": _parameters(part) for name, part in module.parts().items()}
    weights = sum(parameter.nbytes for parameter in module.parameters() if parameter.requires_grad)
    fixed = sum(parameter.nbytes for parameter in module.parameters() if not parameter.requires_grad)
    states = sum(
        num_states(group) * parameter.nbytes
        for group in module.optimizer_groups()
        for _, parameter in group["params"]
        if parameter.requires_grad
    )
    lines |= {
        "forward FLOPs per clip": short(module.example_flops(), 1000, ("", " k", " M", " G", " T", " P")),
        "tokens per frame": str(module.tokens_per_frame),
        "memory": f"parameters {size(weights + fixed)} + gradients {size(weights)}"
        f" + optimiser {size(states)} = {size(2 * weights + states + fixed)}",
        "device": device(trainer.world_size, trainer.strategy.root_device.type, trainer.precision),
    }
    data = trainer.datamodule
    counts = [(split, getattr(data, f"{split}_dataset", None)) for split in ("train", "val")]
    if any(dataset is not None for _, dataset in counts):
        lines["clips"] = ", ".join(f"{split} {len(dataset):,}" for split, dataset in counts if dataset is not None)
        unseen = [(split, getattr(dataset, "too_short", 0)) for split, dataset in counts]
        lines |= {f"not seen: {split}": f"{count:,} episodes shorter than a clip" for split, count in unseen if count}
    lines["steps"] = f"{trainer.max_steps:,}"
    if trainer.accumulate_grad_batches > 1:
        lines["steps"] += f", each of {trainer.accumulate_grad_batches} batches"
    return lines


def device(count: int, kind: str, precision: str) -> str:
    """Number and kind of the devices, and the precision; on a GPU also that of products that stay in fp32."""
    exact = f", products of fp32: {torch.get_float32_matmul_precision()}" if kind == "cuda" else ""
    return f"{count} x {kind}, {precision}{exact}"


def num_states(group: dict[str, Any]) -> int:
    """Tensors of a parameter's size that the optimizer keeps for each parameter of a group: Muon's have a momentum."""
    return MUON_STATES if "momentum" in group else ADAM_STATES


def _parameters(part: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in part.parameters())
    trained = sum(parameter.numel() for parameter in part.parameters() if parameter.requires_grad)
    frozen = "" if trained else " (frozen)" if count else ""
    return short(count, 1000, ("", " k", " M", " G")) + frozen
