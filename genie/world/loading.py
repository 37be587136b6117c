"""Parts of a trained world, from the checkpoints of a run folder."""

from pathlib import Path
from typing import Any, cast

from genie.common.errors import UserError
from genie.common.run_folders import explained, stages_in
from genie.models import LatentActionModel, VideoTokenizer
from genie.runs.loading import TrainedModel, fingerprint, load_model, stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.sampler import Sampler


def load_parts(run: Path, dynamics: str | None = None) -> dict[str, Any]:
    """The arguments of a `WorldModel`; see its `load` for the choice of checkpoints and errors."""
    trained = load_model(dynamics_file(run, dynamics))
    tokenizer = cast(VideoTokenizer, trained_with(trained, run, "tokenizer")[1].model)
    lam = getattr(trained, "lam", None)
    if lam is None and trained.options["actions"] == "latent":
        try:
            lam = cast(LatentActionModel, trained_with(trained, run, "lam")[1].model)
        except UserError:  # only needed to infer actions of given videos
            lam = None
    if lam is not None:
        lam.use_tokenizer(tokenizer)
    return parts_of(trained, tokenizer, lam)


def parts_of(trained: TrainedModel, tokenizer: VideoTokenizer, lam: LatentActionModel | None) -> dict[str, Any]:
    """The arguments of a `WorldModel` for a dynamics, trained or in training (then `trained` is its stage)."""
    config = trained.config
    return {
        "tokenizer": tokenizer,
        "dynamics": trained.model,
        "lam": lam,
        "window": config["data"]["num_frames"],
        "fps": float(trained.fps),
        "sampler": Sampler(**config.get("sampler", {})),
        "config": config,
    }


def dynamics_file(run: Path, dynamics: str | None = None) -> Path:
    """The file of the dynamics of `run`, of the stage `dynamics` or cotrain; UserError where there is none."""
    paths = [stage_file(run, stage) for stage in ([dynamics] if dynamics else ["dynamics", "cotrain"])]
    path = next((path for path in paths if is_checkpoint(path)), None)
    if path is None and dynamics is not None and stages_in(run):
        raise UserError(f"{run} holds no trained {dynamics} (no {paths[0]})")
    if path is None:
        raise UserError(f"{run} holds no trained world: {explained(run)}")
    return path


def trained_with(dynamics: TrainedModel, run: Path, part: str) -> tuple[Path, TrainedModel]:
    """File and model of the `part` (tokenizer or lam) with which a `dynamics` was trained, found by fingerprint;
    UserError where there is none."""
    best = run / part / "checkpoints" / "best.ckpt"
    paths = [stage_file(run, part), best, Path(dynamics.config[f"{part}_ckpt"])]
    found = [path for path in dict.fromkeys(paths) if is_checkpoint(path)]
    errors = []
    for path in found:
        try:
            trained = load_model(path)
        except UserError as error:
            errors.append(error)
            continue
        if fingerprint(trained.model) == dynamics.fingerprints.get(part):
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
