"""Base class of the light simulators (`stage=simulator`), one stage instead of Genie's three.

Dimension letters: `B` batch, `T` observations, `F` features, `n` imagined steps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from data_modules.clip_data_module import ClipDataModule
from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.common.random import FrameNoise
from genie.distributed.strategy import SHARDED
from genie.metrics.metric_info import HIGHER, LOWER, MetricInfo
from genie.metrics.rewards import OutcomeMetrics
from genie.models.building import observed_by
from genie.stages.base import Additions, Stage
from genie.stages.losses import GROUP, JointObjective

NEEDED = {"reward": "rewards", "continues": "terminals"}  # terms, and the columns of the data that they take
OWNERS = ("reconstruction", "dynamics", *NEEDED)  # terms without which some parameters learn nothing


METRICS = (
    MetricInfo("val/imagined_psnr_{horizon:h[0-9]+|mean}", "PSNR of imagined frames, {horizon}", unit="dB",
               better=HIGHER),
    MetricInfo("val/imagined_rmse_{horizon:h[0-9]+|mean}", "error of imagined states, {horizon}",
               "root mean square, in standard deviations", better=LOWER),
    MetricInfo("val/reward_error", "mean absolute error of rewards", better=LOWER),
    MetricInfo("val/reward_recall", "rewards that are found", "nearer to the true one than to 0", unit="%",
               better=HIGHER),
    MetricInfo("val/continue_accuracy", "ends, or none, rightly predicted", unit="%", better=HIGHER),
)  # fmt: skip


class SimulatorStage(Stage):
    """Options: `horizon`, `context` (see `prompt_length`). Its model has `actions` (`ActionVectors`) and `outcomes`
    (`OutcomeHeads`)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if config["trainer"]["strategy"] == SHARDED:
            raise UserError("stage=simulator is too small to be sharded: use trainer=ddp instead of trainer=fsdp")
        self.simulator = config["simulator"]
        self.objective = JointObjective(self.simulator["objective"])
        self.outcome_metrics = OutcomeMetrics()

    # -- sizes ------------------------------------------------------------------------------------------------------

    @staticmethod
    def learns_recorded_actions(config: dict[str, Any]) -> bool:
        return True

    @classmethod
    def complete(cls, config: dict[str, Any], data: Callable[[], ClipDataModule]) -> tuple[Additions, None]:
        """`simulator.sizes`, of the data."""
        opened = data()
        info, columns = opened.info, opened.train_dataset.reader.columns
        observes = observed_by(config)
        if (info.background is None) != (observes == "states"):
            name = config["simulator"]["kind"]
            shown, other = ("frames", "rssm") if observes == "states" else ("states", "delta")
            raise UserError(
                f"simulator={name} learns from {observes}, and {opened.root} holds {shown}: take "
                f"simulator={other}, or other data"
            )
        if info.num_actions is None and info.action_size is None:
            raise UserError(f"{opened.root} records no actions, which stage=simulator needs")
        for term, column in NEEDED.items():
            if config["simulator"]["objective"][term] and column not in columns:
                raise UserError(f"{opened.root} records no {column}: give {GROUP}.{term}=0 to do without")
        sizes = {
            "num_actions": info.num_actions if info.action_size is None else None,
            "action_size": info.action_size,
            "state_size": len(info.state_mean) if observes == "states" else None,
        }
        return {"simulator": {"sizes": sizes}}, None

    # -- training ---------------------------------------------------------------------------------------------------

    def leaves_out_parameters(self, step: int) -> bool:
        return not all(self.objective.uses(term) for term in OWNERS if term in self.objective.weights)

    def noise(self, batch: Clip, number: int, size: int) -> Tensor:
        """[B, T, size] in [0, 1): draw `number` for each observation, a function of the samples' seeds alone."""
        seeds, length = batch["seed"], batch["actions"].shape[1]
        ages = seeds.new_ones(length).cumsum(0) - 1
        draws = FrameNoise(seeds.repeat_interleave(length), ages.repeat(len(seeds))).uniform(number, size)
        return draws.view(len(seeds), length, size)

    def starts(self, batch: Clip, horizon: int) -> Tensor:
        """int64 [B]: the observation from which each clip imagines `horizon` steps, drawn for each sample."""
        room = batch["actions"].shape[1] - horizon
        return (self.noise(batch, 2, 1)[:, 0, 0] * room).long().clamp_max(room - 1)

    def imagined_steps(self) -> int:
        """Steps that are imagined in training: `simulator.imagination_horizon`, at most a clip's."""
        return min(self.simulator["imagination_horizon"], self.config["data"]["num_frames"] - 1)

    def imagined_places(self, batch: Clip) -> tuple[Tensor, Tensor, Tensor]:
        """Indices int64 of the imagination of clips in training: its row [B, 1] of the batch, the observation [B, 1]
        that it starts from, and the observations [B, n] that it predicts."""
        steps = self.imagined_steps()
        at = self.starts(batch, steps)[:, None]
        rows = torch.arange(len(at), device=at.device)[:, None]
        return rows, at, at + torch.arange(1, steps + 1, device=at.device)

    @property
    def prompt_length(self) -> int:
        """Given observations of a validation clip: all but the last `horizon`, at least min(`context`, half a clip)."""
        length = self.config["data"]["num_frames"]
        return max(length - self.options["horizon"], min(self.options["context"], length // 2))

    # -- validation -------------------------------------------------------------------------------------------------

    def update_outcomes(self, batch: Clip, features: Tensor) -> None:
        """Compares the predictions of the heads, of features [B, T-1, F] of the states after actions, with the data."""
        known = {column: batch[column][:, :-1] for term, column in NEEDED.items() if self.objective.uses(term)}
        self.outcome_metrics.update(*self.model.outcomes.predict(features), **known)

    def log_horizons(self, name: str, curves: dict[str, Tensor]) -> None:
        """Logs metrics by horizon: `curves` [n] of the simulator ("") and of its references by name."""
        for reference, values in curves.items():
            head = f"val/{name}{reference and '_' + reference}"
            self.log_dict({f"{head}_h{step}": value for step, value in enumerate(values, 1)})
            self.log(f"{head}_mean", values.mean())

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.outcome_metrics.compute())
        self.outcome_metrics.reset()
