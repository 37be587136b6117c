"""Policy for steps with a non-finite loss or gradient, or an exploding loss (`trainer.on_nan`).

    stop       the run ends with an error before the step; last.ckpt is the state from before it
    skip       the step is counted, and changes no weights
    rollback   weights, optimizer, schedule and step return to last.ckpt; the data continue after the bad batch, so that
               all batches since that checkpoint are skipped (PaLM, arXiv 2204.02311, §5.1)

Losses and the norm of all gradients are read from the device once per optimizer step. All ranks decide the same. The
decision depends only on the step and the checkpoint, so a resumed run decides the same again.
"""

import statistics
from collections import deque
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from callbacks.checkpoints import LastCheckpoint
from genie.common.errors import RunError, UserError, warn
from genie.distributed.optim import gradient_norm
from genie.models.quantizers import VectorQuantizer
from genie.runs.loading import read_checkpoint
from genie.stages.base import accumulating


class BadSteps(Callback):
    """Detects bad steps and applies `policy`. Has to precede callbacks that average or save the weights.

    Args:
        last: the checkpoint of a rollback.
        policy: stop | skip | rollback.
        max_in_a_row: of skipped steps; one more is an error.
        max_rollbacks: in the whole run; one more is an error.
        explosion_factor: a loss above this multiple of the median of the last `window` losses is bad; None: none is.
    """

    def __init__(
        self,
        last: LastCheckpoint,
        policy: str,
        max_in_a_row: int,
        max_rollbacks: int,
        explosion_factor: float | None,
        window: int,
    ) -> None:
        self.last, self.policy, self.explosion_factor = last, policy, explosion_factor
        self.max_in_a_row, self.max_rollbacks = max_in_a_row, max_rollbacks
        self.window: deque[float] = deque(maxlen=window)  # the last good losses
        self.num_in_a_row = self.num_skipped = self.num_rollbacks = 0
        self.going_back = False
        self.losses: list[Tensor] = []  # of the batches of this step
        self.clips: list[Tensor] = []
        self.before: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        counts = {"in_a_row": self.num_in_a_row, "skipped": self.num_skipped, "rollbacks": self.num_rollbacks}
        return {**counts, "window": list(self.window)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_in_a_row, self.num_skipped = state_dict["in_a_row"], state_dict["skipped"]
        self.num_rollbacks = state_dict["rollbacks"]
        self.window.extend(state_dict["window"])

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.policy == "rollback" and not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise UserError("trainer.on_nan=rollback needs the whole model in each process: give stop or skip")

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.losses, self.clips = [], []
            if self.policy == "skip":
                self.before = [tensor.detach().clone() for tensor in changed_by_forward(module)]
        if "index" in batch:
            self.clips.append(batch["index"])

    def on_before_backward(self, trainer: Trainer, module: LightningModule, loss: Tensor) -> None:
        self.losses.append(loss.detach() * trainer.accumulate_grad_batches)  # Lightning has divided it

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Optimizer) -> None:
        loss, norm = self._read(trainer, optimizer)
        wrong = self._wrong(loss, norm)
        if not trainer.strategy.reduce_boolean_decision(wrong is not None, all=False):
            self.num_in_a_row = 0
            self.window.append(loss)
            return
        text = self._describe(trainer, module, optimizer, wrong)
        if self.policy == "stop":
            raise RunError(f"{text}; {self._held()}. To go on without such steps: resume=true trainer.on_nan=skip")
        if self.policy == "skip":
            self._skip(text, trainer, module)
        else:
            self._plan_rollback(text, trainer)
        for parameter in module.parameters():  # without gradients the optimizer changes nothing
            parameter.grad = None

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if self.going_back and not accumulating(trainer):
            self.going_back = False
            go_back(trainer, module, self.last)

    def _read(self, trainer: Trainer, optimizer: Optimizer) -> tuple[float, float]:
        """The step's loss and the norm of all its gradients, from the device at once."""
        loss = torch.stack(self.losses).mean().float()
        if self.explosion_factor is not None:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")  # so that all ranks keep the same losses
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return float(loss), 0.0  # with loss scaling, infinite gradients are expected
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sharded = any(hasattr(gradient, "full_tensor") for gradient in gradients)
        norm = gradient_norm(parameters) if sharded else torch.nn.utils.get_total_norm(gradients)
        return tuple(torch.stack([loss, norm.to(loss.device).float()]).tolist())

    def _wrong(self, loss: float, norm: float) -> str | None:
        if not abs(loss) < float("inf"):
            return f"the loss is {loss}"
        if not norm < float("inf"):
            return f"the norm of the gradients is {norm} (loss {loss:.4g})"
        if self.explosion_factor is not None and len(self.window) == self.window.maxlen:
            usual = abs(statistics.median(self.window))
            if loss > self.explosion_factor * usual:
                times, count = loss / usual if usual else float("inf"), len(self.window)
                return f"the loss is {loss:.4g}, {times:.3g} times the median of the last {count} steps"
        return None

    def _describe(self, trainer: Trainer, module: LightningModule, optimizer: Optimizer, wrong: str | None) -> str:
        """The problem, its step, the clips of the batches, and the first gradient that is not finite."""
        mine = None
        if wrong is not None:
            clips = ", ".join(str(index) for indices in self.clips for index in indices.tolist())
            mine = f"{wrong}, training clips [{clips}]"
        found = [(mine, first_bad_gradient(module, optimizer))]
        if trainer.world_size > 1:
            own, found = found[0], [None] * trainer.world_size
            torch.distributed.all_gather_object(found, own)
        texts = [f"rank {rank}: {text}" if len(found) > 1 else text for rank, (text, _) in enumerate(found) if text]
        gradient = next((name for _, name in found if name), "none")
        return f"step {trainer.global_step + 1}: {'; '.join(texts)}; first gradient that is not finite: {gradient}"

    def _skip(self, text: str, trainer: Trainer, module: LightningModule) -> None:
        self.num_in_a_row += 1
        self.num_skipped += 1
        if self.num_in_a_row > self.max_in_a_row:
            raise RunError(f"{text}; {self.max_in_a_row} steps before it were skipped for the like; {self._held()}")
        for tensor, former in zip(changed_by_forward(module), self.before, strict=True):
            tensor.detach().copy_(former)
        if trainer.is_global_zero:
            warn(f"{text}; skipped ({self.num_skipped} so far)")

    def _plan_rollback(self, text: str, trainer: Trainer) -> None:
        self.num_rollbacks += 1
        if not self.last.saved_step or self.num_rollbacks > self.max_rollbacks:
            raise RunError(f"{text}; {self.num_rollbacks - 1} rollbacks before it; {self._held()}")
        self.going_back = True
        if trainer.is_global_zero:
            warn(f"{text}; going back to step {self.last.saved_step}, with the clips that follow on this step")

    def _held(self) -> str:
        return f"{self.last.path} holds step {self.last.saved_step}" if self.last.saved_step else "nothing is saved yet"


