"""The reward model of a run folder, where it has one that belongs to its world."""

import sys
from pathlib import Path

from genie.checkpoints import load_stage, stage_file
from genie.errors import UserError
from genie.models.reward import RewardModel
from genie.parallel.sharded_files import is_checkpoint

STAGE = "reward"


def load_reward(run: Path, world: str) -> RewardModel | None:
    """The reward model that was trained on the world of the fingerprint `world`; None where `run` has none.

    One that cannot be used does not keep a world from being played: a line on stderr says why it is left out.
    """
    path = stage_file(run, STAGE)
    if not is_checkpoint(path):
        return None
    try:
        stage = load_stage(path)
    except UserError as error:
        print(f"{run}: without rewards ({error})", file=sys.stderr, flush=True)
        return None
    if stage.fingerprints.get("world") != world:
        way = "train it again with `python -m genie.train stage=reward`"
        print(f"{run}: without rewards: {path} was trained on another world than this one; {way}", file=sys.stderr)
        return None
    return stage.model
