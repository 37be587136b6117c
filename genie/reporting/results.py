"""What a run left on disk, read for the report. What is not there is left out and said so; nothing is loaded or run."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml

from genie.common.errors import UserError
from genie.evaluation.evaluate import Evaluated
from genie.runs.folder import flatten
from genie.runs.metrics_file import read_record
from genie.stages import STAGES, new_stage

# keys that differ because the runs are two, those that say how a command was given, and the recipes of all stages: what
# a stage takes of them stands where it is used
NOT_DIFFERENCES = ("name", "run_dir", "output_dir", "tokenizer_ckpt", "lam_ckpt", "resume", "overwrite", "recipe")


@dataclass
class Sizes:
    """Parameters by part, tokens of a frame, operations of a forward pass on one clip of `num_frames` frames."""

    parameters: dict[str, int]
    tokens_per_frame: int
    flops: int
    num_frames: int


@dataclass
class StageResults:
    """One trained stage: `metrics` is its metrics.csv, `record` its run.json, `sizes` or why they are not known."""

    name: str
    config: dict[str, Any]
    metrics: Path
    record: dict[str, Any]
    sizes: Sizes | None
    why_no_sizes: str = ""


def stages(run: Evaluated) -> list[StageResults]:
    """The stages of a run that have a configuration, in the order of training."""
    found = []
    for name in STAGES:
        folder = run.run / name
        if (folder / "config.yaml").is_file():
            config = yaml.safe_load((folder / "config.yaml").read_text())
            sizes, why = _sizes(config)
            record = read_record(folder / "run.json")
            found.append(StageResults(name, config, folder / "metrics.csv", record, sizes, why))
    return found


def _sizes(config: dict[str, Any]) -> tuple[Sizes | None, str]:
    """The sizes, or None and why they are not known."""
    return _counted(json.dumps({key: value for key, value in config.items() if key not in NOT_DIFFERENCES}))


@lru_cache(maxsize=64)  # runs that are compared mostly have models in common
def _counted(settings: str) -> tuple[Sizes | None, str]:
    config = json.loads(settings)
    try:
        with torch.device("meta"):  # shapes without memory
            stage = new_stage(config)
        parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in stage.parts().items()}
        return Sizes(parameters, stage.tokens_per_frame, stage.example_flops(), config["data"]["num_frames"]), ""
    except (UserError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        return None, f"its configuration does not fit this version of the model ({reason})"


def differences(runs: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Keys of nested settings in which the runs differ, with the value of each (None where it has no such key)."""
    flat = [flatten(run) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key) for one in flat] for key in keys if key.split(".")[0] not in NOT_DIFFERENCES}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def stage_differences(runs: list[list[StageResults]]) -> dict[tuple[str, ...], dict[str, list[Any]]]:
    """Differences of the stages' configurations: by the stages in which they are the same, then by key."""
    found: dict[tuple[str, str], list[str]] = {}
    rows: dict[tuple[str, str], list[Any]] = {}
    for name in STAGES:
        configs = [next((stage.config for stage in run if stage.name == name), {}) for run in runs]
        if not all(configs):
            continue
        for key, values in differences(configs).items():
            found.setdefault((key, repr(values)), []).append(name)
            rows[key, repr(values)] = values
    grouped: dict[tuple[str, ...], dict[str, list[Any]]] = {}
    for (key, shown), names in found.items():
        grouped.setdefault(tuple(names), {})[key] = rows[key, shown]
    return grouped
