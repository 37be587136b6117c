"""Predicted rewards and ends: their accuracy in states that were really reached, and in imagined ones.

The metrics are those of the validation of `stage=reward` (`genie.metrics.rewards`), for any world that knows rewards.

Dimension letters: `B` batch, `T` observations of a clip.
"""

from typing import Any

import torch

from data_modules.held_out_clips import Clips
from genie.common.settings.evaluation import RewardClips
from genie.evaluation.imagination import ImaginedClips, stack_judged
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.part import Evaluation, Part, Row, number, percent
from genie.evaluation.trained_run import LeftOut
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.metrics.rewards import RewardMetrics
from genie.models.heads import Judged
from genie.world.protocol import World

# number of cases -> word in the names of the metrics of these cases
CASES = {"positive_rewards": "positive", "negative_rewards": "negative", "terminals": "terminal"}


def evaluate_reward(imagined: ImaginedClips, clips: Clips, settings: RewardClips) -> dict[str, dict]:
    """{"reached": …, "imagined": …}, each with the values of `RewardMetrics`, the number of `segments`, and the numbers
    of `positive_rewards`, `negative_rewards` and `terminals`; without any case there is no metric of these cases.

    reached: of the states on the way through `clips`, which reach the ends of their episodes. imagined: of those that
    the world imagines under the true actions of the clips of `imagined`; missing where these are unknown.
    """
    world = imagined.world
    reached = RewardFigures(world, clips, settings.discount)
    for batch in clips.batches():
        reached.update(judge_reached(world, batch), batch, 0)
    figures = {"reached": reached.compute()}
    try:
        judged = imagined.steps.judged
    except LeftOut:
        return figures
    of_imagined = RewardFigures(world, imagined.clips, settings.discount)
    of_imagined.update(judged, imagined.clips, imagined.prompt - 1)
    return {**figures, "imagined": of_imagined.compute()}


@torch.no_grad()
def judge_reached(world: World, clips: Clips) -> Judged:
    """Predicted rewards and ends of the T - 1 steps of true clips, [B, T-1] each. Latent actions are given as zeros:
    no observed state depends on them."""
    seen = clips.observations.to(world.device)
    if world.takes_environment_actions:
        actions = actions_between(world, clips)
    else:
        actions = torch.zeros(len(seen), seen.shape[1] - 1, dtype=torch.int64, device=seen.device)
    state, judged = world.reset(seen[:, :1]), []
    for observation, action in zip(seen[:, 1:].unbind(1), actions.unbind(1), strict=True):
        before, state = state, world.observe(state, observation, action)
        judged.append(world.judge(before, action, state))
    return stack_judged(judged)


class RewardFigures:
    """`RewardMetrics` of what the world knows and the data record. Raises LeftOut where that is nothing."""

    def __init__(self, world: World, clips: Clips, discount: float) -> None:
        known = {"rewards": world.knows_rewards, "terminals": world.knows_ends}
        self.columns = [name for name, knows in known.items() if knows and getattr(clips, name) is not None]
        if not self.columns:
            raise LeftOut("the data record neither rewards nor ends")
        self.metrics = RewardMetrics(world.reward_kind or "state", discount)
        self.counts = {"segments": 0}

    def update(self, judged: Judged, clips: Clips, start: int) -> None:
        """Predictions `judged` of the steps of clips from number `start` on."""
        batch = {name: getattr(clips, name)[:, start:] for name in self.columns}  # the last step leads nowhere
        self.metrics.update(judged, batch)
        found = {"segments": len(clips)}
        if "rewards" in batch:
            rewards = batch["rewards"][:, :-1]
            found |= {"positive_rewards": int((rewards > 0).sum()), "negative_rewards": int((rewards < 0).sum())}
        if "terminals" in batch:
            found["terminals"] = int(batch["terminals"][:, :-1].sum())
        self.counts = {name: self.counts.get(name, 0) + count for name, count in found.items()}

    def compute(self) -> dict[str, float | int]:
        """All metrics but those of cases that never occurred."""
        figures = {name: float(value) for name, value in self.metrics.compute().items()} | self.counts
        none = [words for count, words in CASES.items() if not self.counts.get(count)]
        return {name: value for name, value in figures.items() if name in CASES or not any(w in name for w in none)}


