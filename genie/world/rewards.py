"""The rewards of a Genie world: the model of a run folder, where it has one that belongs to its world, and what it
says.

Dimension letters: `B` worlds, `F` the shape of features.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.models.heads import RewardModel
from genie.runs.loading import load_model, stage_file
from genie.runs.sharded_checkpoint import is_checkpoint

STAGE = "reward"


def load_reward(run: Path, world: str) -> RewardModel | None:
    """The reward model that was trained on the world of the fingerprint `world`; None where `run` has none.

    One that cannot be used does not keep a world from being played: a line on stderr says why it is left out.
    """
    path = stage_file(run, STAGE)
    if not is_checkpoint(path):
        return None
    try:
        trained = load_model(path)
    except UserError as error:
        print(f"{run}: without rewards ({error})", file=sys.stderr, flush=True)
        return None
    if trained.fingerprints.get("world") != world:
        way = "train it again with `python -m genie.train stage=reward`"
        print(f"{run}: without rewards: {path} was trained on another world than this one; {way}", file=sys.stderr)
        return None
    return trained.model


def outcome_of(model: RewardModel | None, features: Callable[[], Tensor], actions: Tensor) -> tuple[Tensor, Tensor]:
    """Reward and continuation float [B] of the step to the state of which `features` gives [B, *F]; without a model 0
    and 1. `actions` [B] led there: their number and their device count alone."""
    if model is None:
        return torch.zeros(len(actions), device=actions.device), torch.ones(len(actions), device=actions.device)
    judged = model(features())
    return judged.reward, judged.continues
