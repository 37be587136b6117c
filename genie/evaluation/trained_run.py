"""Trained run under evaluation: the stages of a run folder, and the world that they make."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from genie.common.errors import UserError
from genie.common.run_folders import explained
from genie.common.settings.world import Sampled
from genie.models import LatentActionModel, VideoTokenizer
from genie.models.building import GENIE_STAGES, STAGES
from genie.runs.loading import TrainedModel, fingerprint, load_model, read_checkpoint, stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.loading import parts_of
from genie.world.opening import kinds_of, open_world
from genie.world.protocol import World
from genie.world.sampler_choice import with_overrides
from genie.world.world_model import WorldModel

SIMULATOR = "simulator"  # the stage that is a world by itself


class LeftOut(Exception):
    """A part cannot be measured on this run; the message is the reason."""


@dataclass
class Trained:
    """A trained model and `window`, the number of frames of a clip it was trained on."""

    model: VideoTokenizer | LatentActionModel
    window: int


class TrainedRun:
    """The stages of `outputs/<name>`, loaded at first use; a missing one raises `LeftOut`.

    A tokenizer or latent action model that is not in the folder is the one in another folder that the newest stage here
    was trained on (its `tokenizer_ckpt` or `lam_ckpt`).

    Args:
        run: the folder. UserError where it holds neither a stage of Genie's nor a simulator.
        device: of the models.
        sampler: settings that replace those of the world's sampler (`with_overrides`).
        kind: of `chosen_world`, "genie" or "simulator"; None: the first of these that the folder holds. UserError where
            it holds none of that kind.

    Attributes:
        checkpoints: the paths of existing checkpoints, by stage.
    """

    def __init__(
        self, run: str | Path, device: torch.device, sampler: Sampled | None = None, kind: str | None = None
    ) -> None:
        self.run, self.device, self.overrides = Path(run), device, sampler
        paths = {stage: stage_file(self.run, stage) for stage in STAGES}
        self.checkpoints = {stage: path for stage, path in paths.items() if is_checkpoint(path)}
        if not {*GENIE_STAGES, SIMULATOR} & self.checkpoints.keys():
            raise UserError(f"run={run} holds no trained stage of a world: {explained(self.run, 'run=')}")
        found = self.checkpoints | self._elsewhere()
        self.checkpoints = {stage: found[stage] for stage in STAGES if stage in found}
        kinds = kinds_of(self.run)
        if kind is not None and kind not in kinds:
            others = " and ".join(kinds) or "none"
            raise UserError(f"world={kind}: {run} holds no trained world of that kind; it holds {others}")
        self.kind = kind or next(iter(kinds), "genie")

    @property
    def genie_checkpoints(self) -> dict[str, Path]:
        """The `checkpoints` of stages of a Genie world."""
        return {stage: path for stage, path in self.checkpoints.items() if stage in GENIE_STAGES}

    def _elsewhere(self) -> dict[str, Path]:
        if not self.genie_checkpoints:
            return {}
        newest = load_model(list(self.genie_checkpoints.values())[-1])
        paths = {
            part: Path(newest.config[f"{part}_ckpt"]) for part in newest.fingerprints if part not in self.checkpoints
        }
        return {
            part: path
            for part, path in paths.items()
            if is_checkpoint(path) and fingerprint(load_model(path).model) == newest.fingerprints[part]
        }

    @cached_property
    def tokenizer(self) -> Trained:
        return self._trained(load_model(self._path("tokenizer")))

    @cached_property
    def lam(self) -> Trained:
        """The latent action model: that of co-training, where the world is a co-trained one."""
        if "cotrain" in self.checkpoints and "dynamics" not in self.checkpoints:
            trained, attribute = load_model(self.checkpoints["cotrain"]), "lam"
        else:
            trained, attribute = load_model(self._path("lam")), "model"
        lam = self._trained(trained, attribute)
        if lam.model.needs_tokenizer:
            if fingerprint(self.tokenizer.model) != trained.fingerprints["tokenizer"]:
                raise LeftOut("the latent action model reads the tokens of another tokenizer than that of the run")
            lam.model.use_tokenizer(self.tokenizer.model)
        return lam

    @cached_property
    def world(self) -> WorldModel:
        """Tokenizer and dynamics as one world."""
        if not {"dynamics", "cotrain"} & self.checkpoints.keys():
            self._path("dynamics")
        self._path("tokenizer")
        world = WorldModel.load(self.run).to(self.device)
        if self.overrides is not None:
            world.sampler = with_overrides(world.sampler, self.overrides)
        return world

    @cached_property
    def chosen_world(self) -> World:
        """The world of `kind`."""
        return self.world if self.kind == "genie" else open_world(self.run, self.kind).to(self.device)

    @property
    def sampler(self) -> dict[str, Any] | None:
        """Settings of the sampler of the world's tokens; None where no world of tokens was used."""
        return asdict(self.world.sampler) if "world" in self.__dict__ else None

    @property
    def takes_environment_actions(self) -> bool:
        """Whether the world was trained on the true actions instead of latent ones."""
        return self.world.takes_environment_actions

    @cached_property
    def contents(self) -> dict[str, dict]:
        """By stage: the `steps` that it was trained for, and its `config`."""
        found = {stage: read_checkpoint(path) for stage, path in self.checkpoints.items()}
        return {
            stage: {"steps": int(checkpoint["global_step"]), "config": checkpoint["hyper_parameters"]["config"]}
            for stage, checkpoint in found.items()
        }

    @property
    def data_config(self) -> dict:
        """The group `data` of the newest of Genie's stages (the order of `GENIE_STAGES`), without any of
        `chosen_world`."""
        newest = next(reversed(self.genie_checkpoints), SIMULATOR)
        return self.contents[newest]["config"]["data"]

    @property
    def world_data_config(self) -> dict:
        """The group `data` that `chosen_world` was trained with."""
        return self.data_config if self.kind == "genie" else self.contents[SIMULATOR]["config"]["data"]

    def _trained(self, trained: TrainedModel, attribute: str = "model") -> Trained:
        return Trained(getattr(trained, attribute).to(self.device), trained.config["data"]["num_frames"])

    def _path(self, stage: str) -> Path:
        if stage not in self.checkpoints:
            raise LeftOut(f"{self.run} holds no trained {stage}")
        return self.checkpoints[stage]


class LiveRun:
    """`TrainedRun` of a stage in training: its own modules in memory, and the frozen ones that it was given. `run`: the
    folder that it is trained into."""

    def __init__(self, stage: Any, run: Path, sampler: Sampled) -> None:
        self.stage, self.run, self.overrides = stage, run, sampler

    @property
    def tokenizer(self) -> Trained:
        """Of a later stage the frozen one."""
        return self._trained(getattr(self.stage, "frozen", {}).get("tokenizer", self.stage.model))

    @property
    def lam(self) -> Trained:
        """That of its own stage or of co-training."""
        return self._trained(getattr(self.stage, "lam", self.stage.model))

    @cached_property
    def world(self) -> WorldModel:
        """A world around the dynamics."""
        frozen = self.stage.frozen
        lam = getattr(self.stage, "lam", frozen.get("lam"))
        world = WorldModel(**parts_of(self.stage, frozen["tokenizer"], lam))
        world.sampler = with_overrides(world.sampler, self.overrides)
        return world

    @property
    def takes_environment_actions(self) -> bool:
        return self.world.takes_environment_actions

    def _trained(self, model: VideoTokenizer | LatentActionModel) -> Trained:
        return Trained(model, self.stage.config["data"]["num_frames"])
