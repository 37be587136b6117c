"""The folder of a run, outputs/<name>/<stage>/: what may start in it, and what a resumed run goes on from.

config.yaml  run.json  checkpoints/{last,best}.ckpt  metrics.csv  plots/  media/  wandb/ or tensorboard/
"""

import shutil
from pathlib import Path
from typing import Any

import yaml

from genie.checkpoints import read_checkpoint
from genie.errors import UserError
from genie.files import remove_leftovers, replacing

CONTENTS = ("config.yaml", "run.json", "checkpoints", "metrics.csv", "plots", "media", "wandb", "tensorboard")
MODELS = ("tokenizer", "lam", "dynamics")
TRAINED = {
    "tokenizer": ("tokenizer",),
    "lam": ("lam",),
    "dynamics": ("dynamics",),
    "cotrain": ("lam", "dynamics"),
}
HOW_TO_START = "resume=true goes on, name=... takes another folder, overwrite=true deletes it"


class RunFolder:
    """The folder of one run of one stage, from a resolved configuration."""

    def __init__(self, config: dict[str, Any]):
        self.config = config
        self.path = Path(config["run_dir"])
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.metrics = self.path / "metrics.csv"
        self.record = self.path / "run.json"
        self.loss_plot = self.path / "plots" / "loss.png"
        self.media = self.path / "media"

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "config.yaml").exists() or self.last.exists()

    def resumable(self) -> dict[str, Any] | None:
        """The checkpoint to go on from, None for a new run; nothing on disk is changed.

        Raises `UserError` where a run is in the way, or where its model is not the one that is asked for.
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
        if not self.last.exists():
            return None
        checkpoint = self._read_last()
        self._check_same_model()
        return checkpoint

    def is_complete(self) -> bool:
        """Whether the run has taken all of its steps. Raises `UserError` for a damaged checkpoint."""
        return self.last.exists() and self._read_last()["global_step"] >= self.max_steps

    @property
    def max_steps(self) -> int:
        return self.config["trainer"]["max_steps"]

    def open(self, resumed: bool) -> None:
        """Makes the folder and writes config.yaml; what a former run left goes, unless it is `resumed`."""
        if not resumed:
            for name in CONTENTS:
                entry = self.path / name
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)
        with replacing(self.path / "config.yaml", "w") as file:
            yaml.safe_dump(self.config, file, sort_keys=False)

    def changed_settings(self) -> dict[str, tuple[Any, Any]]:
        """Keys in which the configuration differs from the folder's config.yaml: (there, now)."""
        then, now = flatten(self._stored_config()), flatten(self.config)
        ignored = ("resume", "overwrite", "run_dir", "output_dir", "name")
        return {
            key: (then.get(key), now.get(key))
            for key in sorted({*then, *now})
            if then.get(key) != now.get(key) and key not in ignored
        }

    def _read_last(self) -> dict[str, Any]:
        try:
            return read_checkpoint(self.last)
        except UserError as error:
            raise UserError(f"{error}; put a good one in its place, or start anew with overwrite=true") from error

    def _stored_config(self) -> dict[str, Any]:
        path = self.path / "config.yaml"
        return yaml.safe_load(path.read_text()) if path.exists() else self.config

    def _check_same_model(self) -> None:
        trained = TRAINED.get(self.config["stage"]["name"], MODELS)
        parts = [f"model.{model}." for model in MODELS if model not in trained]
        differing = [
            f"{key} ({then} there, {now} now)"
            for key, (then, now) in self.changed_settings().items()
            if key.startswith("model.") and key != "model.name" and not any(key.startswith(part) for part in parts)
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
