"""`Encoded` recordings on disk, in the user's cache folder, for resumed runs, other runs and all processes of one.

A file is named by a hash of everything that its codes follow from: the weights of tokenizer and latent action model,
the precision, the files of the data with their sizes and times, and the frames of some rows. It is mapped into memory,
not read. What is damaged, of another shape or of other data is made anew; nothing else is ever used in its place.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data_modules.clips import ClipDataset
from data_modules.worker_loader import DamagedData
from genie.common.files import cache_folder
from genie.common.tensor_cache import cached_tensors, keep_tensors
from genie.runs.safetensors_file import digest
from genie.stages.encoded import Encoded

FORMAT = 1
SAMPLED = 16  # rows whose frames are part of the key
KEPT = 8  # files, the newest ones


def cache_file(
    dataset: ClipDataset, root: Path | str, models: list[nn.Module | None], precision: str, device: torch.device
) -> Path | None:
    """Where the codes of a data set by frozen `models` are kept; None for data that are not files below `root`, or
    where frames cannot be read."""
    root = Path(root)
    found = [root] if root.is_file() else sorted(root.rglob("*"))
    # hidden files are indices, whose locks are written at each start
    files = [path for path in found if path.is_file() and not path.name.startswith(".")]
    if not files or "://" in str(root):
        return None
    stats = [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    first, last = dataset.episodes[0, 0], dataset.episodes[-1, 1] - 1
    try:
        rows = np.linspace(first, last, SAMPLED).astype(int).tolist()
        frames = [hashlib.sha256(dataset.reader.frames(row, row + 1).tobytes()).hexdigest() for row in rows]
    except DamagedData:
        return None
    weights = [None if model is None else digest(model.state_dict()) for model in models]
    episodes = hashlib.sha256(dataset.episodes.tobytes()).hexdigest()
    parts = [FORMAT, str(root.resolve()), stats, frames, episodes, dataset.stride, weights, precision, device.type]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return cache_folder() / "encoded" / f"{key[:32]}.safetensors"


def read(path: Path, dataset: ClipDataset, device: torch.device) -> Encoded | None:
    """What `write` wrote for this data set; None where it is missing or damaged."""
    found = cached_tensors(path)
    tokens, actions = found.get("tokens"), found.get("actions")
    if tokens is None or len(tokens) != int(dataset.episodes[:, 1].max()):
        return None
    with suppress(OSError):
        path.touch()  # the newest stay
    return Encoded(tokens.to(device), None if actions is None else actions.to(device), dataset.stride)


def write(path: Path, encoded: Encoded) -> None:
    """Keeps tokens and actions, and of all such files the newest `KEPT`. A full or read-only disk only costs time."""
    tensors = {"tokens": encoded.tokens} | ({} if encoded.actions is None else {"actions": encoded.actions})
    keep_tensors(path, tensors, "encoded frames are not kept on disk")
    with suppress(OSError):
        files = sorted(path.parent.glob("*.safetensors"), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in files[KEPT:]:
            old.unlink(missing_ok=True)
