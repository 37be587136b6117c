"""Trained stages back from their checkpoints, without any configuration but their own and without unpickling code."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genie.checkpoint_store import newest_whole, verify
from genie.errors import UserError
from genie.exporting.files import SUFFIX, digest, read_exported
from genie.parallel.sharded_files import is_checkpoint, read_sharded
from genie.stages import STAGES, Stage


def stage_file(run: Path, stage: str) -> Path:
    """Where a folder holds a trained stage: a run's last checkpoint, or an exported file (`genie.export`)."""
    last, exported = run / stage / "checkpoints" / "last.ckpt", run / f"{stage}{SUFFIX}"
    return exported if exported.is_file() and not last.exists() else last


def read_checkpoint(path: str | Path, peek: bool = False) -> dict[str, Any]:
    """The contents of a checkpoint, a file or the folder of a sharded one, or of an exported file (weights,
    configuration and steps alone), on the CPU.

    `peek`: tensors stay in the file until they are used, those in shards have shapes alone, and nothing is verified.
    Raises UserError where it is missing, damaged or holds more than plain data.
    """
    path = Path(path)
    if not is_checkpoint(path):
        raise UserError(f"there is no checkpoint {path}")
    if path.suffix == SUFFIX:
        return read_exported(path)
    if not peek:
        verify(path)
    try:
        if path.is_dir():
            checkpoint = read_sharded(path, weights=not peek)
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=peek)
    except Exception as error:  # a few flipped bytes make it raise anything: struct.error, IndexError, TypeError, …
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} is not a checkpoint of this project or is damaged ({reason[:120]})") from error
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(settings, dict) or not isinstance(settings.get("config"), dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} is a PyTorch file but not a checkpoint of this project: it carries no configuration")
    return checkpoint


def load_stage(path: str | Path) -> Stage:
    """The stage of a checkpoint, in evaluation mode on the CPU; of a run with `ema=true`, with the averaged weights."""
    path = Path(path)
    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        other = newest_whole(path.parent)
        raise UserError(f"{error}; {other} is whole" if other else str(error)) from error
    return build_from(checkpoint, path)


def build_from(checkpoint: dict[str, Any], path: str | Path) -> Stage:
    """`load_stage` of what was read from `path`."""
    config = checkpoint["hyper_parameters"]["config"]
    try:
        kind = STAGES[config["stage"]["name"]]
        with torch.device("meta"):  # a size that somebody made up takes no memory
            found = differing(kind(config).state_dict(), checkpoint["state_dict"])
        if found:
            raise ValueError(f"size mismatch: {', '.join(found)}")
        stage = kind(config)
        stage.load_state_dict(checkpoint["state_dict"])
        stage.fingerprints = dict(checkpoint.get("fingerprints", {}))
        stage.trained_steps = int(checkpoint.get("global_step", 0))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit this version of its model ({reason})") from error
    return stage.eval()


def differing(ours: dict[str, Any], theirs: Any) -> list[str]:
    """Names of tensors that are in one of two state dictionaries alone, or have another shape there, or numbers of
    another kind: of complex ones `load_state_dict` would take the real part."""
    if not isinstance(theirs, dict):
        return [f"the weights are a {type(theirs).__name__}"]
    found = []
    for name in sorted({*ours, *map(str, theirs)}):
        here, there = (list(getattr(weights.get(name), "shape", ())) for weights in (ours, theirs))
        if name not in ours or name not in theirs:
            found.append(f"{name} (only {'in the checkpoint' if name in theirs else 'in the model'})")
        elif here != there:
            found.append(f"{name} ({there} in the checkpoint, {here} in the model)")
        elif (kind := _kind(theirs[name])) != _kind(ours[name]):
            found.append(f"{name} ({kind} in the checkpoint, {_kind(ours[name])} in the model)")
    return found


def _kind(value: Any) -> str:
    """Of the numbers of a tensor, in any precision."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return "real numbers" if value.is_floating_point() else "complex numbers" if value.is_complex() else "whole numbers"


def fingerprint(module: nn.Module) -> str:
    """Hash of a module's weights: says whether a tokenizer is the one that a dynamics model was trained on."""
    return digest(module.state_dict())


def world_fingerprint(tokenizer: str, dynamics: str) -> str:
    """Of a Genie world, from the fingerprints of its parts: what is trained on it keeps this one."""
    return hashlib.blake2b(f"{tokenizer} {dynamics}".encode(), digest_size=16).hexdigest()
