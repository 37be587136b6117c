"""Which trainings the variants of an ablation take, and which of them are one and the same.

A training is known by what decides its weights: the folder's name is a hash of it. So a stage that is the same in two
variants, or in two ablations, is trained once, and one that was changed in any way is not mistaken for the former.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genie.common.cli import to_plain
from genie.common.overrides import composed, override
from genie.runs.folder import MODEL_KEYS, RunFolder
from genie.stages import stage_type

WORLD = "dynamics"  # the stage that a variant ends with
# what decides the weights beside the model: not the names of folders, loggers and progress bars
SETTINGS = ("stage", "data", "trainer", "optimizer", "schedule", "seed")


@dataclass(frozen=True)
class Job:
    """One training: `overrides` of genie.train (without resume or overwrite), and the configuration they give."""

    stage: str
    overrides: tuple[str, ...]
    config: dict[str, Any]

    @property
    def folder(self) -> RunFolder:
        """Where it runs."""
        return RunFolder(self.config)


@dataclass(frozen=True)
class World:
    """One variant with one seed: its trainings in order, by stage."""

    variant: str
    seed: int
    jobs: dict[str, Job]

    @property
    def path(self) -> Path:
        """The run folder that generate, play and evaluate take."""
        return self.jobs[WORLD].folder.path.parent


def plan_world(variant: str, seed: int, overrides: list[str], root: Path) -> World:
    """The trainings below `root` of the variant that `overrides` of genie.train describe."""
    jobs: dict[str, Job] = {}
    plan_stage(WORLD, [*overrides, f"seed={seed}"], root, jobs)
    return World(variant, seed, jobs)


def plan_stage(stage: str, overrides: list[str], root: Path, jobs: dict[str, Job]) -> None:
    """Puts the training of `stage` into `jobs`, behind those of the stages that it needs."""
    given, config = [f"stage={stage}"], to_plain(composed("train", [*overrides, f"stage={stage}"]))
    needed = stage_type(config).needs(config)
    for part in needed:
        if part not in jobs:
            plan_stage(part, overrides, root, jobs)
        config[f"{part}_ckpt"] = str(jobs[part].folder.last)
        given.append(override(f"{part}_ckpt", jobs[part].folder.last))
    name = identity(config, needed)
    config["run_dir"] = str(root / "worlds" / name / stage if stage == WORLD else root / stage / name)
    given.append(override("run_dir", config["run_dir"]))
    jobs[stage] = Job(stage, (*overrides, *given), config)


def identity(config: dict[str, Any], needed: tuple[str, ...]) -> str:
    """Eight letters for the trainings that lead to the same weights: settings, model and the checkpoints it needs."""
    group = "model."
    parts = {key.removeprefix(group) for key in MODEL_KEYS[config["stage"]["name"]] if key.startswith(group)}
    parts.update(part for part in needed if part == "tokenizer")
    decides = {name: config[name] for name in SETTINGS}
    decides["ema"] = config["callbacks"]["ema"] if config["ema"] else None
    decides["model"] = {name: config["model"][name] for name in parts}
    decides["checkpoints"] = [config[f"{part}_ckpt"] for part in needed]
    return hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=4).hexdigest()
