"""Tensors that can be computed again, in safetensors files of the cache folder. A damaged or read-only cache only costs
time."""

from contextlib import suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from genie.common.errors import UserError
from genie.common.files import replacing


def cached_tensors(path: Path) -> dict[str, Tensor]:
    """What `keep_tensors` wrote, on the CPU; {} where it is missing or damaged."""
    with suppress(OSError, SafetensorError):
        return safetensors.torch.load_file(path)
    return {}


def keep_tensors(path: Path, tensors: dict[str, Tensor], failure: str) -> None:
    """Writes the file atomically; prints the line `failure` with the reason where that is impossible."""
    try:
        with replacing(path) as file:
            file.write(safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()}))
    except (OSError, UserError) as error:
        print(f"{failure}: {error}", flush=True)
