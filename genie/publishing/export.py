"""Export of trained models: `python -m genie.export`, with the README.md of the exported folder.

Stages are written in the order of training. Each refers to the earlier ones by their fingerprints, which change where
weights are rounded.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.hub import CONTENTS
from genie.common.run_folders import explained
from genie.common.settings.commands import ExportConfig
from genie.models.building import ON_WORLD, STAGES
from genie.publishing.exported_data import export_data
from genie.publishing.hub_upload import CARD, check_upload, upload
from genie.publishing.model_card import WORLDS, card, trainings
from genie.runs.loading import (
    DATA,
    WORLD,
    TrainedModel,
    build_from,
    fingerprint,
    read_checkpoint,
    stage_file,
    world_fingerprint,
)
from genie.runs.safetensors_file import SUFFIX, write_exported
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.loading import dynamics_file, trained_with
from genie.world.opening import kinds_of

EVALUATION = Path("evaluation", "evaluation.json")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export(config: ExportConfig) -> list[Path]:
    """Writes the files of the configuration `export`; returns the paths of the stages. Raises UserError for an invalid
    value, before anything is written."""
    check(config)
    check_upload(config.hub)
    sources, on_world = ([Path(config.checkpoint)], {}) if config.checkpoint else run_files(Path(config.run))
    output = Path(config.output or Path(config.run) / "exported")
    with one_writer(output, "output="):
        stages = export_into(output, sources, on_world, config)
        if config.hub.repo:
            upload(output, written(output, stages, config), config.hub)
    return stages


def export_into(output: Path, sources: list[Path], on_world: dict[str, Path], config: ExportConfig) -> list[Path]:
    """`export` of these checkpoints, into a folder that no other process writes into."""
    former = list(output.glob(f"*{SUFFIX}"))
    if former and not config.overwrite:
        raise UserError(f"{output} holds exported files already: give overwrite=true, or another output=")
    writer = Writer(output, config.dtype)
    for source in sources:
        writer.write(*opened(source))
    for part, source in on_world.items():
        try:
            checkpoint, stage = opened(source)
            if stage.fingerprints.get(WORLD) not in writer.renamed:
                raise UserError(f"{source} was trained in another world, or this one was trained further since")
        except UserError as error:
            print(f"{config.run}: without the {part} ({error})", file=sys.stderr)
            continue
        writer.write(checkpoint, stage)
    for path in set(former) - writer.stages.keys():
        path.unlink()
    if config.data_frames:
        export_data(next(iter(writer.stages.values())).config["data"]["root"], output / DATA, config.data_frames)
    describe(output, writer, config)
    return list(writer.stages)


def written(output: Path, stages: list[Path], config: ExportConfig) -> list[Path]:
    """The files of an export: others may be in its folder, such as what was played there."""
    evaluation = [output / EVALUATION] if (Path(config.run or output) / EVALUATION).is_file() else []
    data = sorted((output / DATA).glob("*.h5")) if config.data_frames else []
    return [*stages, output / CONTENTS, output / CARD, *evaluation, *data]


def check(config: ExportConfig) -> None:
    """Raises UserError for invalid values and keys that exclude each other."""
    if (config.run is None) == (config.checkpoint is None):
        raise UserError("give either run=outputs/<name> or checkpoint=<file>")
    if config.checkpoint and not config.output:
        raise UserError("with checkpoint=, give the folder to write into: output=exported")
    if config.output and Path(config.output).is_file():
        raise UserError(f"output={config.output} is a file: give the name of a folder")


def run_files(run: Path) -> tuple[list[Path], dict[str, Path]]:
    """The checkpoints of a run's world in the order of training (without a world, of all its stages), and by name those
    of stages that are trained on a world, this one or another. Raises UserError where there are none."""
    last = {name: path for name in STAGES if is_checkpoint(path := stage_file(run, name))}
    if not last:
        raise UserError(f"run={run} holds no trained stage: {explained(run, 'run=')}")
    kinds = kinds_of(run)
    if not kinds:
        return list(last.values()), {}
    on_world = {name: last.pop(name) for name in ON_WORLD if name in last}
    return genie_files(run) if "genie" in kinds else list(last.values()), on_world


def genie_files(run: Path) -> list[Path]:
    """The checkpoints of a Genie world: those that its dynamics was trained on, then the dynamics."""
    path = dynamics_file(run)
    dynamics = build_from(read_checkpoint(path), path)
    parts: list[Path] = []
    for part in dynamics.fingerprints:
        try:
            parts.append(trained_with(dynamics, run, part)[0])
        except UserError as error:
            if part != "lam":  # a world works without it
                raise
            print(f"{run}: without the latent action model ({error})", file=sys.stderr)
    return [*parts, path]


def opened(path: Path) -> tuple[dict[str, Any], TrainedModel]:
    """A checkpoint, and its models."""
    checkpoint = read_checkpoint(path)
    return checkpoint, build_from(checkpoint, path)


def describe(output: Path, writer: "Writer", config: ExportConfig) -> None:
    """Writes README.md, config.json and, if the run has one, evaluation.json."""
    stages = writer.stages
    about = {
        file.name: {"stage": stage.options["name"], "steps": stage.trained_steps, "config": stage.config}
        for file, stage in stages.items()
    }
    trained_by = trainings(stages, Path(config.run or output))
    for name, line in trained_by.items():
        about[f"{name}{SUFFIX}"]["trained_by"] = line
    measured = Path(config.run or output) / EVALUATION
    if measured.is_file() and measured.parent.parent != output:
        (output / EVALUATION).parent.mkdir(exist_ok=True)
        shutil.copyfile(measured, output / EVALUATION)  # genie.play names the actions by it
    for name, text in {
        CONTENTS: json.dumps(about, indent=2),
        CARD: card(stages, measured, trained_by, config, writer.rounds),
    }.items():
        with replacing(output / name, "w") as file:
            file.write(text)


class Writer:
    """Writes stages into the folder `output`, parameters as `dtype` (a key of `DTYPES`; None: as trained).

    Attributes:
        stages: the written ones, by file.
        renamed: fingerprints of all models and worlds so far, as trained -> as written.
        rounds: whether any of them differ.
    """

    def __init__(self, output: Path, dtype: str | None) -> None:
        self.output, self.dtype = output, dtype
        self.stages: dict[Path, TrainedModel] = {}
        self.renamed: dict[str, str] = {}
        self.rounds = False
        self._tokenizer = "", ""  # its fingerprint, before and after

    def write(self, checkpoint: dict[str, Any], trained: TrainedModel) -> None:
        before, name = fingerprint(trained.model), trained.options["name"]
        checkpoint["state_dict"] = converted(trained, TrainedModel.of(checkpoint["state_dict"]), self.dtype)
        checkpoint["fingerprints"] = {
            part: self.renamed.get(known, known) for part, known in trained.fingerprints.items()
        }
        trained.load_state_dict(checkpoint["state_dict"])
        both = before, fingerprint(trained.model)
        self.renamed[before] = both[1]
        self.rounds |= before != both[1]
        if name == "tokenizer":
            self._tokenizer = both
        elif name in WORLDS:
            before, after = (world_fingerprint(*pair) for pair in zip(self._tokenizer, both, strict=True))
            self.renamed[before] = after
        file = self.output / f"{name}{SUFFIX}"
        write_exported(file, checkpoint)
        self.stages[file] = trained


def converted(trained: TrainedModel, state: dict[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    """The state with parameters, but not buffers, of another type; None leaves all as they are."""
    if dtype is None:
        return state
    parameters = dict(trained.named_parameters())
    return {name: value.to(DTYPES[dtype]) if name in parameters else value for name, value in state.items()}
