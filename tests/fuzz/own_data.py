"""Data as users bring them from elsewhere, spoilt: LeRobot's folders, tar shards, videos with files of actions.

One file at a time is damaged: bytes, or what a text says. Videos are left alone: a decoder may crash on a damaged one,
and its own tests try that in processes of their own. Whatever is left of the data, a clip shows the rows that it says.
"""

import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_modules.clip_data_module import ClipDataModule
from data_modules.clips import Clip
from genie.common.media import write_mp4
from tests.fuzz import goods
from tests.fuzz.harness import SilentChange, damaged, mutated

WRITTEN = Path(__file__).parents[1] / "data_modules" / "formats" / "lerobot"
FRAMES, VIDEOS = 12, 4


class OwnData:
    """Good data of each kind, and a copy of one with a file that is spoilt."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.work = folder, folder / "work"
        for version in ("v3.0", "v3.0_images", "v2.1"):
            with tarfile.open(WRITTEN / f"{version}.tar.xz") as archive:
                archive.extractall(folder, filter="data")
        (folder / "videos").mkdir(exist_ok=True)
        lines = [f"{frame},{frame % 3}" for frame in range(FRAMES)]
        actions = "\n".join(["frame,action", *lines])
        held = "\n".join(json.dumps({"seconds": s, "action": [s, 1]}) for s in (0, 0.4, 0.9))
        files = {}
        for number in range(VIDEOS):
            grey = (20 * number + np.arange(FRAMES)).astype(np.uint8)
            path = folder / "videos" / f"{number}.mp4"
            write_mp4(path, np.broadcast_to(grey[:, None, None, None], (FRAMES, 16, 16, 3)), 10)
            path.with_suffix(".actions.csv").write_text(actions)
            files |= {
                f"{number}.mp4": path.read_bytes(),
                f"{number}.json": json.dumps({"actions": [1] * FRAMES}).encode(),
            }
            files |= {f"{number}.actions.jsonl": held.encode()} if number else {}
        self.files = {name: content for name, content in files.items() if "jsonl" not in name}
        self.held = held
        self._touched = False  # whether the rows themselves may have changed

    def close(self) -> None:
        pass

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        kind = chance.choice(("v3.0", "v3.0_images", "v2.1", "videos", "webdataset"))
        source = {"videos": "videos", "webdataset": "webdataset"}.get(kind, "lerobot")
        root = getattr(self, f"_spoilt_{source}")(kind, chance, note)
        given = [f"data={source}", "data.root=x", "data.image_size=[8,8]", "data.num_frames=3", "data.num_workers=0"]
        if source == "lerobot":
            given.append(f"data.lerobot.camera={chance.choice(('front', 'wrist'))}")
        settings = goods.configuration("inspect", *given)["data"]
        settings |= {"root": str(root), "on_error": chance.choice(("skip", "skip", "raise")), "val_clips": None}
        if chance.random() < 0.2:
            settings["actions"] |= {"clusters": 2}
            note("two clusters")
        module = ClipDataModule(**settings)
        module.setup()
        for dataset in module.datasets.values():
            for index in range(0, len(dataset), 7):
                clip = dataset[index]
                if source == "lerobot" and "states" in clip and not self._touched:
                    self._compare(clip, settings["lerobot"]["camera"])

    def _compare(self, clip: Clip, camera: str) -> None:
        """Raises SilentChange where the number that each frame shows is not that of its state."""
        states = clip["states"].long()
        if states.shape[1] != 3 or (states[:, 1] != -states[:, 2]).any():  # another feature was chosen
            return
        light = clip["frames"][:, 0, 4].numpy() > 127  # [T, 8], the bits of a number
        shown = ((light if camera == "front" else ~light) << np.arange(8)).sum(1).tolist()
        if shown != states[:, 0].tolist():
            raise SilentChange(f"the frames {shown} have the states {states[:, 0].tolist()}")

    def _spoilt_lerobot(self, kind: str, chance: random.Random, note: Callable[[str], None]) -> Path:
        shutil.copytree(self.folder / kind, self.work)
        files = sorted(p for p in self.work.rglob("*") if p.suffix in (".json", ".jsonl", ".parquet") and p.is_file())
        path = chance.choice(files)
        self._touched = path.suffix == ".parquet"  # its pages have no check sums
        self._spoil(path, chance, note)
        return self.work

    def _spoilt_videos(self, kind: str, chance: random.Random, note: Callable[[str], None]) -> Path:
        shutil.copytree(self.folder / kind, self.work)
        path = self.work / f"{chance.randrange(VIDEOS)}.actions.csv"
        if chance.random() < 0.4:
            path.unlink()
            path = path.with_suffix(".jsonl")
            path.write_text(self.held)
        self._spoil(path, chance, note)
        return self.work

    def _spoilt_webdataset(self, kind: str, chance: random.Random, note: Callable[[str], None]) -> Path:
        self.work.mkdir()
        files = dict(self.files)
        spoilt = f"{chance.randrange(VIDEOS)}.json"
        if chance.random() < 0.5:
            path = self.work / spoilt
            path.write_bytes(files[spoilt])
            self._spoil(path, chance, note)
            files[spoilt] = path.read_bytes() if path.exists() else b""
        with tarfile.open(self.work / "a.tar", "w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        if files == self.files:
            self._spoil_headers(self.work / "a.tar", chance, note)
        return self.work

    def _spoil_headers(self, path: Path, chance: random.Random, note: Callable[[str], None]) -> None:
        """Cuts a tar off, or damages what is not in its videos."""
        content = bytearray(path.read_bytes())
        if chance.random() < 0.4:
            place = chance.randrange(len(content))
            note(f"the tar is cut off at {place} of {len(content)}")
            path.write_bytes(content[:place])
            return
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.endswith(".mp4")]
        inside = [range(m.offset_data, m.offset_data + m.size) for m in members]
        for _ in range(chance.choice((1, 2, 5))):
            place = chance.randrange(len(content))
            if not any(place in part for part in inside):
                content[place] = chance.randrange(256)
                note(f"byte {place} of the tar is {content[place]}")
        path.write_bytes(content)

    def _spoil(self, path: Path, chance: random.Random, note: Callable[[str], None]) -> None:
        note(str(path.relative_to(self.work)))
        what = chance.random()
        if what < 0.1:
            note("it is gone")
            path.unlink()
        elif what < 0.5 and path.suffix == ".json":
            path.write_text(json.dumps(mutated(chance, json.loads(path.read_text()), note)))
        elif what < 0.5 and path.suffix in (".jsonl", ".csv"):
            lines = path.read_text().split("\n")
            number = chance.randrange(len(lines))
            words = ("", "x", "-1", "1e999", "nan", "0", "99", "[]", "null", '"', "\0", "0,0,0", "é")
            lines[number] = chance.choice((chance.choice(words), lines[number].replace("1", chance.choice(words))))
            note(f"line {number + 1} is {lines[number]!r}")
            path.write_text("\n".join(lines))
        else:
            path.write_bytes(damaged(chance, path.read_bytes(), note))
