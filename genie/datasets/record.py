"""Recording of environments into episode files, also for commands whose data are missing."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from data_modules.formats.episodes import SPLITS
from data_modules.sources import EpisodeFiles, part_files
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer


def replace_environment(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """`env.id=X`: replaces the recorded environment by X and drops the settings made for the former one, except the
    user's own `overrides`."""
    env_id, settings = cfg.env.id, cfg.data.recorder
    if env_id is None or settings is None or env_id == settings.env.id:
        return
    from data_modules.environments.gymnasium_environment import settings_for

    with open_dict(cfg):
        cfg.data.name = env_id.split("/")[-1].rsplit("-v", 1)[0].lower()
        if settings.observe == "states":  # there are no pictures whose size could be in the name of the folder
            root = OmegaConf.to_container(cfg.data, resolve=False)["root"]
            cfg.data.root = root.replace("${data.image_size[0]}x${data.image_size[1]}", "states")
        plain = OmegaConf.to_container(settings, resolve=True)
        cfg.data.recorder = settings_for(plain, env_id, _given(plain, overrides))


def _given(settings: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of `data.recorder` that overrides name."""
    given = OmegaConf.create({})
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if not key.startswith("data.recorder.") or override.is_delete():
            continue
        named = override.value()
        for part in reversed(key.split(".")[2:]):
            named = {part: named}
        given = OmegaConf.merge(given, _of(settings, named))
    return OmegaConf.to_container(given)


def _of(settings: Any, named: Any) -> Any:
    """The part of the settings with these names, recursively: a dictionary does not select others of its group."""
    if not isinstance(named, dict) or not named or not isinstance(settings, dict):
        return settings
    return {name: _of(settings.get(name), inner) for name, inner in named.items()}


def record(data: DictConfig, overwrite: bool = False, splits: Sequence[str] = SPLITS) -> Path:
    """Writes train.h5, val.h5 and test.h5 (or some of `splits`) as a group `data` says, and returns the folder.

    Raises UserError for existing files (unless `overwrite`), and for an unknown environment or action or an invalid
    size, before any file is written.
    """
    if data.recorder is None:
        raise UserError(f"data={data.name} has no recorder settings: choose another data=, for example data=pong")
    settings = OmegaConf.to_container(data.recorder, resolve=True)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # A second to import, for which --help and a misspelt key need not wait.
    from data_modules.environments.recorder import build_recorder

    root, frames = Path(data.root), settings["num_frames"]
    with one_writer(root, "data.root="):
        existing = [str(root / f"{split}.h5") for split in splits if (root / f"{split}.h5").exists()]
        if existing and not overwrite:
            raise UserError(f"{', '.join(existing)} exist already: give overwrite=true or another data.root=")
        recorder = build_recorder(settings, list(data.image_size))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress:
            for split in splits:
                task = progress.add_task(f"{recorder.environment.id} {split}", total=frames[split])
                recorder.record(root / f"{split}.h5", split, frames[split], lambda n, t=task: progress.advance(t, n))
        count, environment = sum(frames[split] for split in splits), recorder.environment
        sizes = "x".join(map(str, environment.observation_shape[:2]))
        what = f"frames, {sizes}" if environment.observes == "frames" else f"states of {sizes} numbers"
        print(f"recorded {count} {what} at {environment.fps:g} fps, in {root}")
        return root


def missing_splits(data: dict[str, Any]) -> list[str]:
    """The recordable splits of a group `data` that are missing in its `root`; none for a file and for other data."""
    root = Path(data["root"])
    return [split for split in SPLITS if not part_files(EpisodeFiles, root, split)] if _records(data) else []


def _records(data: dict[str, Any]) -> bool:
    """Whether a group `data` has an environment to record; debug=fast gives all data some settings of a recorder."""
    return not Path(data["root"]).is_file() and "env" in (data["recorder"] or {})


def shorter_splits(data: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """split -> (frames in `root`, frames that a group `data` would record), for splits with too few frames."""
    found = {}
    for split, wanted in data["recorder"].get("num_frames", {}).items() if _records(data) else ():
        path = Path(data["root"]) / f"{split}.h5"
        if path.exists():
            with suppress(OSError, KeyError, TypeError, ValueError, IndexError), h5py.File(path) as file:
                held = int(file["episode_ends"][-1])  # a damaged file is named when it is read
                if held < wanted:
                    found[split] = held, wanted
    return found


def record_missing(data: dict[str, Any]) -> None:
    """Records the missing splits of a resolved group `data` and prints which; prints, too, which are shorter than
    asked for."""
    for split, (held, wanted) in shorter_splits(data).items():
        print(
            f"{data['root']} holds {held:,} {split} frames and is used as it is; data.recorder.num_frames.{split} is "
            f"{wanted:,}: another data.root= records as many",
            flush=True,
        )
    if not missing_splits(data):
        return

    with one_writer(data["root"], "data.root=", wait=True):
        splits = missing_splits(data)  # another process may have recorded them in the meantime
        if splits:
            print(f"there is no {', '.join(splits)} data in {data['root']}: recording it", flush=True)
            record(OmegaConf.create(data), splits=splits)
