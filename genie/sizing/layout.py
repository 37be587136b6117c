"""How a training is spread over devices: what the groups `trainer` and `optimizer` of its configuration say."""

from dataclasses import dataclass
from typing import Any

from genie.common.config_types import require_whole
from genie.common.errors import UserError

BYTES = {"fp32": 4, "bf16": 2}
# Lightning's names: (type of the parameters, type of the products)
PRECISIONS = {
    "32-true": ("fp32", "fp32"),
    "bf16-mixed": ("fp32", "bf16"),
    "bf16-true": ("bf16", "bf16"),
    "auto": ("fp32", "bf16"),  # every device of the group `hardware` has bf16 instructions
}


@dataclass(frozen=True)
class Layout:
    """Devices and what each of them holds.

    strategy: single, ddp or fsdp.
    devices: in all nodes together.
    parameters, products: types of the parameters that the optimiser changes and of matrix products, of `BYTES`.
        Products in bf16 are autocast's.
    gathered: the type in which fsdp brings the parameters of a block together; else that of the parameters.
    checkpointing: blocks are recomputed in the backward pass.
    accumulate: batches to one step.
    offload: parameters, gradients and optimiser state (fsdp) or the optimiser state alone are in the host's memory.
    averaged: a moving average of the weights is kept.
    """

    strategy: str
    devices: int
    parameters: str
    products: str
    gathered: str
    checkpointing: bool
    accumulate: int
    offload: bool
    averaged: bool


def layout_of(config: dict[str, Any]) -> Layout:
    """The layout that a resolved configuration of genie.train describes; UserError for what has no plan."""
    trainer = config["trainer"]
    for key in ("devices", "num_nodes", "accumulate"):
        if trainer[key] is None or isinstance(trainer[key], str) or trainer[key] == -1:
            raise UserError(f"trainer.{key}={trainer[key]}: a plan needs a number, as in trainer.{key}=8")
    require_whole(trainer, "devices", "num_nodes", "accumulate", prefix="trainer.")
    precision = str(trainer["precision"])
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: there is a plan for {', '.join(PRECISIONS)}")
    parameters, products = PRECISIONS[precision]
    devices = trainer["devices"] * trainer["num_nodes"]
    strategy = _strategy(str(trainer["strategy"]), devices)
    return Layout(
        strategy=strategy,
        devices=devices,
        parameters=parameters,
        products=products,
        gathered=trainer["gather_precision"] or parameters,
        checkpointing=trainer["activation_checkpointing"],
        accumulate=trainer["accumulate"],
        offload=config["optimizer"]["cpu_offload"],
        averaged=config["ema"],
    )


def _strategy(name: str, devices: int) -> str:
    """Our word for Lightning's name of a strategy."""
    if "fsdp" in name:
        return "fsdp"
    if name == "auto" or name.startswith(("ddp", "single")):
        return "ddp" if devices > 1 else "single"
    raise UserError(f"trainer.strategy={name}: there is a plan for auto, ddp and fsdp")
