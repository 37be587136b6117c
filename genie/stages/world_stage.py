"""Base class of the stages on the features of a trained world.

Dimension letters: `B` clips, `T` observations, `O` the shape of one, `F` the shape of features.
"""

from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from data_modules.action_ids import same_actions
from data_modules.clip_data_module import ClipDataModule
from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.distributed.strategy import SHARDED
from genie.runs.loading import WORLD
from genie.stages.base import Additions
from genie.stages.dependent_stage import DependentStage
from genie.world.protocol import World

DESCRIBED = ("observation_shape", "feature_shape")  # of a world, in the configuration


class WorldStage(DependentStage):
    """Options: `world`, the run folder of a world, and `kind` of world, where it holds several (`open_world`); of the
    world `observation_shape`, `feature_shape` and what else `describe` gives, so that a checkpoint is read without it.

    The world is outside of the module tree, as the frozen parts of a `DependentStage` are.
    """

    def __init__(self, config: dict) -> None:
        for name in DESCRIBED:
            if config["stage"][name] is None:
                raise UserError(f"stage.{name} is not known: training takes it from stage.world")
        super().__init__(config)
        self._outside: dict[str, World] = {}

    @property
    def world(self) -> World:
        return self._outside[WORLD]

    @classmethod
    def complete(cls, config: dict[str, Any], data: Callable[[], ClipDataModule]) -> tuple[Additions, World | None]:
        if config["trainer"]["strategy"] == SHARDED:
            raise UserError(
                f"trainer=fsdp is for models that no device holds, and stage={config['stage']['name']} is small: use "
                "trainer=ddp"
            )
        if all(config["stage"][name] is not None for name in DESCRIBED):
            return {}, None
        world = open_named(config["stage"])
        added = {"stage": cls.describe(config, world)}
        if world.takes_environment_actions:
            added["data"] = {"actions": named_actions(world, config)}
        return added, world

    @classmethod
    def describe(cls, config: dict[str, Any], world: World) -> dict[str, Any]:
        """The options of the stage that a world determines."""
        return {name: list(getattr(world, name)) for name in DESCRIBED}

    def load_dependencies(self, opened: World | None = None) -> None:
        self.use_world(open_named(self.options) if opened is None else opened)

    def use_world(self, world: World) -> None:
        """Builds on `world`. Raises UserError where this stage was not built for it."""
        for name in DESCRIBED:
            given, now = tuple(self.options[name]), tuple(getattr(world, name))
            if given != now:
                raise UserError(f"stage.world={self.options['world']} has {name} {now}, stage.{name} is {given}")
        size, shape = self.config["data"]["image_size"], tuple(world.observation_shape)
        if len(shape) == 3 and tuple(size) != shape[1:]:
            raise UserError(
                f"stage.world={self.options['world']} was trained on frames of {list(shape[1:])} and "
                f"data.image_size={size}: give data= of the world"
            )
        self._outside[WORLD] = world
        self.fingerprints[WORLD] = world.fingerprint()

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        held = None if info.state_mean is None else len(info.state_mean)
        if self.observes == "states" and self.options["observation_shape"] != [held]:
            raise UserError(
                f"stage.world={self.options['world']} observes {self.options['observation_shape'][0]} numbers, and the "
                f"data hold {'no states' if held is None else f'states of {held}'}: give data= of the world"
            )
        space = self.world.action_space
        if self.world.takes_environment_actions and isinstance(space, spaces.Discrete) and info.num_actions != space.n:
            raise UserError(
                f"the data has {info.num_actions or 'no'} true actions and the world of "
                f"stage.world={self.options['world']} takes {space.n}: give data= of the world"
            )

    def on_fit_start(self) -> None:
        self.world.to(self.device)

    on_validation_start = on_fit_start

    @property
    def tokens_per_frame(self) -> int:
        """Places of the map of features."""
        return int(torch.Size(self.options["feature_shape"][1:]).numel())

    def example_clip(self) -> Tensor:
        """Features [1, T, *F]."""
        return torch.empty(1, self.config["data"]["num_frames"], *self.options["feature_shape"])

    def observations(self, batch: Clip) -> Tensor:
        """What the world observes [B, T, *O]: frames in [0, 1], or states."""
        return self.frames(batch) if self.observes == "frames" else batch["states"]

    @torch.no_grad()
    def features(self, batch: Clip) -> Tensor:
        """The world's features [B, T, *F] of all states of true clips, under the recorded actions where it takes these;
        a world of latent actions reads its own from the frames, where its features depend on them."""
        observations = self.observations(batch)
        return self.world.trace(observations, recorded_between(self.world, batch, observations.shape[1]))


def named_actions(world: World, config: dict[str, Any]) -> dict[str, Any]:
    """`data.actions` with the names of the world's actions, by which the data are read: their ids may differ; and with
    that by which numbers became actions.

    Raises UserError where other `data.actions.names` are given.
    """
    options = config["data"].get("actions") or {}
    known = world.config["data"].get("actions") or {}
    names, given = known.get("names"), options.get("names")
    if names and given and list(given) != list(names):
        raise UserError(
            f"data.actions.names={list(given)}, and the world of stage.world={config['stage']['world']} knows its "
            f"actions as {list(names)}: give these, or leave them out"
        )
    return same_actions(options, known)


def recorded_between(world: World, batch: Clip, length: int) -> Tensor | None:
    """The recorded actions between the first `length` observations of clips; None for a world of latent actions."""
    known = world.takes_environment_actions and "actions" in batch
    return batch["actions"][:, : length - 1] if known else None


def space_of(world: World) -> tuple[int | None, int | None]:
    """(number of actions, None) or (None, numbers of an action) that the world takes."""
    space = world.action_space
    return (int(space.n), None) if isinstance(space, spaces.Discrete) else (None, int(space.shape[0]))


def open_named(options: dict[str, Any]) -> World:
    """The world that the options of a stage name. Raises UserError where there is none."""
    from genie.world.opening import open_world

    return open_world(options["world"], options["kind"])
