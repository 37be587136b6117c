"""What does not go together in a training on several devices: one line before any work."""

from typing import Any

from genie.common.device import best_precision
from genie.common.errors import UserError

SHARDED = "fsdp"  # trainer.strategy of sharded training
OTHERS = ("fsdp_", "deepspeed", "model_parallel")  # beginnings of the names of Lightning's own, which need other stages
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true", "64-true", "32", "bf16", "16", "64")
HALF = ("16", "16-mixed", "16-true")


def chosen_precision(trainer: dict[str, Any]) -> str:
    """`trainer.precision`, "auto" replaced by the best one."""
    precision = str(trainer["precision"])
    return best_precision(trainer["accelerator"]) if precision == "auto" else precision


def check_parallel(config: dict[str, Any]) -> None:
    """Raises `UserError` for the first combination of settings that does not work."""
    trainer, precision = config["trainer"], chosen_precision(config["trainer"])
    sharded, gather = trainer["strategy"] == SHARDED, trainer["gather_precision"]
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: choose auto, {', '.join(PRECISIONS)}")
    if str(trainer["strategy"]).startswith(OTHERS):
        raise UserError(f"trainer.strategy={trainer['strategy']}: choose auto, ddp or {SHARDED}")
    if gather not in (None, "bf16"):
        raise UserError(f"trainer.gather_precision={gather}: choose bf16, or null for the precision of the weights")
    if not sharded:
        for key in ("sharded_checkpoints", "gather_precision"):
            if trainer[key]:
                raise UserError(f"trainer.{key}={trainer[key]} is for sharded training: use trainer=fsdp or fsdp_cpu")
    elif precision in HALF:
        raise UserError(f"trainer.precision={precision} does not go with trainer=fsdp: use bf16-mixed or bf16-true")
    elif config["ema"]:
        raise UserError("ema=true does not go with trainer=fsdp, where no process holds the model: use trainer=ddp")
    elif trainer.get("gradient_clip_algorithm") not in (None, "norm"):
        raise UserError("trainer=fsdp clips gradients by their norm: leave out trainer.gradient_clip_algorithm")
    elif trainer["accelerator"] in ("mps", "tpu"):
        raise UserError(f"trainer=fsdp runs on GPUs of CUDA and on CPUs, not on {trainer['accelerator']}")
    elif gather and precision != "bf16-mixed":
        raise UserError(f"trainer.gather_precision=bf16 goes with trainer.precision=bf16-mixed, not with {precision}")
    if config["ema"] and precision == "bf16-true":
        raise UserError("ema=true does not go with trainer.precision=bf16-true, which would round the average")
