"""What to do in a trained world: a policy on its features, learned in imagination or from recordings.

Dimension letters: `B` clips, `T` observations, `O` the shape of one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from genie.errors import UserError
from genie.models.policy import Actor, Critic
from genie.parallel.checks import SHARDED
from genie.stages.base import Stage
from genie.stages.policy_actor_critic import ActorCritic
from genie.stages.policy_cloning import Cloning
from genie.world.protocol import World

# policy.name -> how it learns: a module for what it remembers, whose `compute` is that of the stage
OBJECTIVES: dict[str, type[nn.Module]] = {
    "actor_critic": ActorCritic,
    "behaviour_cloning": Cloning,
    "latent_bc": Cloning,
}
WORLD = "world"  # its part in the fingerprints


class PolicyStage(Stage):
    """Options: `world`, `kind` (as `open_world` takes them), `follow_world`; `policy`, a group beside them, has
    the networks' sizes and the options of its objective.

    The world stands outside the module tree: it has checkpoints of its own, of which this stage's keeps the
    fingerprint. What the networks need to know of it (`feature_shape`, `num_actions`, `action_size`) is written into
    the configuration, so that a checkpoint is read without it.
    """

    tokens_per_frame = 1  # an observation is one map or vector of features

    def __init__(self, config: dict[str, Any]) -> None:
        self.observes = "states" if config["data"]["image_size"] is None else "frames"
        super().__init__(config)
        self.policy = config["policy"]
        if self.policy["name"] not in OBJECTIVES:
            raise UserError(f"policy={self.policy['name']}: choose one of {', '.join(OBJECTIVES)}")
        self.frozen: dict[str, World] = {}
        self.fingerprints: dict[str, str] = {}
        self.model = nn.ModuleDict()
        self.objective: nn.Module | None = None
        if self.options["feature_shape"] is not None:
            self.build()

    # -- the world ------------------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        """The world that was taken (`use_world`)."""
        return self.frozen[WORLD]

    def load_dependencies(self) -> None:
        from genie.world.opening import open_world  # it opens worlds of all kinds, and they import stages

        if self.config["trainer"]["strategy"] == SHARDED:
            raise UserError("trainer=fsdp is for models that no device holds, and a policy is small: use trainer=ddp")
        self.use_world(open_world(self.options["world"], self.options["kind"]))

    def use_world(self, world: World) -> None:
        """Learn in this world: builds the networks for its features and actions, freshly initialised.

        Raises UserError for a world that lacks what the objective needs.
        """
        size, shape = self.config["data"]["image_size"], tuple(world.observation_shape)
        if (size is None) != (len(shape) == 1) or size is not None and tuple(size) != shape[1:]:
            raise UserError(
                f"stage.world={self.options['world']} observes {list(shape)} and data.image_size={size}: give data= of "
                "the world"
            )
        OBJECTIVES[self.policy["name"]].check(world, self.policy)
        self.frozen[WORLD] = world
        self.fingerprints[WORLD] = world.fingerprint()
        num_actions, action_size = OBJECTIVES[self.policy["name"]].actions_of(world, self.policy)
        self.options |= {
            "feature_shape": list(world.feature_shape),
            "num_actions": num_actions,
            "action_size": action_size,
        }
        self.build()
        self.initialize()

    def on_fit_start(self) -> None:
        self.world.to(self.device)

    on_validation_start = on_fit_start

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["fingerprints"] = dict(self.fingerprints)

    # -- the networks ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """The networks for the features and actions that the configuration names."""
        shape, sizes = tuple(self.options["feature_shape"]), self.policy["network"]
        actions = {name: self.options[name] for name in ("num_actions", "action_size")}
        self.model = nn.ModuleDict({"actor": Actor(shape, **actions, **sizes)})
        kind = OBJECTIVES[self.policy["name"]]
        if kind.has_critic:
            self.model["critic"] = Critic(shape, **sizes)
        self.objective = kind(self.model, self.policy)

    def parts(self) -> dict[str, nn.Module]:
        return dict(self.model.items())

    def initialize(self, write: Callable[[nn.Parameter, Tensor], object] = nn.Parameter.copy_) -> None:
        super().initialize(write)
        if self.objective is not None:
            self.objective.begin(self.model)

    def example_clip(self) -> Tensor:
        return torch.empty(1, self.config["data"]["num_frames"], *self.options["feature_shape"])

    def example_forward(self, features: Tensor) -> None:
        for part in self.model.values():
            part(features)

    # -- learning -------------------------------------------------------------------------------------------------

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        known, ours = info.num_actions, self.options["num_actions"]
        if self.objective.learns_recorded_actions and ours is not None and known != ours:
            raise UserError(
                f"the data has {known or 'no'} recorded actions and the policy {ours}: "
                f"give {f'policy.num_actions={known}' if known else 'data with actions'}"
            )

    def compute(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective.compute(self.model, self.world, self.observations(batch), batch)

    def observations(self, batch: dict[str, Tensor]) -> Tensor:
        """What the world observes of a batch, [B, T, *O]: its states, or its frames in [0, 1]."""
        return batch["states"] if self.observes == "states" else self.frames(batch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        self.objective.before_step(self.model)
