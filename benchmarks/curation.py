"""Do 50 ratings tell play from the rest? `python -m benchmarks.curation` prints precision and recall, for three mixes.

A mix holds stretches of recorded Pong, and as many of menus, black frames, noise and stills of Pong. Of its clips those
that genie.curate would show are rated, 5 for play and 1 for everything else; the figures are of all others.

    source=data/pong_64x64/test.h5                the recording to mix from
    seeds=3 labels=50 stretches=60 frames=64      of play, of so many frames each
    and any key of genie.curate
"""

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.arguments import arguments, configuration, started
from data_modules.annotations import Window
from genie.common.device import keep_freed_memory
from genie.common.settings.commands import CurateConfig
from genie.common.settings.kinds import Count, Place, Settings
from genie.labeling.curate import rating_queue
from genie.labeling.features import look_at, pooled_features, stack
from genie.labeling.quality_head import agreement, fit_head
from genie.labeling.windows import WindowedData


class Arguments(Settings):
    source: Place = "data/pong_64x64/test.h5"
    seeds: Count = 3
    labels: Count = 50
    stretches: Count = 60
    frames: Count = 64


ENTRIES = ("NEW GAME", "CONTINUE", "OPTIONS", "SCORES", "CREDITS", "QUIT")
GOOD = 3


def menu(play: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Text with a cursor that moves now and then, over a colour, or a dimmed game that rests or runs."""
    colour, ink = random.integers(0, 90, 3), tuple(random.integers(160, 256, 3).tolist())
    behind = (play, play[:1].repeat(len(play), 0), np.broadcast_to(colour, play.shape))[random.integers(3)]
    entries = random.permutation(ENTRIES)[: random.integers(2, 5)]
    left, top, line = random.integers(2, 12), random.integers(2, 12), random.integers(11, 15)
    chosen, frames = 0, []
    for frame in behind:
        picture = Image.fromarray((frame * 0.4).astype(np.uint8))
        chosen = (chosen + int(random.random() < 0.1)) % len(entries)
        for number, entry in enumerate(entries):
            text = ("> " if number == chosen else "  ") + entry
            ImageDraw.Draw(picture).text((left, top + number * line), text, fill=ink)
        frames.append(np.asarray(picture))
    return np.stack(frames)


def black(play: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Nothing, or nearly nothing."""
    return random.integers(0, random.integers(1, 10), play.shape, dtype=np.uint8)


def noise(play: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Grey or coloured snow."""
    channels = random.choice([1, 3])
    snow = random.integers(0, random.integers(100, 256), (*play.shape[:3], channels), dtype=np.uint8)
    return np.broadcast_to(snow, play.shape)


def still(play: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One frame, held."""
    return play[:1].repeat(len(play), 0)


KINDS = {"menu": menu, "black": black, "noise": noise, "still": still}


def write_mix(path: Path, source: Path, stretches: int, frames: int, seed: int) -> dict[int, str]:
    """Writes an episode file of stretches in random order; returns what each is, by its first row."""
    random = np.random.default_rng(seed)
    kinds = random.permutation(["play"] * stretches + [*KINDS] * (stretches // len(KINDS))).tolist()
    with h5py.File(source) as file, h5py.File(path, "w") as mixed:
        recorded, made = file["frames"], []
        for kind in kinds:
            start = random.integers(len(recorded) - frames)
            play = recorded[start : start + frames]
            made.append(play if kind == "play" else KINDS[kind](play, random))
        mixed["frames"] = np.concatenate(made)
        mixed["episode_ends"] = np.arange(1, len(kinds) + 1) * frames
    return {number * frames: kind for number, kind in enumerate(kinds)}


def true_rating(window: Window, kinds: dict[int, str]) -> int:
    """5 for play, 1 for everything else."""
    return 5 if kinds[max(first for first in kinds if first <= window.first)] == "play" else 1


def main() -> None:
    given, others = arguments(Arguments, others=True)
    config = configuration("curate", ["data=episodes", "data.root=mix.h5", *others])
    keep_freed_memory()
    network = pooled_features(config.plain(), config.device)
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mix.h5"
            kinds = write_mix(path, Path(given.source), given.stretches, given.frames, seed)
            footage = WindowedData(config.data.plain() | {"root": str(path)})
            measure(footage, kinds, given.labels, network, config)


def measure(footage: WindowedData, kinds: dict[int, str], labels: int, network: Any, config: CurateConfig) -> None:
    """Prints what a head makes of the clips that were not rated, with and without the network."""
    looks = {look.window: look for look in look_at(footage, footage.windows, network)}
    rated = rating_queue(footage, config.label.candidates)[:labels]
    others = [window for window in footage.windows if window not in set(rated)]
    shown, hidden = (np.array([true_rating(one, kinds) for one in some], float) for some in (rated, others))
    print(f"{labels} of {len(footage.windows)} clips rated, {np.mean(shown == 5):.0%} of them play")
    features = [stack([looks[window] for window in some]) for some in (rated, others)]
    for name, count in {config.features: None, "without a network": 1}.items():
        fit = fit_head(features[0][:count], shown, rated, {})
        quality = fit.head(np.concatenate(features[1][:count], axis=1))
        expected, found = (agreement(*pair, GOOD) for pair in ((fit.held_out, shown), (quality, hidden)))
        print(
            f"  {name}: precision {found.precision:.3f}, recall {found.recall:.3f}, kept {found.kept:.1%} "
            f"(by the ratings held out: {expected.precision:.3f}, {expected.recall:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    started(main)
