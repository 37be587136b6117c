"""Environments, world and agent that the configuration of a play names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from torch import Tensor

from data_modules.held_out_clips import load_clips
from genie.agents.agents import (
    ActionTranslation,
    Agent,
    PlanningAgent,
    Policy,
    RandomAgent,
    WorldAgent,
    load_policy,
)
from genie.common.errors import UserError
from genie.common.settings.commands import ActConfig
from genie.planning.optimizers import build_planner
from genie.planning.plots import shows_frames
from genie.world.protocol import World
from genie.world.sampler_choice import with_overrides

if TYPE_CHECKING:
    from data_modules.environments import Environment


@dataclass(frozen=True)
class Setup:
    """The parts of a play; `environments`: as many as are played at once. `levels`: of a recording whose seeds are
    numbers of levels, the first one and the number of each split."""

    world: World
    agent: Agent
    environments: "list[Environment]"
    action_map: ActionTranslation | None
    levels: dict[str, list[int]] | None

    @property
    def repeat(self) -> int:
        """Steps of the environment from one frame of the world to the next."""
        return self.world.config["data"].get("stride", 1)

    def close(self) -> None:
        for environment in self.environments:
            environment.close()


def open_stage(config: ActConfig, device: torch.device, count: int) -> Setup:
    """Opens all parts, with `count` environments. Raises UserError for parts that do not fit each other."""
    from genie.world.opening import open_world

    world = open_world(config.run, config.world).to(device)
    if hasattr(world, "sampler"):
        world.sampler = with_overrides(world.sampler, config)
    _, settings = environment_of(world, config.data_root)
    environments = open_environments(world, settings, count, config.env.id)
    space = environments[0].action_space
    own = world.takes_environment_actions
    if own and _describe(world.action_space) != _describe(space):
        raise UserError(
            f"the world takes {_describe(world.action_space)} and the environment {_describe(space)}: play the "
            "environment that it was trained on, or train it on this one"
        )
    if config.agent == "random":
        return Setup(world, RandomAgent(space), environments, None, settings.get("levels"))
    labels = config.act.labels, "val", config.data_root, config.seed, "act.labels"
    path = config.act.policy
    policy = None if path is None else load_policy(path, world)
    action_map = translation(world, policy if config.planner is None else None, *labels)
    if config.planner is None:
        agent = WorldAgent(world, policy.choose, action_map)
    else:
        planner = build_planner(config.planner, world, None if policy is None else policy.value)
        agent = PlanningAgent(world, planner, action_map)
    return Setup(world, agent, environments, action_map, settings.get("levels"))


def environment_of(world: World, root: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The group `data` that a world was trained with, whose folder may have moved to `root`, and the settings of its
    environment. Raises UserError where the data name none."""
    from data_modules.environments.opening import environment_settings

    data = world.config["data"] | ({"root": root} if root else {})
    settings = environment_settings(data)
    if settings is None:
        raise UserError(
            f"the data {data['name']} of this world name no environment to play: give a world of recorded data, or "
            "data_root=, where they are"
        )
    return data, settings


def open_environments(
    world: World, settings: dict[str, Any], count: int, env_id: str | None = None
) -> "list[Environment]":
    """`count` environments of `settings` (`environment_of`), or of another id with the same actions."""
    from data_modules.environments import open_environment

    image_size = tuple(world.observation_shape[1:]) if shows_frames(world) else None
    environments = [open_environment(settings, image_size, env_id) for _ in range(count)]
    names = (world.config["data"].get("actions") or {}).get("names")
    theirs = environments[0].action_meanings if names else []
    if names and list(names) != theirs and sorted(names) == sorted(theirs):
        raise UserError(
            f"the world knows its actions as data.actions.names={list(names)}, the environment as {theirs}: give "
            "data.recorder.action_names (and actions) in the same order when training, or leave data.actions.names out"
        )
    return environments


def _describe(space: spaces.Space) -> str:
    return f"{space.n} actions" if isinstance(space, spaces.Discrete) else f"{space.shape[0]} numbers"


def translation(
    world: World, policy: Policy | None, labels: int, split: str, root: str | None, seed: int, key: str
) -> ActionTranslation | None:
    """What translates between the actions of an agent and the environment's: None in a world that takes the latter, and
    otherwise a table of the true action of each latent one, from `labels` labelled transitions of a `split` of the
    recorded data, which `seed` draws; errors name `key` as the option of `labels`.

    policy: the agent's; None: its actions are the world's.
    """
    if world.takes_environment_actions:
        return None
    from genie.world.action_map import fit_action_map

    data = world.config["data"]
    length = data["num_frames"]  # of the clips that the latent action model was trained on: one label fewer
    clips = load_clips(data, root, split, -(-labels // (length - 1)), length, 1)
    action_map = fit_action_map(world, clips.source, labels, seed, key)
    return ActionAdapter(action_map) if policy is not None and policy.gives_environment_actions else action_map


@dataclass(frozen=True)
class ActionAdapter:
    """Translation for a policy of true actions in a world of latent ones: only observed actions are translated."""

    action_map: ActionTranslation

    def to_true(self, actions: Tensor) -> Tensor:
        return actions

    def to_latent(self, true: Tensor) -> Tensor:
        return self.action_map.to_latent(true)