def changed_by_forward(module: LightningModule) -> list[Tensor]:
    """Tensors that a forward pass in training changes: running statistics, and codebooks (revived codes)."""
    codebooks = [part.codebook for part in module.modules() if isinstance(part, VectorQuantizer)]
    return [*module.buffers(), *codebooks]


def first_bad_gradient(module: LightningModule, optimizer: Optimizer) -> str | None:
    """Name and parameter group of the first gradient that is not finite (of this rank's shards)."""
    groups = {id(p): index for index, group in enumerate(optimizer.param_groups) for p in group["params"]}
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            continue
        gradient = gradient.to_local() if hasattr(gradient, "to_local") else gradient
        if not gradient.isfinite().all():
            group = groups.get(id(parameter))
            return f"{name} (parameter group {group}, weight decay {optimizer.param_groups[group]['weight_decay']:g})"
    return None


def go_back(trainer: Trainer, module: LightningModule, last: LastCheckpoint) -> None:
    """At the end of a batch: restores the state of last.ckpt except the position in the data."""
    checkpoint = read_checkpoint(last.path)
    step, loops = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
    module.on_load_checkpoint(checkpoint)
    trainer.strategy.load_model_state_dict(checkpoint, strict=True)
    for callback in trainer.callbacks:
        if isinstance(callback, WeightAveraging):
            callback.on_load_checkpoint(trainer, module, checkpoint)
            callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
    trainer.strategy.load_optimizer_state_dict(checkpoint)
    for config, state in zip(trainer.lr_scheduler_configs, checkpoint["lr_schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    loop, optimization = trainer.fit_loop.epoch_loop, "epoch_loop.automatic_optimization.optim_progress"
    loop.automatic_optimization.optim_progress.load_state_dict(loops[optimization])
    loop.scheduler_progress.load_state_dict(loops["epoch_loop.scheduler_progress"])
    loop._batches_that_stepped = step - 1  # the loop counts this batch next
    loop._results.reset()  # and logs nothing of it
    module.on_train_start()  # options of the optimizer are the configuration's
    for logger in trainer.loggers:
        logger.go_back(step)
