"""The group `trainer` of the configuration as arguments of Lightning's Trainer."""

from typing import Any

import torch
from lightning.pytorch.plugins import Precision

from genie.parallel.checks import SHARDED, chosen_precision
from genie.parallel.ddp import ddp_strategy
from genie.parallel.devices import device_kind
from genie.parallel.precision import TrueBFloat16

OURS = ("accumulate", "on_nan", "activation_checkpointing", "sharded_checkpoints", "gather_precision")


def trainer_arguments(
    config: dict[str, Any], num_devices: int, num_nodes: int, leaves_out: bool
) -> tuple[dict[str, Any], list[Precision]]:
    """Arguments by name, and the precision as a plugin where it is one of ours.

    `num_devices`: on each of `num_nodes` machines. `leaves_out`: see `ddp_strategy`.
    """
    trainer = config["trainer"]
    arguments = {name: value for name, value in trainer.items() if name not in OURS}
    arguments |= {"accumulate_grad_batches": trainer["accumulate"], "num_nodes": num_nodes}
    if not isinstance(trainer["devices"], list):
        arguments["devices"] = num_devices
    arguments["precision"] = chosen_precision(trainer)
    if trainer["strategy"] == SHARDED:
        from genie.parallel.strategies import ShardedStrategy  # FSDP2 takes a while to import

        gather = torch.bfloat16 if trainer["gather_precision"] else None
        offload = config["optimizer"]["cpu_offload"]
        arguments["strategy"] = ShardedStrategy(gather, offload, trainer["sharded_checkpoints"])
        arguments["inference_mode"] = False  # what is gathered in it could not be trained with later
    elif trainer["strategy"] == "ddp" or trainer["strategy"] == "auto" and num_devices * num_nodes > 1:
        arguments["strategy"] = ddp_strategy(leaves_out)
    if arguments["precision"] != "bf16-true":
        return arguments, []
    del arguments["precision"]
    return arguments, [TrueBFloat16(device_kind(trainer["accelerator"]))]
