"""Replay of recorded episodes from their seeds and actions, compared with the recording."""

from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from data_modules.clips import ClipDataset
from data_modules.environments import Environment, in_episode, open_environment
from data_modules.environments.episode_replay import EpisodeReplay
from data_modules.environments.recorder import episode_seed
from data_modules.formats.episode_header import read_header
from data_modules.formats.episode_reader import EpisodeReader
from data_modules.formats.episodes import SPLITS, Fingerprint, Origin, read_origin
from data_modules.frame_reader import episodes_at
from genie.common.errors import RunError, UserError
from genie.common.folder_lock import one_writer
from genie.common.media import VIDEO_HEIGHT, enlarge, scale_to, write_mp4
from genie.common.random import Stream, fold_in
from genie.common.settings.commands import ReplayConfig

BEFORE = {"reset_screen": True}  # settings of recordings that do not store their settings


def replay(config: ReplayConfig) -> str:
    """Replays the episodes of a configuration; returns a summary in words. Raises UserError where nothing can
    be replayed, RunError where observations differ from the recorded ones."""
    with one_writer(config.output, "output=") if config.video else nullcontext():
        return _replay_into(Path(config.output), config)


def _replay_into(output: Path, config: ReplayConfig) -> str:
    files, data = _files(Path(config.data.root), config.split), config.data.plain()
    recorded = [Recorded(name, path, data) for name, path in files.items()]
    chosen = [(file, _chosen(config.episodes, file)) for file in recorded]
    differences, total, hashed = [], 0, all(file.hashes is not None for file in recorded)
    for file, episodes in chosen:
        for episode in track(episodes, f"{file.environment.id} {file.name}"):
            with in_episode(f"{file.name}, episode {episode}"):
                played = Comparison(file, episode)
                if config.video:
                    write_mp4(output / f"{file.name}_{episode}.mp4", played.screens(), file.environment.fps)
                else:
                    deque(played, maxlen=0)
            total += 1
            if played.difference is not None:
                differences.append(f"{file.path}: episode {episode} {played.difference}")
    found = f"{total - len(differences)} of {total} episodes identical"
    if differences:
        print(found, flush=True)
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise RunError(f"{differences[0]}{more}")
    compared = "frame by frame and by their hashes" if hashed else "frame by frame: no hashes are stored"
    written = f"; {total} videos in {output}" if config.video else ""
    return f"{found}, {compared}{written}"


def recording_settings(origin: Origin | None, data: dict[str, Any]) -> dict[str, Any] | None:
    """How an episode file was recorded: what it stores (`origin`), for older ones what `data`, a resolved group, says;
    None where neither names an environment."""
    settings = origin.settings if origin is not None else data.get("recorder") and {**data["recorder"], **BEFORE}
    return settings if settings and settings.get("env") else None


class Recorded:
    """One episode file and the environment that replays it.

    Files of `genie.record` store how they were recorded; for older ones `data`, a resolved group, has to give it.
    Raises UserError where neither does, where there is no such environment, or where the file is not of it.
    """

    def __init__(self, name: str, path: Path, data: dict[str, Any]):
        self.name, self.path, size = name, path, read_header(path).stored_size
        self.reader = EpisodeReader(path, size)
        origin = read_origin(path)
        settings = recording_settings(origin, data)
        if settings is None:
            raise UserError(f"{path} does not say how it was recorded: choose the data= that it was recorded with")
        self.environment = open_environment(settings, size)
        frames = self.environment.observes == "frames"
        if "actions" not in self.reader.columns or frames != (self.reader.image_size is not None):
            what = f"the {self.environment.observes} and actions of {self.environment.id}"
            raise UserError(f"{path} does not hold {what}: choose the data= that it was recorded with")
        self.hashes = None if origin is None else origin.hashes
        self.seeds = _seeds(name, settings, len(self.reader.episodes)) if origin is None else origin.seeds

    def rows(self, episode: int) -> np.ndarray:
        """The recorded observations of an episode: frames uint8 [n, H, W, 3] or states float32 [n, k]."""
        rows = self.reader.episodes[episode]
        return self.reader.frames(*rows) if self.reader.image_size else self.reader.column("states", *rows)


