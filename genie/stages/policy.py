"""Policy on the features of a trained world, learned in imagination or from recordings.

Dimension letters: `B` clips, `T` observations, `O` the shape of one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.runs.loading import load_trained_policy
from genie.stages.actor_critic import ActorCritic
from genie.stages.behavior_cloning import Cloning
from genie.stages.world_stage import WorldStage
from genie.world.protocol import World

# policy.name -> its objective: a module for the state that it keeps, whose `compute` is that of the stage
OBJECTIVES: dict[str, type[nn.Module]] = {
    "actor_critic": ActorCritic,
    "behaviour_cloning": Cloning,
    "latent_bc": Cloning,
}


class PolicyStage(WorldStage):
    """Options: those of `WorldStage`, with `num_actions` and `action_size` beside `feature_shape`, and `follow_world`;
    `policy`, a group beside them, has the networks' sizes, the options of its objective, and for an actor in
    imagination `actor`, a policy that it begins from."""

    tokens_per_frame = 1  # an observation is one map or vector of features

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.policy = config["policy"]
        self.objective = OBJECTIVES[self.policy["name"]](self.model, self.policy)

    @staticmethod
    def learns_recorded_actions(config: dict[str, Any]) -> bool:
        return config["policy"].get("actions") == "environment"

    @classmethod
    def describe(cls, config: dict[str, Any], world: World) -> dict[str, Any]:
        objective = OBJECTIVES[config["policy"]["name"]]
        objective.check(world, config["policy"])
        num_actions, action_size = objective.actions_of(world, config["policy"])
        return super().describe(config, world) | {"num_actions": num_actions, "action_size": action_size}

    def load_dependencies(self, opened: World | None = None) -> None:
        super().load_dependencies(opened)
        if path := self.policy.get("actor"):
            self.begin_from(path)

    def begin_from(self, path: str) -> None:
        """Takes the actor of a policy of the same world. UserError where there is none, or of another size."""
        trained = load_trained_policy(path, self.world.fingerprint(), "policy.actor")
        actor = trained.model["actor"].state_dict()
        ours = {name: value.shape for name, value in self.model["actor"].state_dict().items()}
        if {name: value.shape for name, value in actor.items()} != ours:
            raise UserError(
                f"policy.actor={path} has an actor of another size or of other actions: give policy.network of its "
                "training, and a policy of the world's own actions"
            )
        self.model["actor"].load_state_dict(actor)

    def use_world(self, world: World) -> None:
        super().use_world(world)
        self.objective.check(world, self.policy)
        self.objective.use_world(world)

    # -- the networks ---------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, nn.Module]:
        return dict(self.model.items())

    def initialize(self, write: Callable[[nn.Parameter, Tensor], object] = nn.Parameter.copy_) -> None:
        super().initialize(write)
        self.objective.begin(self.model)

    def example_forward(self, clip: Tensor) -> None:
        for part in self.model.values():
            part(clip)

    # -- learning -------------------------------------------------------------------------------------------------

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        known, ours = info.num_actions, self.options["num_actions"]
        if self.objective.learns_recorded_actions and ours is not None and known != ours:
            raise UserError(
                f"the data has {known or 'no'} recorded actions and the policy {ours}: "
                f"give {f'policy.num_actions={known}' if known else 'data with actions'}"
            )

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective.compute(self.model, self.world, self.observations(batch), batch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        self.objective.before_step(self.model)
