"""Stages written one after the other, of which each names the earlier ones by their fingerprints: rounded weights have
others than those that were trained."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genie.runs.loading import TrainedModel, fingerprint, world_fingerprint
from genie.runs.safetensors_file import SUFFIX, write_exported

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
        self.stages: dict[Path, TrainedModel] = {}
        self.renamed: dict[str, str] = {}
        self._tokenizer = "", ""  # its fingerprint, before and after

    def write(self, checkpoint: dict[str, Any], trained: TrainedModel) -> None:
        """The models of a stage and the checkpoint that they were built from."""
        before, name = fingerprint(trained.model), trained.options["name"]
        checkpoint["state_dict"] = converted(trained, TrainedModel.of(checkpoint["state_dict"]), self.dtype)
        checkpoint["fingerprints"] = {
            part: self.renamed.get(known, known) for part, known in trained.fingerprints.items()
        }
        trained.load_state_dict(checkpoint["state_dict"])
        both = before, fingerprint(trained.model)
        self.renamed[before] = both[1]
        if name == "tokenizer":
            self._tokenizer = both
        elif name in WORLDS:
            before, after = (world_fingerprint(*pair) for pair in zip(self._tokenizer, both, strict=True))
            self.renamed[before] = after
        file = self.output / f"{name}{SUFFIX}"
        write_exported(file, checkpoint)
        self.stages[file] = trained


def converted(trained: TrainedModel, state: dict[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    """A state in which the parameters, and not the buffers, are of another type; None leaves all as they are."""
    if dtype is None:
        return state
    parameters = dict(trained.named_parameters())
    return {name: value.to(DTYPES[dtype]) if name in parameters else value for name, value in state.items()}
