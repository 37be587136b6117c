"""Stages that are trained on what a finished world makes of its observations."""

from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from data_modules.clip_data_module import ClipDataModule
from genie.errors import UserError
from genie.stages.frozen import DependentStage
from genie.world.protocol import World


class WorldStage(DependentStage):
    """Options: `world`, the run folder of a world, and `kind` of world, where it holds several (`open_world`);
    `feature_shape` of the world's features.

    The world stands outside the module tree: its weights are in its own checkpoints, of which this stage's keeps the
    fingerprint.
    """

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self._outside: dict[str, World] = {}
        if self.options["feature_shape"] is None:
            raise UserError("stage.feature_shape is not known: training takes it from stage.world")

    @property
    def world(self) -> World:
        """Known after `load_dependencies` or `use_world`."""
        return self._outside["world"]

    @classmethod
    def complete(cls, config: dict[str, Any], data: Callable[[], ClipDataModule]) -> None:
        if config["stage"]["feature_shape"] is None:
            config["stage"]["feature_shape"] = list(opened(config["stage"]).feature_shape)

    def load_dependencies(self) -> None:
        self.use_world(opened(self.options))

    def use_world(self, world: World) -> None:
        """Build on `world`. Raises UserError where this stage was not built for it."""
        given, now = tuple(self.options["feature_shape"]), tuple(world.feature_shape)
        if given != now:
            raise UserError(f"stage.world={self.options['world']} has features {now}, stage.feature_shape is {given}")
        size, shape = self.config["data"]["image_size"], tuple(world.observation_shape)
        if len(shape) == 3 and tuple(size) != shape[1:]:
            raise UserError(
                f"stage.world={self.options['world']} was trained on frames of {list(shape[1:])} and "
                f"data.image_size={size}: give data= of the world"
            )
        self._outside["world"] = world
        self.fingerprints["world"] = world.fingerprint()

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
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

    def example_forward(self, frames: Tensor) -> None:
        self.model.eval()(torch.zeros(*frames.shape[:2], *self.options["feature_shape"]))

    def observations(self, batch: dict[str, Tensor]) -> Tensor:
        """What the world observes [B, T, *O]: frames in [0, 1], or states."""
        return self.frames(batch) if "frames" in batch else batch["states"]

    @torch.no_grad()
    def features(self, batch: dict[str, Tensor]) -> Tensor:
        """The world's features [B, T, *F] of all states of true clips, under the recorded actions where it takes these;
        a world of latent actions reads its own from the frames, where they matter to it."""
        actions = batch["actions"][:, :-1] if self.world.takes_environment_actions else None
        return self.world.trace(self.observations(batch), actions)


def opened(options: dict[str, Any]) -> World:
    """The world that the options name. Raises UserError where there is none."""
    from genie.world.opening import open_world

    return open_world(options["world"], options["kind"])
