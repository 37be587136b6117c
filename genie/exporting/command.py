"""`python -m genie.export`: which stages, and the folder that they are written into."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genie.checkpoints import build_from, fingerprint, read_checkpoint, stage_file, world_fingerprint
from genie.errors import UserError
from genie.exporting.card import card
from genie.exporting.files import SUFFIX, write_exported
from genie.files import replacing
from genie.stages import STAGES, Stage
from genie.world.loading import dynamics_file, trained_with
from genie.world.rewards import load_reward

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORLDS = ("dynamics", "cotrain")  # stages that make a world of a tokenizer
EVALUATION = Path("evaluation", "evaluation.json")


def export(config: dict[str, Any]) -> list[Path]:
    """Writes the files that the configuration `export` describes; returns the paths of the stages.

    Raises UserError for a value that cannot be, before anything is written.
    """
    check(config)
    sources = [Path(config["checkpoint"])] if config["checkpoint"] else world_files(Path(config["run"]))
    output = Path(config["output"] or Path(config["run"]) / "exported")
    former = list(output.glob(f"*{SUFFIX}"))
    if former and not config["overwrite"]:
        raise UserError(f"{output} holds exported files already: give overwrite=true, or another output=")
    stages: dict[Path, Stage] = {}
    renamed: dict[str, str] = {}
    tokenizer = "", ""  # its fingerprint, before and after
    for source in sources:
        checkpoint = read_checkpoint(source)
        stage = build_from(checkpoint, source)
        trained = fingerprint(stage.model)
        checkpoint["state_dict"] = converted(stage, checkpoint["state_dict"], config["dtype"])
        # Rounded weights have another fingerprint: a world's stages are told those of each other.
        checkpoint["fingerprints"] = {part: renamed.get(known, known) for part, known in stage.fingerprints.items()}
        stage.load_state_dict(checkpoint["state_dict"])
        renamed[trained] = fingerprint(stage.model)
        if stage.options["name"] == "tokenizer":
            tokenizer = trained, renamed[trained]
        elif stage.options["name"] in WORLDS:
            pairs = zip(tokenizer, (trained, renamed[trained]), strict=True)
            before, after = (world_fingerprint(*pair) for pair in pairs)
            renamed[before] = after
        file = output / f"{stage.options['name']}{SUFFIX}"
        write_exported(file, checkpoint)
        stages[file] = stage
    for path in set(former) - stages.keys():
        path.unlink()
    describe(output, stages, config)
    return list(stages)


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


def world_files(run: Path) -> list[Path]:
    """The checkpoints of a run's world in the order of training: the dynamics, those that it was trained on, and the
    reward model that was trained on it.

    Without a dynamics, the stages that there are. Raises UserError where there is nothing.
    """
    last = {name: stage_file(run, name) for name in STAGES}
    if not any(last[name].exists() for name in WORLDS):
        found = [path for path in last.values() if path.exists()]
        if not found:
            raise UserError(f"run={run} holds no trained stage (no {last['tokenizer']})")
        return found
    path = dynamics_file(run)
    dynamics = build_from(read_checkpoint(path), path)
    parts: dict[str, Path] = {}
    for part in dynamics.fingerprints:
        try:
            parts[part] = trained_with(dynamics, run, part)[0]
        except UserError as error:
            if part != "lam":  # a world plays without
                raise
            print(f"{run}: without the latent action model ({error})", file=sys.stderr)
    world = world_fingerprint(dynamics.fingerprints["tokenizer"], fingerprint(dynamics.model))
    reward = [stage_file(run, "reward")] if load_reward(run, world) else []
    return [*parts.values(), path, *reward]


def converted(stage: Stage, state: dict[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    """A state in which the parameters, and not the buffers, are of another type; None leaves all as they are."""
    if dtype is None:
        return state
    parameters = dict(stage.named_parameters())
    return {name: value.to(DTYPES[dtype]) if name in parameters else value for name, value in state.items()}


def describe(output: Path, stages: dict[Path, Stage], config: dict[str, Any]) -> None:
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
