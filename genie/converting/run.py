"""The command `genie.convert`: from a resolved configuration to files."""

from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_modules.formats.episodes import SPLITS
from data_modules.sources import EpisodeFiles
from data_modules.worker_loader import num_cpus
from genie.common.config_types import require_whole
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.converting.outputs import Output
from genie.converting.parts import Parts
from genie.converting.plan import Plan, Recording, make_plan
from genie.converting.work import write_parts


def convert(config: dict[str, Any]) -> str:
    """Converts what the group `data` of a configuration names; returns what was written, in words.

    Raises UserError before any work where something is in the way or cannot be read.
    """
    require_whole(config, "shard_frames")
    require_whole(config, "num_workers", least=0)
    output = Output(config["output"], config["format"], config["shard_frames"])
    with one_writer(output.path, "output=", beside=True):
        return _convert_into(output, config)


def _convert_into(output: Output, config: dict[str, Any]) -> str:
    plan = make_plan(config["data"], output.in_one)
    output.require_fits(plan.readers[0])
    parts = Parts(output.path, plan.identity)
    existing = output.existing()
    replaced = {path.resolve() for path in existing}
    if output.path.resolve() == Path(config["data"]["root"]).resolve() or replaced & plan.files:
        raise UserError(f"output={output.path} is where the data are read from: give another one")
    if output.format == "episodes" and _is_read_along(output.path.resolve(), Path(config["data"]["root"]), plan.files):
        raise UserError(
            f"output={output.path} lies among the files that are read, and would be next time: give another one"
        )
    if existing and not (parts.resumed or config["overwrite"]):
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise UserError(f"{existing[0]}{more} exist already: give overwrite=true or another output=")
    if changes := parts.changes():
        print(f"another conversion into {output.path} was begun ({changes}): starting anew", flush=True)
    parts.open()
    skipped = _make_parts(plan, parts, config)
    written = [recording for recording in plan.recordings if parts.path(recording.number).exists()]
    if not written:
        raise UserError(f"none of the {len(plan.recordings)} recordings in {config['data']['root']} can be read")
    with _bar() as bar:
        task = bar.add_task("writing", total=sum(recording.num_frames for recording in written))
        output.write(plan, parts, written, lambda count: bar.advance(task, count))
    parts.remove()
    return _summary(plan, written, skipped, output)


def _is_read_along(output: Path, root: Path, files: set[Path]) -> bool:
    """Whether an episode file written there is one more of the episode files of the folder `root`, or of its splits."""
    if not root.is_dir() or not any(path.suffix.lower() in EpisodeFiles.suffixes for path in files):
        return False
    folders = [root / split for split in SPLITS if (root / split).is_dir()]
    if not folders and not any(
        (root / f"{split}{ending}").is_file() for split in SPLITS for ending in EpisodeFiles.suffixes
    ):
        folders = [root]
    return any(output.is_relative_to(folder.resolve()) for folder in folders)


def _make_parts(plan: Plan, parts: Parts, config: dict[str, Any]) -> int:
    """Makes the parts that are missing; returns how many recordings cannot be read."""
    missing = [recording for recording in plan.recordings if not parts.path(recording.number).exists()]
    if len(missing) < len(plan.recordings):
        print(f"going on: {len(plan.recordings) - len(missing)} of {len(plan.recordings)} recordings are done")
    num_workers = num_cpus() if config["num_workers"] is None else config["num_workers"]
    tasks = [(recording, parts.path(recording.number)) for recording in missing]
    done = write_parts(plan.readers, tasks, plan.fps, min(num_workers, len(tasks)))
    skipped = 0
    with _bar() as bar:
        task = bar.add_task("reading", total=sum(recording.num_frames for recording in missing))
        for recording, damage in done:
            bar.advance(task, recording.num_frames)
            if damage is None:
                continue
            if config["data"]["on_error"] == "raise":
                raise UserError(f"{damage} (data.on_error=skip leaves out what cannot be read)")
            skipped += 1
            bar.console.print(f"left out: {damage}", markup=False, highlight=False, soft_wrap=True)
    return skipped


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns)


def _summary(plan: Plan, written: list[Recording], skipped: int, output: Output) -> str:
    episodes = sum(len(recording.episodes) for recording in written)
    frames = sum(recording.num_frames for recording in written)
    size = plan.readers[0].image_size
    observed = f"{frames} states" if size is None else f"{frames} frames, {size[0]}x{size[1]}"
    left_out = f"; {skipped} recordings could not be read" if skipped else ""
    return (
        f"converted {len(written)} recordings, {episodes} episodes, {observed} "
        f"at {plan.fps:g} fps, into {output.path}{left_out}"
    )
