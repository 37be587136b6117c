"""A trained policy, ready to choose actions from the states of its world.

Dimension letters: `B` states, `A` numbers of an action.
"""

from pathlib import Path

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import row_seeds
from genie.runs.loading import WORLD, TrainedModel, load_model, stage_file
from genie.stages.actor_critic import action_noise
from genie.world.protocol import State, World

DECISION = 0  # of a state: the seed tells one decision from another


class Policy:
    """The networks of a `trained` policy in its world.

    Args:
        greedy: True: always the likeliest action; False: drawn as in training.
    """

    def __init__(self, trained: TrainedModel, world: World, greedy: bool = False) -> None:
        self.trained, self.world, self.greedy = trained, world, greedy
        trained.model.eval().requires_grad_(False).to(world.device)

    @property
    def gives_environment_actions(self) -> bool:
        """Whether the actions are those of the environment; else they are the latent ones of the world."""
        return self.world.takes_environment_actions or self.trained.config["policy"].get("actions") == "environment"

    @torch.no_grad()
    def choose(self, state: State, seed: int | Tensor = 0) -> Tensor:
        """Actions int64 [B] or float [B, A] for a state of B worlds.

        `seed` decides what is drawn: one number, from which each row has its own, or int64 [B].
        """
        distribution = self.trained.model["actor"](self.world.features(state))
        if self.greedy:
            return distribution.mode()
        seeds = row_seeds(seed, len(state), self.world.device)
        return distribution.sample(action_noise(seeds, DECISION, distribution.noise_size))

    @torch.no_grad()
    def value(self, state: State) -> Tensor | None:
        """The discounted return [B] that is still to come; None of a policy that learned none (cloning)."""
        if "critic" not in self.trained.model:
            return None
        return self.trained.model["critic"].value(self.world.features(state))


def load_policy(path: str | Path, world: World, greedy: bool = False) -> Policy:
    """The policy of a run folder (`outputs/<name>`), of its own folder, of a checkpoint or an exported file.

    Raises UserError where there is none, and where it was trained in another world than `world`.
    """
    file = policy_file(Path(path))
    trained = load_model(file)
    if trained.options["name"] != "policy":
        raise UserError(f"policy={file} is a trained {trained.options['name']}, not a policy")
    if trained.fingerprints.get(WORLD) != world.fingerprint():
        raise UserError(
            f"policy={file} was trained in another world than this one, or this one was trained further since: train "
            "stage=policy on it"
        )
    return Policy(trained, world, greedy)


def policy_file(path: Path) -> Path:
    """The file that `path` means (`load_policy`)."""
    if not path.is_dir():
        return path
    last = path / "checkpoints" / "last.ckpt"
    return last if last.exists() else stage_file(path, "policy")
