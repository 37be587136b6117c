"""Are rewards and ends right on held-out clips, in states that were really reached, and in imagined ones?

The figures are those of the validation of `stage=reward` (`genie.metrics.rewards`), for any world that knows rewards.

Dimension letters: `N` clips, `B` batch, `T` observations of a clip, `P` given ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from genie.evaluation.clips import Clips
from genie.evaluation.imagined import Foresight, stack_judged
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.subject import LeftOut
from genie.metrics.rewards import RewardMetrics
from genie.models.heads import Judged
from genie.world.protocol import World

# how many cases there are -> what the figures of them have in their names
CASES = {"positive_rewards": "positive", "negative_rewards": "negative", "terminals": "terminal"}


@dataclass(frozen=True)
class RewardSettings:
    """`clips`, how many there are at most; `discount` of the returns of segments."""

    clips: int
    discount: float


def require_rewards(world: World) -> None:
    """Raises LeftOut for a world that knows neither rewards nor ends."""
    if not (world.knows_rewards or world.knows_ends):
        raise LeftOut("the world knows no rewards: train them with `python -m genie.train stage=reward`")


def evaluate_reward(foresight: Foresight, clips: Clips, settings: RewardSettings) -> dict[str, dict]:
    """{"reached": …, "imagined": …}, each what `RewardMetrics` says, `segments`, and how many `positive_rewards`,
    `negative_rewards` and `terminals` there are: what there is no case of has no figures.

    reached: of the states on the way through `clips`, which reach the ends of their episodes. imagined: of those that
    the world imagines of the clips of `foresight`, beside what came when the same was done; left out where it cannot
    be told what was done.
    """
    world = foresight.world
    reached = RewardFigures(world, clips, settings.discount)
    for batch in clips.batches():
        reached.update(judge_reached(world, batch), batch, 0)
    figures = {"reached": reached.compute()}
    try:
        judged = foresight.imagined.judged
    except LeftOut:
        return figures
    imagined = RewardFigures(world, foresight.clips, settings.discount)
    imagined.update(judged, foresight.clips, foresight.prompt - 1)
    return {**figures, "imagined": imagined.compute()}


@torch.no_grad()
def judge_reached(world: World, clips: Clips) -> Judged:
    """What is said of the T - 1 steps of true clips, [B, T-1] each. The actions of a world of latent ones are not told:
    nothing that was seen depends on them."""
    seen = clips.observations.to(world.device)
    actions = actions_between(world, clips) if world.takes_environment_actions else _no_actions(seen)
    state, judged = world.reset(seen[:, :1]), []
    for observation, action in zip(seen[:, 1:].unbind(1), actions.unbind(1), strict=True):
        before, state = state, world.observe(state, observation, action)
        judged.append(world.judge(before, action, state))
    return stack_judged(judged)


def _no_actions(seen: Tensor) -> Tensor:
    return torch.zeros(len(seen), seen.shape[1] - 1, dtype=torch.int64, device=seen.device)


class RewardFigures:
    """`RewardMetrics` of what a world knows and the data record. Raises LeftOut where that is nothing."""

    def __init__(self, world: World, clips: Clips, discount: float) -> None:
        known = {"rewards": world.knows_rewards, "terminals": world.knows_ends}
        self.columns = [name for name, knows in known.items() if knows and getattr(clips, name) is not None]
        if not self.columns:
            raise LeftOut("the data record neither rewards nor ends")
        self.metrics = RewardMetrics(world.reward_kind or "state", discount)
        self.counts = {"segments": 0}

    def update(self, judged: Judged, clips: Clips, start: int) -> None:
        """What is `judged` of the steps of clips from number `start` on."""
        batch = {name: getattr(clips, name)[:, start:] for name in self.columns}  # the last is of no step that was seen
        self.metrics.update(judged, batch)
        found = {"segments": len(clips)}
        if "rewards" in batch:
            rewards = batch["rewards"][:, :-1]
            found |= {"positive_rewards": int((rewards > 0).sum()), "negative_rewards": int((rewards < 0).sum())}
        if "terminals" in batch:
            found["terminals"] = int(batch["terminals"][:, :-1].sum())
        self.counts = {name: self.counts.get(name, 0) + count for name, count in found.items()}

    def compute(self) -> dict[str, float | int]:
        """All figures but those of cases that there were none of."""
        figures = {name: float(value) for name, value in self.metrics.compute().items()} | self.counts
        none = [words for count, words in CASES.items() if not self.counts.get(count)]
        return {name: value for name, value in figures.items() if name in CASES or not any(w in name for w in none)}
