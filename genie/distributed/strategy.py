"""Lightning strategies, precision plugin and trainer arguments of a training on one or more devices.

`trainer=fsdp` is Lightning's strategy for FSDP2 with the parallel plan of `genie.distributed.sharding` and its own
checkpoints; otherwise each device has a copy of the model. `trainer.precision=bf16-true` keeps weights, gradients and
optimizer state in bf16, half the memory of fp32.
"""

import inspect
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.device_dtype_mixin import _update_properties
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genie.common.device import best_precision
from genie.common.errors import UserError
from genie.common.files import TEMPORARY
from genie.distributed.launch import device_kind
from genie.distributed.sharding import average_exact_gradients, exact_parameters, materialize, shard
from genie.runs import sharded_checkpoint as shards
from genie.runs.checkpoint_store import publish, write_manifest

SHARDED = "fsdp"  # trainer.strategy of sharded training
OTHERS = ("fsdp_", "deepspeed", "model_parallel")  # prefixes of Lightning's strategies that need other stages
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true", "64-true", "32", "bf16", "16", "64")
HALF = ("16", "16-mixed", "16-true")
# settings of the group `trainer` that are not Lightning's
OURS = (
    "accumulate", "matmul_precision", "on_nan", "activation_checkpointing", "sharded_checkpoints", "gather_precision",
)  # fmt: skip
SEND_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")  # newer and older name of DDP's switch


def chosen_precision(trainer: dict[str, Any]) -> str:
    """`trainer.precision`, with "auto" resolved."""
    precision = str(trainer["precision"])
    return best_precision(trainer["accelerator"]) if precision == "auto" else precision


def check_parallel(config: dict[str, Any]) -> None:
    """Raises `UserError` for the first invalid combination of settings."""
    trainer, precision = config["trainer"], chosen_precision(config["trainer"])
    sharded, gather = trainer["strategy"] == SHARDED, trainer["gather_precision"]
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: choose auto, {', '.join(PRECISIONS)}")
    if str(trainer["strategy"]).startswith(OTHERS):
        raise UserError(f"trainer.strategy={trainer['strategy']}: choose auto, ddp or {SHARDED}")
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


def trainer_arguments(
    config: dict[str, Any], num_devices: int, num_nodes: int, leaves_out: bool
) -> tuple[dict[str, Any], list[Precision]]:
    """Arguments of Lightning's Trainer, and the precision as a plugin where it is one of ours.

    `num_devices`: on each of `num_nodes` machines. `leaves_out`: see `ddp_strategy`.
    """
    trainer = config["trainer"]
    arguments = {name: value for name, value in trainer.items() if name not in OURS}
    arguments |= {"accumulate_grad_batches": trainer["accumulate"], "num_nodes": num_nodes}
    if not isinstance(trainer["devices"], list):
        arguments["devices"] = num_devices
    arguments["precision"] = chosen_precision(trainer)
    if trainer["strategy"] == SHARDED:
        gather = torch.bfloat16 if trainer["gather_precision"] else None
        offload = config["optimizer"]["cpu_offload"]
        arguments["strategy"] = ShardedStrategy(gather, offload, trainer["sharded_checkpoints"])
        arguments["inference_mode"] = False  # tensors gathered in inference mode could not be trained later
    elif trainer["strategy"] == "ddp" or trainer["strategy"] == "auto" and num_devices * num_nodes > 1:
        arguments["strategy"] = ddp_strategy(leaves_out)
    if arguments["precision"] != "bf16-true":
        return arguments, []
    del arguments["precision"]
    return arguments, [TrueBFloat16(device_kind(trainer["accelerator"]))]


def set_matmul_precision(trainer: dict[str, Any]) -> None:
    """Sets how exact products of fp32 matrices are on a GPU; a CPU always computes them in fp32."""
    precision = trainer.get("matmul_precision", "high")
    torch.set_float32_matmul_precision(precision if device_kind(trainer["accelerator"]) == "cuda" else "highest")


def ddp_strategy(leaves_out: bool) -> DDPStrategy:
    """`leaves_out`: whether parameters get no gradient in some steps; finding them takes time.

    Buffers are not broadcast: each rank computes the same ones (`genie/models/quantizers.py`).
    """
    known = inspect.signature(DistributedDataParallel).parameters
    switch = next(name for name in SEND_BUFFERS if name in known)
    return DDPStrategy(gradient_as_bucket_view=True, find_unused_parameters=leaves_out, **{switch: False})


