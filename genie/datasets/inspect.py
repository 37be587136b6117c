"""Inspection of a data set (`genie.inspect`): statistics as a table and as JSON, pictures, videos.

The pictures (a sheet of frames, and clips as videos) show exactly the pixels that the model sees, enlarged.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data_modules.clip_data import ClipData
from data_modules.clips import ClipDataset
from data_modules.frame_reader import FrameReader, decided, episodes_at
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.media import VIDEO_HEIGHT, check_scale, enlarge, grid, scale_to, to_bytes, write_mp4, write_png
from genie.common.settings.commands import InspectConfig
from genie.common.tables import print_table

MOST_VALUES = 10  # different rewards that are counted one by one, and tasks that are listed
DARK = 0.02  # of full brightness: a frame whose mean is below is black to the eye
SAME = 4  # of 255: a pixel that changes by less is noise of a camera, or flicker of compressed video
CELL = 96  # least height of a picture in the sheet, in pixels


def episode_facts(reader: FrameReader, episodes: np.ndarray, fps: float) -> dict[str, Any]:
    """Number and length of the episodes int64 [E, 2] of a split."""
    lengths = episodes[:, 1] - episodes[:, 0]
    return {
        "recordings": len(np.unique(reader.recordings[episodes_at(reader, episodes[:, 0])])),
        "episodes": len(episodes),
        "frames": int(lengths.sum()),
        "minutes": float(lengths.sum() / fps / 60),
        "episode_frames": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
    }


def number_facts(
    reader: FrameReader, episodes: np.ndarray, column: str, names: list[str]
) -> dict[str, dict[str, float]]:
    """`min`, `mean`, `max`, `std` of each number of a column, states or actions that are numbers, by its name."""
    last = 0 if column == "states" else 1  # rows of an episode on which nothing was decided
    rows = np.concatenate([reader.column(column, first, end - last) for first, end in episodes.tolist()])
    metrics = {kind: getattr(rows, kind)(axis=0).tolist() for kind in ("min", "mean", "max", "std")}
    return {name: {kind: values[number] for kind, values in metrics.items()} for number, name in enumerate(names)}


def action_facts(reader: FrameReader, episodes: np.ndarray) -> dict[str, float]:
    """Share of each action in the decisions, by its name, or its number where it has no name."""
    counts: Counter[int] = Counter()
    for values in _decisions(reader, episodes, "actions"):
        counts.update(values.tolist())
    names = reader.action_meanings or [str(number) for number in range(reader.ids.count)]
    total = max(1, counts.total())
    return {name: counts[number] / total for number, name in enumerate(names)}


def reward_facts(reader: FrameReader, episodes: np.ndarray) -> dict[str, Any]:
    """`sum`, `min`, `max`, the share that is not 0, and the count of each value (None where there are many)."""
    counts: Counter[float] = Counter()
    total, low, high, not_zero, number = 0.0, np.inf, -np.inf, 0, 0
    for values in _decisions(reader, episodes, "rewards"):
        total, number = total + float(values.sum(dtype=np.float64)), number + len(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        not_zero += int(np.count_nonzero(values))
        if len(counts) <= MOST_VALUES:
            counts.update(values.tolist())
    if number == 0:
        return {}
    few = {f"{value:g}": count for value, count in sorted(counts.items())} if len(counts) <= MOST_VALUES else None
    return {"sum": total, "min": low, "max": high, "not_zero": not_zero / number, "counts": few}


def _decisions(reader: FrameReader, episodes: np.ndarray, column: str) -> Iterator[np.ndarray]:
    """The rows of a column in pieces, without those of last frames, on which nothing was decided."""
    for start, stop in decided(episodes):
        yield reader.column(column, start, stop)


def frame_facts(clips: ClipDataset, seen: dict[str, tuple[str, int]], split: str) -> dict[str, Any]:
    """Means over all sampled frames, in [0, 1], and numbers of duplicate clips.

    brightness; motion: mean absolute difference of neighbouring frames; dark: share of frames below `DARK`; still:
    share of frames that are like the one before, but for the noise of a camera (`SAME`); repeated: clips that equal
    another one of the split; in_other_split: clips that equal one of an earlier split. `seen`: the split and number of
    the first clip with each digest, of all earlier splits; those of this one are added.
    """
    brightness, motion, dark, still = [], [], [], []
    repeated = elsewhere = 0
    for index in _track(len(clips), f"looking at {split}"):
        frames = clips[index]["frames"]
        levels = frames.float().mean(dim=(1, 2, 3)) / 255
        brightness.append(levels.mean().item())
        dark.append((levels < DARK).float().mean().item())
        if len(frames) > 1:
            change = (frames[1:].float() - frames[:-1].float()).abs().mean(dim=(1, 2, 3)) / 255
            motion.append(change.mean().item())
            most = (frames[1:].short() - frames[:-1].short()).abs().amax(dim=(1, 2, 3))
            still.append((most < SAME).float().mean().item())
        digest = hashlib.sha256(frames.numpy().tobytes()).hexdigest()
        former = seen.setdefault(digest, (split, index))
        # clips in which nothing moves are often the same: `still` says so already
        if former != (split, index) and not (still and still[-1] == 1):
            repeated += former[0] == split
            elsewhere += former[0] != split
    facts = {"brightness": brightness, "motion": motion, "dark": dark, "still": still}
    means = {name: float(np.mean(values)) if values else None for name, values in facts.items()}
    return means | {"clips_sampled": len(clips), "repeated": repeated, "in_other_split": elsewhere}


def _track(count: int, what: str) -> Iterable[int]:
    """Numbers below `count` with a bar on a terminal: clips of large videos take seconds each."""
    console = Console(stderr=True)
    return track(range(count), what, console=console, transient=True, disable=not console.is_terminal)


def write_sheet(path: Path, clips: ClipDataset, num_rows: int, num_columns: int) -> Path:
    """A clip in each row, evenly spaced over `clips`; frames evenly spaced over each."""
    chosen = _spread(num_rows, len(clips))
    columns = _spread(num_columns, clips.num_frames)
    scale = scale_to(clips.reader.image_size[0], CELL)
    rows = [list(enlarge(_frames(clips, index)[columns], scale)) for index in chosen]
    labels = [f"row {clips.location(int(index))[0]}" for index in chosen]
    return write_png(path, grid(rows, labels, [f"{column}" for column in columns]))


def write_clips(folder: Path, clips: ClipDataset, count: int, scale: int) -> list[Path]:
    """clip_0.mp4, clip_1.mp4, …, evenly spaced over `clips`; earlier ones are deleted."""
    for path in folder.glob("clip_*.mp4"):
        path.unlink()
    return [
        write_mp4(folder / f"clip_{number}.mp4", enlarge(_frames(clips, index), scale), float(clips.fps))
        for number, index in enumerate(_spread(count, len(clips)))
    ]


def _frames(clips: ClipDataset, index: int) -> np.ndarray:
    return to_bytes(clips[int(index)]["frames"])


def _spread(count: int, total: int) -> np.ndarray:
    """At most `count` numbers below `total`, evenly spaced."""
    count = min(count, total)
    return np.arange(count) * total // max(1, count)


def inspect(config: InspectConfig) -> None:
    """Inspects the data set of a configuration. Raises UserError where it cannot be trained on."""
    with one_writer(config.output, "output=") as folder:
        module = ClipData(**config.data.plain())
        module.setup()
        check_scale(config.scale, module.image_size)
        facts = data_facts(module, config.num_clips)
        with replacing(folder / "inspect.json", "w") as file:
            json.dump(facts, file, indent=2)
        print_table(table_of(facts))
        names = ["inspect.json"]
        if module.info.image_size is not None:
            clips = module.clips("train", module.num_frames, config.num_clips)
            clips.augmentation = module.train_dataset.augmentation  # shown as in training
            write_sheet(folder / "contact_sheet.png", clips, config.sheet.rows, config.sheet.columns)
            scale = config.scale or scale_to(module.image_size[0], VIDEO_HEIGHT)
            videos = write_clips(folder, clips, config.num_videos, scale)
            names += ["contact_sheet.png", *(path.name for path in videos)]
        print(f"written into {folder}: {', '.join(names)}")


def data_facts(module: ClipData, num_clips: int) -> dict[str, Any]:
    """All facts about a data set after `setup`; those of each split under "splits"."""
    reader, info = module.splits["train"][0], module.info
    facts = {
        "root": str(module.root),
        "stored_sizes": reader.stored_sizes,
        "image_size": info.image_size,
        "fps": info.fps,
        "num_frames": module.num_frames,
        "stride": module.stride,
        "columns": reader.columns,
        "num_actions": info.num_actions,
        "action_size": info.action_size,
        "state_size": reader.state_size,
        "action_meanings": info.action_meanings,
        "object_names": info.object_names,
    }
    seen: dict[str, tuple[str, int]] = {}
    return facts | {"splits": {split: split_facts(module, split, num_clips, seen) for split in module.splits}}


def split_facts(module: ClipData, split: str, num_clips: int, seen: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """The facts about one split; `seen`: as `frame_facts` takes it."""
    reader, episodes = module.splits[split]
    facts = episode_facts(reader, episodes, module.info.fps * module.stride)
    clips = module.clips(split, module.num_frames, None)
    facts |= {"clips": len(clips), "too_short": clips.too_short}
    if reader.state_size is not None:
        facts["states"] = number_facts(reader, episodes, "states", [f"{n}" for n in range(reader.state_size)])
    if reader.action_size is not None:
        names = reader.action_meanings or [f"{number}" for number in range(reader.action_size)]
        facts["action_numbers"] = number_facts(reader, episodes, "actions", names)
        for name, units in zip(names, module.info.action_range or [], strict=False):
            facts["action_numbers"][name]["units"] = units
    elif "actions" in reader.columns:
        facts["actions"] = action_facts(reader, episodes)
    if "rewards" in reader.columns:
        facts["rewards"] = reward_facts(reader, episodes)
    if "terminals" in reader.columns:
        facts["terminals"] = sum(int(values.sum()) for values in _decisions(reader, episodes, "terminals"))
    tasks = getattr(reader, "tasks", None)
    if tasks is not None:
        counts = Counter(tasks[number] for number in episodes_at(reader, episodes[:, 0]).tolist())
        facts["tasks"] = dict(counts.most_common())
    if reader.image_size is None:
        return facts
    return facts | {"look": frame_facts(module.clips(split, module.num_frames, num_clips), seen, split)}


def table_of(facts: dict[str, Any]) -> Table:
    """The facts as a table, a column for each split."""
    title = (
        f"{facts['root']}: {_observed(facts)}, {facts['fps']:g} a second, clips of {facts['num_frames']}; "
        f"columns: {', '.join(facts['columns']) or 'none'}"
    )
    table = Table("", *facts["splits"], title=title, title_justify="left")
    rows = [rows_of(split) for split in facts["splits"].values()]
    for name in dict.fromkeys(name for row in rows for name in row):
        table.add_row(name, *(row.get(name, "") for row in rows))
    return table


def _observed(facts: dict[str, Any]) -> str:
    if facts["image_size"] is None:
        return f"states of {facts['state_size']} numbers"
    sizes = ", ".join(f"{width}x{height}" for height, width in facts["stored_sizes"][:4])
    sizes += f" and {len(facts['stored_sizes']) - 4} more" if len(facts["stored_sizes"]) > 4 else ""
    return f"frames {sizes} (width x height), seen at {facts['image_size'][1]}x{facts['image_size'][0]}"


def rows_of(split: dict[str, Any]) -> dict[str, str]:
    """The cells of a split in the table, by the names of their rows."""
    lengths, look = split["episode_frames"], split.get("look")
    rows = {
        "recordings": f"{split['recordings']}",
        "episodes": f"{split['episodes']}",
        "frames": f"{split['frames']}",
        "minutes": f"{split['minutes']:.1f}",
        "episode length": f"{lengths['min']} to {lengths['max']}, median {lengths['median']:g}",
        "clips": f"{split['clips']}",
    }
    if split["too_short"]:  # their ends, deaths above all, are never learned
        rows["too short"] = f"{split['too_short']} episodes"
    numbers = {f"state {name}": facts for name, facts in split.get("states", {}).items()}
    numbers |= {f"action {name}": facts for name, facts in split.get("action_numbers", {}).items()}
    for name, facts in numbers.items():
        rows[name] = f"{facts['min']:.3g} to {facts['max']:.3g}, {facts['mean']:.3g} ± {facts['std']:.2g}"
        if units := facts.get("units"):
            rows[name] += f" (-1 is {units[0]:.4g}, 1 is {units[1]:.4g})"
    rows |= {f"action {name}": f"{share:.1%}" for name, share in split.get("actions", {}).items()}
    if rewards := split.get("rewards"):
        rows["rewards"] = f"{rewards['min']:g} to {rewards['max']:g}, {1 - rewards['not_zero']:.1%} 0"
        rows |= {f"reward {value}": f"{count}" for value, count in (rewards["counts"] or {}).items()}
    if "terminals" in split:
        rows["terminals"] = f"{split['terminals']}"
    tasks = split.get("tasks", {})
    rows |= {f"task {name}": f"{count} episodes" for name, count in list(tasks.items())[:MOST_VALUES]}
    if len(tasks) > MOST_VALUES:
        rows["other tasks"] = f"{sum(list(tasks.values())[MOST_VALUES:])} episodes"
    if look is None:
        return rows
    rows["brightness"] = f"{look['brightness']:.3f}"
    if look["motion"] is not None:
        rows["motion"] = f"{look['motion']:.4f}"
        rows["still frames"] = f"{look['still']:.1%}"
    rows["dark frames"] = f"{look['dark']:.1%}"
    rows["repeated clips"] = f"{look['repeated']} of {look['clips_sampled']}"
    rows["also in another split"] = f"{look['in_other_split']} of {look['clips_sampled']}"
    return rows