DEFINITION = Definition(
    "reward", "Rewards and ends", "Rewards and ends",
    "What the world says of steps, beside what the data record: in states that were really reached, and in those "
    "that it imagines when the same is done. Rewards that are not 0 are rare, so the share that is found (by the "
    "likeliest sign) and the share of what was found that is one count. Of segments: the correlation of predicted "
    "and true returns, and how often the better one of two is told.",
)  # fmt: skip


def _metric(name: str, label: str, says: str = "", logged: bool = True, **more: Any) -> MetricInfo:
    """Of each kind of states; training logs the same of the states of the validation."""
    path, logged = f"reward.{{states}}.{name}", f"val/{name}" if logged else ""
    return MetricInfo(path, f"{label}, {{states}} states", says, DEFINITION, logged=logged, **more)


METRICS = (
    _metric("reward_mse", "squared error of rewards", digits=4, better=LOWER,
            beside={"reward_mse_always_zero": "of always 0", "reward_mse_always_mean": "of always their mean"}),
    MetricInfo("reward.{states}.reward_mse_always_{constant}", "squared error of a constant", "", DEFINITION,
               digits=4),
    _metric("reward_mean", "mean reward", digits=4, beside={"reward_mean_true": "of the true ones"}),
    _metric("reward_mean_true", "mean true reward", digits=4),
    *(
        _metric(f"recall_{sign}", f"rewards {side} 0 that are found", "by the likeliest sign", unit="%", digits=1,
                better=HIGHER,
                beside={f"precision_{sign}": "of the found ones, right", f"{sign}_rewards": "how many there were"})
        for sign, side in (("positive", "above"), ("negative", "below"))
    ),
    _metric("terminal_recall", "ends that are foreseen", unit="%", digits=1, better=HIGHER,
            beside={"terminal_precision": "of the found ones, right", "terminals": "how many there were"}),
    _metric("precision_{sign}", "precision", unit="%", digits=1, better=HIGHER),
    _metric("terminal_precision", "precision", unit="%", digits=1, better=HIGHER),
    _metric("{which:positive|terminal}_calibration_error", "calibration error, {which}",
            "of the probability, in 15 bins", digits=3, better=LOWER),
    _metric("return_{kind:pearson|spearman}_correlation", "returns of segments, {kind}",
            "correlation of predicted with true ones", digits=3, better=HIGHER),
    _metric("preference_accuracy", "pairs of segments in the right order", "a coin: 50%", unit="%", digits=1,
            better=HIGHER),
    _metric("{count:segments|terminals|positive_rewards|negative_rewards}", "{count}", "how many", logged=False,
            digits=0),
)  # fmt: skip


def _rows(report: dict) -> list[Row]:
    rows = []
    for states, figures in report.get("reward", {}).items():
        if "reward_mse" in figures:
            trivial = (f"always {name} {number(figures[f'reward_mse_always_{name}'], 4)}" for name in ("zero", "mean"))
            rows.append((f"reward MSE, {states}", number(figures["reward_mse"], 4), "", "", ", ".join(trivial)))
        for what, recall, precision, count in (
            ("rewards > 0", "recall_positive", "precision_positive", "positive_rewards"),
            ("rewards < 0", "recall_negative", "precision_negative", "negative_rewards"),
            ("ends", "terminal_recall", "terminal_precision", "terminals"),
        ):
            if recall in figures:
                share = figures.get(precision)
                note = "precision not measured: none is predicted" if share is None else f"precision {percent(share)}"
                note = f"{note}, of {figures[count]}"
                rows.append((f"{what} found, {states}", percent(figures[recall]), "", "", note))
            elif figures.get(count) == 0:
                rows.append((f"{what} found, {states}", "", "", "", "not measured: the clips hold none"))
        if "return_pearson_correlation" in figures:
            order = figures.get("preference_accuracy")
            note = f"pairs in the right order {'not measured' if order is None else percent(order)}"
            value = number(figures["return_pearson_correlation"], 3)
            rows.append((f"returns agree, {states}", value, "", "", note))
    return rows


def _measure(evaluation: Evaluation) -> dict:
    """On clips as long as those of the training, which reach the ends of their episodes."""
    data, settings = evaluation.run.world_data_config, evaluation.config.reward
    clips = evaluation.held_out(data, settings.clips, data["num_frames"], tails=True)
    return {"reward": evaluate_reward(evaluation.imagined, clips, settings)}


REWARD = Part(
    "reward",
    _measure,
    needs=("rewards",),
    metrics=METRICS,
    titles={"reward": "Rewards and ends"},
    rows=_rows,
    optional={"reward.imagined": "it is not known what was done in the clips"},
)