class TrueBFloat16(Precision):
    """Parameters in bf16 except `sharding.EXACT`; buffers are unchanged. `device`: type of the device, for autocast.

    Lightning's plugin also converts buffers and makes bf16 the default type, in which masks would then be drawn.
    """

    precision = "bf16-true"

    def __init__(self, device: str) -> None:
        self.device = device

    def convert_module(self, module: nn.Module) -> nn.Module:
        exact = {id(parameter) for parameter in exact_parameters(module)}
        for parameter in module.parameters():
            if id(parameter) not in exact:
                parameter.data = parameter.data.to(torch.bfloat16)
        return module

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Autocast: frames are fp32, and exact parts disable it."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            yield


class ShardedStrategy(ModelParallelStrategy):
    """Weights, gradients and optimizer state of a `Stage` sharded over all ranks, which train on different data.

    Args:
        gather, cpu_offload: see `genie.distributed.sharding.shard`.
        sharded_checkpoints: every rank writes its part of a checkpoint into a folder (`genie.runs.sharded_checkpoint`);
            otherwise the first rank gathers and writes the single file of every other strategy.
    """

    def __init__(self, gather: torch.dtype | None, cpu_offload: bool, sharded_checkpoints: bool) -> None:
        # gradients and checkpoints in main memory are reduced and gathered there
        backend = "cpu:gloo,cuda:nccl" if cpu_offload and torch.cuda.is_available() else None
        super().__init__(
            tensor_parallel_size=1, save_distributed_checkpoint=sharded_checkpoints, process_group_backend=backend
        )
        self.gather, self.cpu_offload, self.sharded_checkpoints = gather, cpu_offload, sharded_checkpoints

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning assumes one rank per node
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Shards the stage, which has no values yet, and initializes the shards of this rank."""
        stage, mesh = self.lightning_module, self.device_mesh["data_parallel"]
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(stage)
        for part in stage.parts().values():
            shard(part, mesh, self.gather, self.cpu_offload)
        materialize(stage, self.root_device, torch.device("cpu") if self.cpu_offload else self.root_device)
        for part in stage.parts().values():
            average_exact_gradients(part, mesh)
        _update_properties(stage, device=self.root_device)  # as `stage.to(...)`, which would move shards
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._portable(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        return self._portable(optimizer.state_dict())

    def _portable(self, state: dict[str, Any]) -> dict[str, Any]:
        return dict(state) if self.sharded_checkpoints else shards.gather_shards(state, keep=self.is_global_zero)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        final = Path(self.broadcast(str(filepath)))
        if self.sharded_checkpoints:
            self._save_folder(checkpoint, final.with_name(f".{final.name}{TEMPORARY}shards"), final)
        elif self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, final, storage_options)

    def _save_folder(self, checkpoint: dict[str, Any], temporary: Path, final: Path) -> None:
        """All ranks write into a temporary folder, which is renamed when complete. The first rank reports a failure."""
        if self.is_global_zero:
            self.checkpoint_io.failure = None
            shutil.rmtree(temporary, ignore_errors=True)
        self.barrier()
        failure = None
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            shards.write_shard(temporary, checkpoint, self.global_rank, self.world_size)
        except (OSError, RuntimeError) as error:  # torch.save raises the latter on a full disk
            failure = OSError(str(error))
        failed = self.reduce_boolean_decision(failure is not None, all=False)
        if self.is_global_zero:
            try:
                if failed:
                    raise failure or OSError("on another process")
                write_manifest(temporary)
                publish(temporary, final)
            except OSError as error:
                shutil.rmtree(temporary, ignore_errors=True)
                self.checkpoint_io.note_failure(final, error)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Weights and optimizers from a file or a folder, written by any strategy; returns the rest of it."""
        stored = shards.StoredCheckpoint(Path(self.broadcast(str(checkpoint_path))))
        shards.restore_weights(self.lightning_module, stored)
        for index, optimizer in enumerate(self.optimizers):
            shards.restore_optimizer(optimizer, stored, index)
        restored = ("state_dict", "optimizer_states")
        return {name: value for name, value in stored.checkpoint.items() if name not in restored}
