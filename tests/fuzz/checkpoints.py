"""Trained stages on disk, in files, shards and exported: bytes flipped, cut off, other contents.

Weights have checksums: where something is loaded at all, it has to be bit for bit what was saved. Of a run with several
checkpoints, the damaged one is passed over and said so.
"""

import io
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genie.runs.checkpoint_store import keep_as_last, newest_whole, step_path, write_manifest
from genie.runs.folder import RunFolder
from genie.runs.loading import load_model, read_checkpoint
from genie.runs.safetensors_file import read_exported, write_exported
from tests.fuzz import goods
from tests.fuzz.harness import SilentChange, damaged, mutated, odd_value

OTHERS = (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\x80\x04.", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", b"{}")
LOOPS = {"callbacks": {}, "loops": {}, "optimizer_states": [], "lr_schedulers": []}


class Checkpoints:
    """A trained tokenizer in every form that it is stored in."""

    def __init__(self, folder: Path) -> None:
        run = goods.write_run(folder / "outputs" / "world", goods.write_data(folder / "data"), ("tokenizer",))
        self.folder = folder / "work"
        self.good = torch.load(run / "tokenizer" / "checkpoints" / "last.ckpt", weights_only=True) | LOOPS
        self.config = self.good["hyper_parameters"]["config"]
        file = io.BytesIO()
        torch.save(self.good, file)
        self.raw = file.getvalue()
        write_exported(folder / "tokenizer.safetensors", self.good)
        self.exported = (folder / "tokenizer.safetensors").read_bytes()
        self.shards = folder / "shards.ckpt"
        write_shards(self.shards, self.good)

    def close(self) -> None:
        pass

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        way = chance.choice(
            (self._file, self._file, self._safetensors, self._shards, self._contents, self._run, self._run)
        )
        note(way.__name__[1:])
        way(chance, note)

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _file(self, chance: random.Random, note: Callable[[str], None]) -> None:
        path = self.folder / "last.ckpt"
        path.write_bytes(chance.choice(OTHERS) if chance.random() < 0.1 else damaged(chance, self.raw, note))
        self._compare(load_model(path).state_dict())

    def _safetensors(self, chance: random.Random, note: Callable[[str], None]) -> None:
        path = self.folder / "tokenizer.safetensors"
        raw = self.exported
        if chance.random() < 0.5:
            raw = damaged(chance, raw, note)
        else:  # the header alone: JSON
            (length,) = struct.unpack("<Q", raw[:8])
            header = mutated(chance, json.loads(raw[8 : 8 + length]), note)
            text = json.dumps(header).encode()
            raw = struct.pack("<Q", len(text)) + text + raw[8 + length :]
        path.write_bytes(raw)
        read = read_exported(path)
        self._compare(read["state_dict"])
        load_model(path)

    def _shards(self, chance: random.Random, note: Callable[[str], None]) -> None:
        path = self.folder / "last.ckpt"
        shutil.copytree(self.shards, path)
        victim = chance.choice(sorted(path.iterdir()))
        note(victim.name)
        if chance.random() < 0.2:
            victim.unlink()
        else:
            victim.write_bytes(damaged(chance, victim.read_bytes(), note))
        if chance.random() < 0.2:  # the manifest is written over what is damaged: a copy, or another program
            note("a new manifest")
            write_manifest(path)
            read_checkpoint(path)
            return
        self._compare(load_model(path).state_dict())

    # -- contents ------------------------------------------------------------------------------------------------

    def _contents(self, chance: random.Random, note: Callable[[str], None]) -> None:
        """Another structure, saved as `torch.save` does it; of the configuration, of what is around it, or weights."""
        contents = self._changed(chance, note)
        path = self.folder / "last.ckpt"
        if not saved(contents, path):
            return
        stage = load_model(path)
        if isinstance(contents, dict) and any(
            not torch.equal(value, stage.state_dict()[name]) for name, value in contents["state_dict"].items()
        ):
            raise SilentChange("weights that are not those of the file")

    def _changed(self, chance: random.Random, note: Callable[[str], None]) -> Any:
        contents = {**self.good, "state_dict": dict(self.good["state_dict"])}
        match chance.randrange(4):
            case 0 | 1:
                contents["hyper_parameters"] = {"config": mutated(chance, self.config, note)}
            case 2:
                name = chance.choice(sorted(contents["state_dict"]))
                value = contents["state_dict"][name]
                contents["state_dict"][name] = chance.choice(
                    (value.double(), value.reshape(-1)[:1], value.flatten(), None, 3, value.to("meta"), value.half(),
                     value * 1j, value[None], value.int(), "x")
                )  # fmt: skip
                note(f"{name} is {str(contents['state_dict'][name])[:60]}")
            case _:
                top = {name: value for name, value in contents.items() if name != "state_dict"}
                top["hyper_parameters"] = {"config": self.config}
                key = chance.choice((*top, "state_dict", "hyper_parameters"))
                contents[key] = odd_value(chance)
                note(f"{key} is {str(contents[key])[:100]!r}")
        return contents

    # -- a run ---------------------------------------------------------------------------------------------------

    def _run(self, chance: random.Random, note: Callable[[str], None]) -> None:
        """Three checkpoints, some of them damaged, as `resume=true` finds them."""
        folder = self.folder / "tokenizer"
        checkpoints = folder / "checkpoints"
        checkpoints.mkdir(parents=True)
        for step in (1, 2, 3):
            torch.save(self.good | {"global_step": step}, step_path(checkpoints, step))
        keep_as_last(step_path(checkpoints, 3), keep=3)
        spoilt = set()
        for step in (3, 2, 1)[: chance.choice((0, 1, 1, 2, 3))]:
            path = step_path(checkpoints, step)
            raw = path.read_bytes()
            note(f"step {step}")
            broken = damaged(chance, raw, note)
            if broken != raw:
                spoilt.add(step)
            with open(path, "r+b") as file:  # in place: last.ckpt is the same file
                file.write(broken)
                file.truncate()
        said: list[Path] = []
        found = newest_whole(checkpoints, lambda path, message: said.append(path))
        run = RunFolder({**self.config, "run_dir": str(folder), "resume": True, "overwrite": False})
        checkpoint = run.resumable()
        if checkpoint is None or found is None:
            raise SilentChange("a run with checkpoints is begun anew")
        whole = max(({1, 2, 3} - spoilt), default=None)
        step = checkpoint["global_step"]
        if step not in (1, 2, 3) or (whole is not None and step < whole):
            raise SilentChange(f"goes on from step {step}, and {whole} is whole")
        if step < 3 and not said:
            raise SilentChange("a damaged checkpoint was passed over without a word")
        self._compare(checkpoint["state_dict"])

    def _compare(self, weights: dict[str, torch.Tensor]) -> None:
        good = self.good["state_dict"]
        if weights.keys() != good.keys():
            raise SilentChange(f"other weights: {sorted(weights.keys() ^ good.keys())[:5]}")
        for name, value in weights.items():
            if value.dtype != good[name].dtype or not torch.equal(value, good[name]):
                raise SilentChange(f"{name} is not what was saved")


def saved(contents: Any, path: Path) -> bool:
    """Whether `torch.save` could write it."""
    try:
        torch.save(contents, path)
    except (ValueError, TypeError, UnicodeError, RuntimeError):
        return False
    return True


def write_shards(path: Path, contents: dict[str, Any]) -> None:
    """What two processes write of a checkpoint: the rows of its largest tensor, one half each."""
    from genie.runs.sharded_checkpoint import META, shard_name

    name = max(contents["state_dict"], key=lambda name: contents["state_dict"][name].numel())
    rows = contents["state_dict"][name]
    rest = {**contents, "state_dict": {**contents["state_dict"], name: None}}
    path.mkdir()
    for rank, part in enumerate(rows.chunk(2)):
        torch.save({("state_dict", name): part.clone()}, path / shard_name(rank, 2))
    torch.save({"num_shards": 2, "checkpoint": rest}, path / META)
    write_manifest(path)
