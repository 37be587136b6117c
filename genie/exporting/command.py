"""`python -m genie.export`: which stages, and the folder that they are written into."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.exporting.card import card
from genie.exporting.writing import DTYPES, Writer
from genie.models.building import ON_WORLD, STAGES
from genie.runs.loading import WORLD, TrainedModel, build_from, read_checkpoint, stage_file
from genie.runs.safetensors_file import SUFFIX
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.loading import dynamics_file, trained_with
from genie.world.opening import kinds_of

EVALUATION = Path("evaluation", "evaluation.json")


def export(config: dict[str, Any]) -> list[Path]:
    """Writes the files that the configuration `export` describes; returns the paths of the stages.

    Raises UserError for a value that cannot be, before anything is written.
    """
    check(config)
    sources, on_world = ([Path(config["checkpoint"])], {}) if config["checkpoint"] else run_files(Path(config["run"]))
    output = Path(config["output"] or Path(config["run"]) / "exported")
    with one_writer(output, "output="):
        return export_into(output, sources, on_world, config)


def export_into(output: Path, sources: list[Path], on_world: dict[str, Path], config: dict[str, Any]) -> list[Path]:
    """`export` of these checkpoints, into a folder that nobody else writes into."""
    former = list(output.glob(f"*{SUFFIX}"))
    if former and not config["overwrite"]:
        raise UserError(f"{output} holds exported files already: give overwrite=true, or another output=")
    writer = Writer(output, config["dtype"])
    for source in sources:
        writer.write(*opened(source))
    for part, source in on_world.items():
        try:
            checkpoint, stage = opened(source)
            if stage.fingerprints.get(WORLD) not in writer.renamed:
                raise UserError(f"{source} was trained in another world, or this one was trained further since")
        except UserError as error:
            print(f"{config['run']}: without the {part} ({error})", file=sys.stderr)
            continue
        writer.write(checkpoint, stage)
    for path in set(former) - writer.stages.keys():
        path.unlink()
    describe(output, writer.stages, config)
    return list(writer.stages)


def check(config: dict[str, Any]) -> None:
    """Raises UserError for keys that do not go together."""
    if (config["run"] is None) == (config["checkpoint"] is None):
        raise UserError("give either run=outputs/<name> or checkpoint=<file>")
    if config["checkpoint"] and not config["output"]:
        raise UserError("with checkpoint=, give the folder to write into: output=exported")
    if config["dtype"] not in (None, *DTYPES):
        raise UserError(f"dtype={config['dtype']}: choose one of {', '.join(DTYPES)}")
    if config["output"] and Path(config["output"]).is_file():
        raise UserError(f"output={config['output']} is a file: give the name of a folder")


def run_files(run: Path) -> tuple[list[Path], dict[str, Path]]:
    """The checkpoints of a run's world in the order of training, of a Genie world the dynamics and those that it was
    trained on; and by their names those of stages that are trained on a world, this one or another.

    Without a world, the stages that there are. Raises UserError where there is nothing.
    """
    last = {name: path for name in STAGES if is_checkpoint(path := stage_file(run, name))}
    if not last:
        raise UserError(f"run={run} holds no trained stage (no {stage_file(run, 'tokenizer')})")
    kinds = kinds_of(run)
    if not kinds:
        return list(last.values()), {}
    on_world = {name: last.pop(name) for name in ON_WORLD if name in last}
    return genie_files(run) if "genie" in kinds else list(last.values()), on_world


def genie_files(run: Path) -> list[Path]:
    """The checkpoints of a Genie world: of its dynamics, behind those that it was trained on."""
    path = dynamics_file(run)
    dynamics = build_from(read_checkpoint(path), path)
    parts: list[Path] = []
    for part in dynamics.fingerprints:
        try:
            parts.append(trained_with(dynamics, run, part)[0])
        except UserError as error:
            if part != "lam":  # a world plays without
                raise
            print(f"{run}: without the latent action model ({error})", file=sys.stderr)
    return [*parts, path]


def opened(path: Path) -> tuple[dict[str, Any], TrainedModel]:
    """A checkpoint, and the models that are built from it."""
    checkpoint = read_checkpoint(path)
    return checkpoint, build_from(checkpoint, path)


def describe(output: Path, stages: dict[Path, TrainedModel], config: dict[str, Any]) -> None:
    """Writes what people and other programs read: README.md, config.json and, where there is one, evaluation.json."""
    about = {
        file.name: {"stage": stage.options["name"], "steps": stage.trained_steps, "config": stage.config}
        for file, stage in stages.items()
    }
    measured = Path(config["run"] or output) / EVALUATION
    if measured.is_file() and measured.parent.parent != output:
        (output / EVALUATION).parent.mkdir(exist_ok=True)
        shutil.copyfile(measured, output / EVALUATION)  # genie.play names the actions by it
    for name, text in {
        "config.json": json.dumps(about, indent=2),
        "README.md": card(stages, config["dtype"], measured, config["figures"]),
    }.items():
        with replacing(output / name, "w") as file:
            file.write(text)
