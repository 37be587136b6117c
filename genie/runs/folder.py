"""Run folder outputs/<name>/<stage>/: checks before a run starts, and the state of a resumed run.

config.yaml  run.json  checkpoints/{last,best,step-<n>}.ckpt  metrics.csv  plots/  media/  wandb/ or tensorboard/
"""

import os
from pathlib import Path
from typing import Any

import yaml

from genie.common.errors import UserError, warn
from genie.common.files import TEMPORARY, delete, remove_leftovers, replacing
from genie.runs.checkpoint_store import LAST, kept, name_also, newest_whole, remove, remove_orphans, step_of, step_path
from genie.runs.loading import read_checkpoint

CONTENTS = ("checkpoints", "config.yaml", "run.json", "metrics.csv", "plots", "media", "wandb", "tensorboard")
# keys and groups of the configuration that the weights of each stage depend on
MODEL_KEYS = {
    "tokenizer": ("model.image_size", "model.tokenizer"),
    "lam": ("model.image_size", "model.lam"),
    "dynamics": ("model.image_size", "model.dynamics", "stage.actions"),
    "cotrain": ("model.image_size", "model.lam", "model.dynamics"),
    "simulator": ("model.image_size", "simulator.kind", "simulator.model"),
    "reward": ("model.image_size", "reward.name", "reward.network"),
    "policy": ("model.image_size", "policy.name", "policy.network"),
}
# the state of a training in a checkpoint, beside the configuration
RESUMED = {
    "global_step": int, "state_dict": dict, "callbacks": dict, "loops": dict, "optimizer_states": list,
    "lr_schedulers": list,
}  # fmt: skip
HOW_TO_START = "resume=true goes on, name=... takes another folder, overwrite=true deletes it"


class RunFolder:
    """The folder of one run of one stage, from a resolved configuration.

    `source`: the checkpoint that a resumed run starts from, None for a new run; set by `resumable`.
    """

    def __init__(self, config: dict[str, Any]):
        self.config, self.path = config, Path(config["run_dir"])
        self.source: Path | None = None
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / LAST
        self.metrics = self.path / "metrics.csv"
        self.record = self.path / "run.json"
        self.loss_plot = self.path / "plots" / "loss.png"
        self.media = self.path / "media"

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "config.yaml").exists() or self.last.exists() or bool(kept(self.checkpoints))

    def resumable(self, proved: bool = False) -> dict[str, Any] | None:
        """The checkpoint to resume from, its tensors still in the file; None for a new run. Changes nothing on disk.

        It is the newest intact one; damaged ones are reported on stderr. `proved`: another process has verified it and
        made it last.ckpt. Raises `UserError` where a run exists and is neither resumed nor overwritten, where its model
        is not the configured one, and where none of its checkpoints is intact.
        """
        resume, overwrite = self.config["resume"], self.config["overwrite"]
        if resume and overwrite:
            raise UserError("resume=true and overwrite=true exclude each other: give one of them")
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path} is a file; give another name= or output_dir=")
        if overwrite or not self.holds_run():
            return None
        if not resume:
            raise UserError(f"{self.path} holds a run already: {HOW_TO_START}")
        self.source = (self.last if self.last.exists() else None) if proved else self._newest_whole()
        if self.source is None:
            return None
        checkpoint = self._read(self.source)
        self._check_same_model(checkpoint)
        return checkpoint

    def is_complete(self) -> bool:
        """Whether last.ckpt is intact and holds all of the run's steps. `UserError` where no checkpoint is intact."""
        return self._newest_whole() == self.last and self._read(self.last)["global_step"] >= self.max_steps

    @property
    def max_steps(self) -> int:
        return self.config["trainer"]["max_steps"]

    def open(self, resumed: bool) -> None:
        """Creates the folder and writes config.yaml; deletes the contents of a former run unless it is `resumed`."""
        if resumed:
            self.go_back()
        else:
            for name in CONTENTS:
                self._delete(self.path / name)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)
        remove_orphans(self.checkpoints)
        with replacing(self.path / "config.yaml", "w") as file:
            yaml.safe_dump(self.config, file, sort_keys=False)

    def changed_settings(self, then: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Keys in which the configuration differs from a former one, `then`: (former value, present value)."""
        before, now = flatten(then), flatten(self.config)
        ignored = ("resume", "overwrite", "run_dir", "output_dir", "name")
        return {
            key: (before.get(key), now.get(key))
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key) and key not in ignored
        }

    def _newest_whole(self) -> Path | None:
        damaged: list[str] = []
        path = newest_whole(self.checkpoints, lambda _, message: damaged.append(message))
        if damaged and path is None:
            raise UserError(
                f"{damaged[0]}, and no other one of this run is whole; put a good one in its place, or start anew with "
                "overwrite=true"
            )
        for message in damaged:
            warn(f"{message}: going back to {path}")
        return path

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            checkpoint = read_checkpoint(path, peek=True)
            for key, kind in RESUMED.items():
                if not isinstance(checkpoint.get(key), kind):
                    raise UserError(f"{path} cannot be gone on from: its {key} is {type(checkpoint.get(key)).__name__}")
            return checkpoint
        except UserError as error:
            raise UserError(f"{error}; put a good one in its place, or start anew with overwrite=true") from error

    def go_back(self) -> None:
        """Makes `source` the newest checkpoint, under both of its names."""
        assert self.source is not None
        step = self._read(self.source)["global_step"]
        for path in kept(self.checkpoints):
            if step_of(path) > step:
                remove(path)
        name_also(self.source, self.last)
        if not step_path(self.checkpoints, step).exists():  # last.ckpt was put there by hand
            name_also(self.last, step_path(self.checkpoints, step))

    def _delete(self, entry: Path) -> None:
        """Deletes a file or a folder; a folder is renamed first, so that it never exists in part."""
        if entry.is_dir() and not entry.is_symlink():
            entry = entry.rename(self.path / f".{entry.name}{TEMPORARY}{os.getpid()}")
        delete(entry)

    def _check_same_model(self, checkpoint: dict[str, Any]) -> None:
        ours = MODEL_KEYS[self.config["stage"]["name"]]
        differing = [
            f"{key} ({then} there, {now} now)"
            for key, (then, now) in self.changed_settings(checkpoint["hyper_parameters"]["config"]).items()
            if any(key == name or key.startswith(f"{name}.") for name in ours)
        ]
        if differing:
            raise UserError(
                f"cannot resume {self.path} with another model: {', '.join(differing)}; "
                "give the values it was started with, or another name="
            )


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are values."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        key: value
        for name, child in config.items()
        for key, value in flatten(child, f"{prefix}.{name}" if prefix else str(name)).items()
    }
