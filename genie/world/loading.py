"""The parts of a trained world, from the checkpoints of a run folder alone."""

from pathlib import Path
from typing import Any

from torch import nn

from genie.checkpoints import fingerprint, load_stage, stage_file
from genie.errors import UserError
from genie.parallel.sharded_files import is_checkpoint
from genie.stages import Stage
from genie.world.sampler import Sampler


def load_parts(run: Path, dynamics: str | None = None) -> dict[str, Any]:
    """The arguments of a `WorldModel` (its `load` says which checkpoints are taken, and what is raised)."""
    stage = load_stage(dynamics_file(run, dynamics))
    tokenizer = trained_with(stage, run, "tokenizer")[1].model
    lam = getattr(stage, "lam", None)
    if lam is None and stage.options["actions"] == "latent":
        try:
            lam = trained_with(stage, run, "lam")[1].model
        except UserError:  # it names actions of given videos; the world plays without
            lam = None
    if lam is not None:
        lam.use_tokenizer(tokenizer)
    return parts_of(stage, tokenizer, lam)


def parts_of(stage: Stage, tokenizer: nn.Module, lam: nn.Module | None) -> dict[str, Any]:
    """The arguments of a `WorldModel` around the dynamics of a stage, trained or in training."""
    config = stage.config
    return {
        "tokenizer": tokenizer,
        "dynamics": stage.model,
        "lam": lam,
        "window": config["data"]["num_frames"],
        "fps": float(stage.fps),
        "sampler": Sampler(**config.get("sampler", {})),
        "config": config,
    }


def dynamics_file(run: Path, dynamics: str | None = None) -> Path:
    """The file of the dynamics of `run`, of the stage `dynamics` or cotrain; UserError where there is none."""
    paths = [stage_file(run, stage) for stage in ([dynamics] if dynamics else ["dynamics", "cotrain"])]
    path = next((path for path in paths if is_checkpoint(path)), None)
    if path is None:
        raise UserError(
            f"{run} holds no trained world (no {paths[0]}): run `python -m genie.train stage=dynamics` first"
        )
    return path


def trained_with(stage: Stage, run: Path, part: str) -> tuple[Path, Stage]:
    """The stage `part` (tokenizer or lam) that a loaded dynamics `stage` was trained on, by fingerprint, and its file.

    Raises UserError where there is none.
    """
    best = run / part / "checkpoints" / "best.ckpt"
    paths = [stage_file(run, part), best, Path(stage.config[f"{part}_ckpt"])]
    found = [path for path in dict.fromkeys(paths) if is_checkpoint(path)]
    errors = []
    for path in found:
        try:
            trained = load_stage(path)
        except UserError as error:
            errors.append(error)
            continue
        if fingerprint(trained.model) == stage.fingerprints.get(part):
            return path, trained
    if errors:
        raise errors[0]
    if not found:
        raise UserError(f"there is no checkpoint {paths[0]}")
    raise UserError(
        f"the {part} was trained again after the dynamics of {run}: no state of it in {', '.join(map(str, found))} is "
        f"the one that its {'tokens' if part == 'tokenizer' else 'actions'} come from; train the dynamics again "
        "(overwrite=true)"
    )
