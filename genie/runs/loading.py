"""Trained models from their checkpoints alone, without unpickling code and without Lightning."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from genie.common.errors import UserError
from genie.common.shipped import located
from genie.models.building import build_models, register_data_facts
from genie.runs.checkpoint_store import newest_whole, verify
from genie.runs.safetensors_file import SUFFIX, digest, read_exported
from genie.runs.sharded_checkpoint import is_checkpoint, read_sharded

DATA = "data"  # folder beside exported files
WORLD = "world"  # key in the fingerprints of models that are trained on a finished world
OF_TRAINING = "objective."  # prefix of weights that only further training needs, such as the slow critic of a policy


class TrainedModel(nn.Module):
    """The trained models of a stage, from a checkpoint.

    Attributes:
        model: the model of the stage; of co-training the dynamics.
        lam: the latent action model of co-training; other stages have no such attribute.
        background, fps: see `register_data_facts`.
        config: the resolved configuration of the training; `options` is its group `stage`.
        fingerprints: by part, the `fingerprint` of the earlier models that it was trained on.
        trained_steps: optimizer steps.
    """

    model: nn.Module
    background: torch.Tensor | None
    fps: torch.Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.options = config, config["stage"]
        self.fingerprints: dict[str, str] = {}
        self.trained_steps = 0
        for name, model in build_models(config).items():
            self.add_module(name, model)
        register_data_facts(self, config)

    @staticmethod
    def of(state: Any) -> Any:
        """The part of a stage's state dictionary that belongs to its models."""
        if not isinstance(state, dict):
            return state
        return {name: value for name, value in state.items() if not str(name).startswith(OF_TRAINING)}


def stage_file(run: Path, stage: str) -> Path:
    """The file of a trained stage in a folder: a run's last checkpoint, or an exported file (`genie.export`)."""
    last, exported = run / stage / "checkpoints" / "last.ckpt", run / f"{stage}{SUFFIX}"
    return exported if exported.is_file() and not last.exists() else last


def read_checkpoint(path: str | Path, peek: bool = False) -> dict[str, Any]:
    """The contents of a checkpoint (a file or a sharded folder) or of an exported file (only weights, configuration and
    steps) on the CPU. Data beside an exported file are those of its configuration.

    `peek`: tensors stay in the file until they are used, sharded ones have only shapes, and nothing is verified.
    Raises UserError where it is missing, damaged or holds more than plain data.
    """
    path = Path(path)
    if not is_checkpoint(path):
        raise UserError(f"there is no checkpoint {path}")
    if path.suffix == SUFFIX:
        checkpoint = read_exported(path)
        data = checkpoint["hyper_parameters"]["config"].get("data")
        if isinstance(data, dict) and (path.parent / DATA).is_dir():
            data["root"] = str(path.parent / DATA)
        return checkpoint
    if not peek:
        verify(path)
    try:
        if path.is_dir():
            checkpoint = read_sharded(path, weights=not peek)
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=peek)
    except Exception as error:  # flipped bytes raise anything: struct.error, IndexError, TypeError, …
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} is not a checkpoint of this project or is damaged ({reason[:120]})") from error
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(settings, dict) or not isinstance(settings.get("config"), dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} is a PyTorch file but not a checkpoint of this project: it carries no configuration")
    return checkpoint


def load_model(path: str | Path) -> TrainedModel:
    """The models of a checkpoint in evaluation mode on the CPU, with the averaged weights of a run with `ema=true`.

    Raises UserError where it is missing, damaged, or does not fit this version of its model.
    """
    path = located(path)
    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        other = newest_whole(path.parent)
        raise UserError(f"{error}; {other} is whole" if other else str(error)) from error
    return build_from(checkpoint, path)


def build_from(checkpoint: dict[str, Any], path: str | Path) -> TrainedModel:
    """`load_model` of what was read from `path`."""
    config = checkpoint["hyper_parameters"]["config"]
    try:
        if unknown := [group for group in ("stage", "model", "data") if not isinstance(config.get(group), dict)]:
            raise ValueError(f"no configuration of {', '.join(unknown)}")
        state = TrainedModel.of(checkpoint["state_dict"])
        with WithoutInitialization():  # a made-up size takes no memory, which is not written to
            trained = TrainedModel(config)
        if found := differing(trained.state_dict(), state):
            raise ValueError(f"size mismatch: {', '.join(found)}")
        trained.load_state_dict(state)
        trained.fingerprints = dict(checkpoint.get("fingerprints", {}))
        trained.trained_steps = int(checkpoint.get("global_step", 0))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit this version of its model ({reason})") from error
    return trained.eval()


class WithoutInitialization(TorchFunctionMode):
    """Layers are built with whatever their memory holds, for weights that are loaded."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def differing(ours: dict[str, Any], theirs: Any) -> list[str]:
    """Names of tensors that only one of two state dictionaries has, or that differ in shape or in kind of number (of
    complex numbers `load_state_dict` would take the real part)."""
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
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return "real numbers" if value.is_floating_point() else "complex numbers" if value.is_complex() else "whole numbers"


def fingerprint(module: nn.Module) -> str:
    """Hash of a module's weights, which identifies the tokenizer that a dynamics model was trained on."""
    return digest(module.state_dict())


def world_fingerprint(tokenizer: str, dynamics: str) -> str:
    """Fingerprint of a Genie world from those of its parts, stored with models that are trained on it."""
    return hashlib.blake2b(f"{tokenizer} {dynamics}".encode(), digest_size=16).hexdigest()


def load_trained_policy(path: str | Path, world: str, key: str = "policy") -> TrainedModel:
    """The policy of a run folder (`outputs/<name>`), of its own folder, of a checkpoint or an exported file, which was
    trained in the world of the fingerprint `world`. Raises UserError, with the option `key` that gave the path, where
    there is none, and for a policy of another world."""
    path = located(path)
    if path.is_dir():
        last = path / "checkpoints" / "last.ckpt"
        path = last if last.exists() else stage_file(path, "policy")
    trained = load_model(path)
    if trained.options["name"] != "policy":
        raise UserError(f"{key}={path} is a trained {trained.options['name']}, not a policy")
    if trained.fingerprints.get(WORLD) != world:
        raise UserError(
            f"{key}={path} was trained in another world than this one, or this one was trained further since: train "
            "stage=policy on it"
        )
    return trained
