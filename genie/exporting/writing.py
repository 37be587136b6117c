"""Stages written one after the other, of which each names the earlier ones by their fingerprints: rounded weights have
others than those that were trained."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genie.checkpoints import fingerprint, world_fingerprint
from genie.exporting.files import SUFFIX, write_exported
from genie.stages import Stage

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORLDS = ("dynamics", "cotrain")  # stages that make a world of a tokenizer


class Writer:
    """Writes into the folder `output`, parameters as `dtype` (a key of `DTYPES`, None: as they were trained).

    Attributes:
        stages: those that were written, by their files.
        renamed: fingerprints of all models and worlds so far, as trained, and as they were written.
    """

    def __init__(self, output: Path, dtype: str | None) -> None:
        self.output, self.dtype = output, dtype
        self.stages: dict[Path, Stage] = {}
        self.renamed: dict[str, str] = {}
        self._tokenizer = "", ""  # its fingerprint, before and after

    def write(self, checkpoint: dict[str, Any], stage: Stage) -> None:
        """A stage and the checkpoint that it was built from."""
        trained, name = fingerprint(stage.model), stage.options["name"]
        checkpoint["state_dict"] = converted(stage, checkpoint["state_dict"], self.dtype)
        checkpoint["fingerprints"] = {
            part: self.renamed.get(known, known) for part, known in stage.fingerprints.items()
        }
        stage.load_state_dict(checkpoint["state_dict"])
        both = trained, fingerprint(stage.model)
        self.renamed[trained] = both[1]
        if name == "tokenizer":
            self._tokenizer = both
        elif name in WORLDS:
            before, after = (world_fingerprint(*pair) for pair in zip(self._tokenizer, both, strict=True))
            self.renamed[before] = after
        file = self.output / f"{name}{SUFFIX}"
        write_exported(file, checkpoint)
        self.stages[file] = stage


def converted(stage: Stage, state: dict[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    """A state in which the parameters, and not the buffers, are of another type; None leaves all as they are."""
    if dtype is None:
        return state
    parameters = dict(stage.named_parameters())
    return {name: value.to(DTYPES[dtype]) if name in parameters else value for name, value in state.items()}
