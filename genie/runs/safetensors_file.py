"""One trained stage as one safetensors file: its weights and all that is needed to rebuild it.

The header's metadata, texts by name: `format`, `config` (JSON, the resolved configuration), `global_step` (steps
trained), `fingerprints` (JSON, of the earlier stages that it was trained on), `digest` (of names and weights).
Source of the format: https://github.com/huggingface/safetensors.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genie.common.errors import UserError, reason
from genie.common.files import replacing, sync

SUFFIX = ".safetensors"
FORMAT = "genie-world 1"


def write_exported(path: Path, checkpoint: dict[str, Any]) -> None:
    """Writes a checkpoint's `state_dict`, configuration, steps and fingerprints atomically.

    Raises UserError where the file cannot be written.
    """
    tensors = {name: compact(value) for name, value in checkpoint["state_dict"].items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(checkpoint["hyper_parameters"]["config"]),
        "global_step": str(checkpoint["global_step"]),
        "fingerprints": json.dumps(checkpoint.get("fingerprints", {})),
        "digest": digest(tensors),
    }
    try:
        with replacing(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            save_file(tensors, file.name, metadata)
            os.chmod(file.name, mode)  # safetensors makes files that only their owner reads
            sync(Path(file.name))
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path} ({reason(error)[:120]})") from error


def read_exported(path: Path) -> dict[str, Any]:
    """The inverse of `write_exported`. Raises UserError for a file that is missing, damaged or of another format."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a safetensors file or is damaged ({reason(error)[:120]})") from error
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path} is a safetensors file but none that this version of `python -m genie.export` writes "
            f"({FORMAT}): it says {metadata.get('format')!r}"
        )
    try:
        config, fingerprints = json.loads(metadata["config"]), json.loads(metadata["fingerprints"])
        steps = int(metadata["global_step"])
        whole = digest(tensors) == metadata["digest"] and isinstance(config, dict) and isinstance(fingerprints, dict)
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its header cannot be read ({reason(error)[:120]})") from error
    if not whole:
        raise UserError(f"{path} is damaged: its weights are not those that were written")
    checkpoint = {"state_dict": tensors, "global_step": steps, "fingerprints": fingerprints}
    return checkpoint | {"hyper_parameters": {"config": config}}


def compact(value: Tensor) -> Tensor:
    """A tensor that owns exactly the memory it needs: safetensors refuses others."""
    value = value.detach().contiguous()
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of tensors and their names, in any order."""
    total = hashlib.blake2b(digest_size=16)
    for name, value in sorted(tensors.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
