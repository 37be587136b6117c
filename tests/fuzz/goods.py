"""Good inputs, as small as can be: episode files of 8x8 pixels, and the folder of a world, untrained."""

import copy
import functools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from data_modules.formats.episodes import EpisodeWriter
from genie.common.cli import to_plain

SIZE = (8, 8)
LENGTHS = (9, 12, 7)  # frames of the episodes of a file
MEANINGS = ["stay", "left", "right"]
ENVIRONMENT = "Fuzzed-v0"
RECORDER = {"env": {"id": ENVIRONMENT, "kwargs": {}}, "observe": "frames", "actions": None, "action_names": None,
            "crop": None, "fps": None}  # fmt: skip
TINY = (
    "model=debug", "model.tokenizer.patch_size=4", "model.lam.patch_size=4", "model.tokenizer.num_codes=16",
    "data=episodes", "data.image_size=[8,8]", "data.num_frames=4", "data.batch_size=2", "logger=csv",
)  # fmt: skip


class Room(gymnasium.Env):
    """What the files are said to be recorded of: 8x8 pixels of one colour, three actions."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = gymnasium.spaces.Discrete(len(MEANINGS))
    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.place = render_mode, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place += int(action) - 1
        return np.zeros(2, np.float32), float(self.place), abs(self.place) > 3, False, {}

    def render(self) -> np.ndarray:
        return np.full((*SIZE, 3), 128 + 16 * self.place, dtype=np.uint8)


if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(ENVIRONMENT, entry_point=Room)


@functools.cache
def _composed(name: str, *overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose(name, list(overrides))
    return OmegaConf.to_container(cfg) if name == "record" else to_plain(cfg)  # it has keys for training alone


def configuration(name: str, *overrides: str) -> dict[str, Any]:
    """The configuration of a command, as plain containers."""
    return copy.deepcopy(_composed(name, *overrides))


def write_episodes(path: Path, seed: int = 0) -> Path:
    """An episode file of random pixels with all columns."""
    numbers = np.random.default_rng(seed)
    with EpisodeWriter(path, SIZE, ENVIRONMENT, 10.0, MEANINGS, ["ball"], recorder=RECORDER) as file:
        for length in LENGTHS:
            steps = np.arange(length)
            decided = steps < length - 1  # on the last frame nothing is
            file.append(
                frames=numbers.integers(0, 256, (length, *SIZE, 3), dtype=np.uint8),
                actions=steps % len(MEANINGS) * decided,
                rewards=numbers.standard_normal(length).astype(np.float32) * decided,
                terminals=steps == length - 2,
                truncations=np.zeros(length, dtype=bool),
                objects=numbers.random((length, 1, 2), dtype=np.float32) * 7,
            )
            file.end_episode(seed=0)
    return path


def write_data(folder: Path) -> Path:
    """train.h5, val.h5 and test.h5."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(("train", "val", "test")):
        write_episodes(folder / f"{split}.h5", seed)
    return folder


def write_run(folder: Path, data: Path, stages: tuple[str, ...] = ("tokenizer", "lam", "dynamics")) -> Path:
    """A run folder with the checkpoints of stages that were initialised and not trained."""
    from data_modules.clip_data_module import ClipDataModule
    from genie.runs.checkpoint_store import keep_as_last, step_path
    from genie.runs.loading import fingerprint
    from genie.stages import build_stage

    known: dict[str, str] = {}
    for name in stages:
        config = configuration("train", f"stage={name}", *TINY, f"data.root={data}", f"output_dir={folder.parent}",
                               f"name={folder.name}")  # fmt: skip
        module = ClipDataModule(**config["data"])
        module.setup()
        torch.manual_seed(0)
        stage = build_stage(config)
        stage.set_data_info(module.info)
        frames = torch.stack([module.train_dataset[index]["frames"] for index in range(8)])
        if name != "dynamics":  # codes from data, so that different frames have different ones
            stage.model.train()(frames.float() / 255)
        contents = {
            "state_dict": stage.state_dict(),
            "hyper_parameters": {"config": config},
            "global_step": 5,
            "fingerprints": dict(known) if name == "dynamics" else {},
        }
        known[name] = fingerprint(stage.model)
        path = step_path(folder / name / "checkpoints", 5)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(contents, path)
        keep_as_last(path, keep=2)
    return folder