def brought_to(recorded: Recorded, dataset: ClipDataset, index: int, length: int) -> np.ndarray:
    """Brings the environment to the last of the first `length` frames of a clip; returns that frame as it shows it,
    uint8 [H, W, 3] in the size of the recording."""
    row, _ = dataset.location(index)
    episode = int(episodes_at(dataset.reader, row))
    start, end = dataset.reader.episodes[episode].tolist()
    actions = dataset.reader.column("actions", start, end)
    replay = EpisodeReplay(recorded.environment, int(recorded.seeds[episode]), actions)
    at = row - start + (length - 1) * dataset.stride
    if at == 0:
        return replay.first
    replay.go_to(at - 1)
    return recorded.environment.step(actions[at - 1])[0]


def held_step(
    environment: Environment, action: int | np.ndarray, stride: int, seed: int, number: int
) -> tuple[np.ndarray, float]:
    """The observation after an action of a clip, which is held for `stride` decisions, and the sum of their rewards.
    After the end of a game another one begins, as a function of `seed` and the `number` of the action."""
    total = 0.0
    for _ in range(stride):
        seen, reward, terminal, truncated = environment.step(action)
        total += reward
        if terminal or truncated:
            return environment.reset(fold_in(seed, Stream.FURTHER_GAME, number) % 2**31), total
    return seen, total


class Comparison:
    """The replay of an episode, step by step; `difference` describes in the end how it differs from the recording."""

    def __init__(self, file: Recorded, episode: int):
        self.environment, self.rows = file.environment, file.rows(episode)
        self.hash = None if file.hashes is None else file.hashes[episode]
        actions = file.reader.column("actions", *file.reader.episodes[episode])
        self.replay = EpisodeReplay(file.environment, int(file.seeds[episode]), actions)
        self.difference: str | None = None

    def __iter__(self) -> Iterator[int]:
        """Plays; yields the number of each step."""
        fingerprint, step = Fingerprint(), -1
        for step, seen in enumerate(self.replay.observations()):
            fingerprint.add(seen[None])
            if self.difference is None and seen.tobytes() != self.rows[step].tobytes():
                self.difference = f"differs from step {step} on"
            yield step
        if self.difference is None and step + 1 < len(self.rows):
            self.difference = f"ends at step {step}, not at {len(self.rows) - 1}"
        if self.difference is None and self.hash not in (None, fingerprint.hexdigest()):
            self.difference = "has another hash than was stored: the file was changed after it was recorded"

    def screens(self) -> Iterator[np.ndarray]:
        """Plays; yields the screen at each step, uint8 [H, W, 3]."""
        for _ in self:
            screen = self.environment.screen()
            yield enlarge(screen, scale_to(len(screen), VIDEO_HEIGHT))


def _files(root: Path, split: str | None) -> dict[str, Path]:
    """The files to replay, by the names of their splits. Raises UserError where there is none."""
    if root.is_file():
        return {root.stem: root}
    files = {name: root / f"{name}.h5" for name in SPLITS if split in (None, name)}
    files = {name: path for name, path in files.items() if path.exists()}
    if not files:
        raise UserError(
            f"there is no {split or 'train'}.h5 in {root}: give data.root=, a folder or file of genie.record"
        )
    return files


def _seeds(split: str, settings: dict[str, Any], count: int) -> np.ndarray:
    """int64 [count]: the seeds of the episodes of a file that does not store them."""
    if split not in SPLITS:
        raise UserError(f"{split}.h5 has no seeds, and its name, none of {', '.join(SPLITS)}, does not give them away")
    return np.array([episode_seed(settings["seed"], split, episode) for episode in range(count)])


def _chosen(given: int | list[int] | None, file: Recorded) -> list[int]:
    """The numbers of the episodes to play. Raises UserError for missing ones."""
    count = len(file.reader.episodes)
    numbers = given if isinstance(given, list) else range(count if given is None else min(given, count))
    for number in numbers:
        if not isinstance(number, int) or not 0 <= number < count:
            raise UserError(f"episodes={given}: {file.path} has the episodes 0 … {count - 1}")
    return list(numbers)
