"""`best.ckpt`: the state that validation liked best.

Lightning's `ModelCheckpoint` forgets the best value when the run folder is moved, and takes a save that failed for one
that did not.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from callbacks.checkpoints import failed_here
from genie.common.errors import UserError
from genie.runs.checkpoint_store import BEST
from genie.runs.loading import read_checkpoint


class BestCheckpoint(Checkpoint):
    """Keeps `best.ckpt` of `folder`: the state in which validation found `monitor` lowest ("min") or highest ("max").

    Every checkpoint carries the record (value and step). The file carries its own: where a run goes back behind it, or
    finds it gone, it is the file that counts.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        self.path, self.monitor, self.mode = folder / BEST, monitor, mode
        self.score: float | None = None
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "mode": self.mode, "score": self.score, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode):
            self.score, self.step = state_dict["score"], state_dict["step"]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.global_step:
            self._look_at_file(trainer.global_step)
        self.score, self.step = trainer.strategy.broadcast((self.score, self.step))

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        found = trainer.callback_metrics
        if self.monitor not in found:
            names = ", ".join(sorted(name for name in found if name.startswith(("val/", "rollout/"))))
            raise UserError(f"callbacks.checkpoint.monitor={self.monitor} is not logged by a validation: {names} are")
        value = trainer.strategy.broadcast(float(found[self.monitor]))
        if not self._is_better(value):
            return
        former = self.score, self.step
        self.score, self.step = value, trainer.global_step  # the file carries them
        trainer.save_checkpoint(self.path, weights_only=False)
        if trainer.strategy.reduce_boolean_decision(failed_here(trainer), all=False):
            self.score, self.step = former

    def _is_better(self, value: float) -> bool:
        if value != value:
            return False
        return self.score is None or (value < self.score if self.mode == "min" else value > self.score)

    def _look_at_file(self, global_step: int) -> None:
        try:
            checkpoint = read_checkpoint(self.path, peek=True)
            record = checkpoint["callbacks"][self.state_key]
            if checkpoint["global_step"] > global_step:  # written after the state that this run goes on from
                self.load_state_dict(record)
        except (UserError, KeyError, TypeError):
            self.score, self.step = None, 0
