"""trainer=fsdp: Lightning's strategy for FSDP2 with the parallel plan, and its checkpoints."""

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.device_dtype_mixin import _update_properties
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn

from genie.common.files import TEMPORARY
from genie.parallel.materialize import materialize
from genie.parallel.plan import average_exact_gradients, shard
from genie.runs.checkpoint_store import publish, write_manifest
from genie.runs.sharded_checkpoint import gather_shards, open_stored, restore_optimizer, restore_weights, write_shard


class ShardedStrategy(ModelParallelStrategy):
    """Weights, gradients and optimiser state of a `Stage` split among all ranks; each of them sees other data.

    Args:
        gather: see `genie.parallel.plan.shard`.
        cpu_offload: see there.
        sharded_checkpoints: every rank writes its part of a checkpoint, into a folder (`sharded_files`); otherwise the
            first rank gathers and writes the single file of every other strategy.
    """

    def __init__(self, gather: torch.dtype | None, cpu_offload: bool, sharded_checkpoints: bool) -> None:
        # gradients and checkpoints in main memory are reduced and gathered there
        backend = "cpu:gloo,cuda:nccl" if cpu_offload and torch.cuda.is_available() else None
        super().__init__(
            tensor_parallel_size=1, save_distributed_checkpoint=sharded_checkpoints, process_group_backend=backend
        )
        self.gather, self.cpu_offload, self.sharded_checkpoints = gather, cpu_offload, sharded_checkpoints

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning's guess: a rank for each node
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Shards the stage, which has no values yet, and gives each rank its own."""
        stage, mesh = self.lightning_module, self.device_mesh["data_parallel"]
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(stage)
        for part in stage.parts().values():
            shard(part, mesh, self.gather, self.cpu_offload)
        materialize(stage, self.root_device, torch.device("cpu") if self.cpu_offload else self.root_device)
        for part in stage.parts().values():
            average_exact_gradients(part, mesh)
        _update_properties(stage, device=self.root_device)  # what `stage.to(...)` would do, but leave shards in place
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
        """What goes into a checkpoint of the form that was asked for."""
        return dict(state) if self.sharded_checkpoints else gather_shards(state, keep=self.is_global_zero)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        final = Path(self.broadcast(str(filepath)))
        if self.sharded_checkpoints:
            self._save_folder(checkpoint, final.with_name(f".{final.name}{TEMPORARY}shards"), final)
        elif self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, final, storage_options)

    def _save_folder(self, checkpoint: dict[str, Any], temporary: Path, final: Path) -> None:
        """All ranks write into a temporary folder, which takes its name when it is whole. Where one cannot write, the
        first one notes the failure."""
        if self.is_global_zero:
            self.checkpoint_io.failure = None
            shutil.rmtree(temporary, ignore_errors=True)
        self.barrier()
        failure = None
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            write_shard(temporary, checkpoint, self.global_rank, self.world_size)
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
        """Weights and optimisers from a file or a folder, written by any strategy; returns the rest of it."""
        stored = open_stored(Path(self.broadcast(str(checkpoint_path))))
        restore_weights(self.lightning_module, stored)
        for index, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, stored, index)
        restored = ("state_dict", "optimizer_states")
        return {name: value for name, value in stored.checkpoint.items() if name not in restored}
