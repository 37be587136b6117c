"""Ensemble of models (`simulator=delta`) of the changes of states, with their rewards and ends.

Dimension letters: `B` batch, `T` states, `n` numbers of a state, `h` imagined steps, `M` members, `A` action vector.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_modules.clip_data_module import ClipDataModule
from data_modules.clips import Clip
from genie.common.device import full_precision
from genie.metrics.rewards import StateErrors
from genie.models.delta import Prediction
from genie.stages.simulator import SimulatorStage

FACT_CLIPS = 1024  # training clips from which range and usual change of the states are taken


class DeltaStage(SimulatorStage):
    """Further options in `simulator`: `constraints.margin` (see `DeltaModel.violation`)."""

    tokens_per_frame = 1

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.errors = StateErrors(config["data"]["num_frames"] - self.prompt_length)

    def example_clip(self) -> Tensor:
        return torch.empty(1, self.config["data"]["num_frames"], self.model.state_size)

    def set_data(self, data: ClipDataModule) -> None:
        super().set_data(data)
        info, clips = data.info, data.train_dataset
        count = min(FACT_CLIPS, len(clips))
        states = np.stack([clips[index * len(clips) // count]["states"] for index in range(count)])  # [N, T, n]
        self.model.start_from(
            mean=info.state_mean,
            std=info.state_std,
            change=np.sqrt(np.square(np.diff(states, axis=1)).mean((0, 1))),
            low=states.min((0, 1)),
            high=states.max((0, 1)),
        )

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        with full_precision(batch["states"]):  # a difference of two states has few digits left in bf16
            return self._compute(batch, batch["states"].float())

    def _compute(self, batch: Clip, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        model = self.model
        actions = model.actions(batch["actions"][:, :-1])
        prediction = model.predict(states[:, :-1].flatten(0, 1), actions.flatten(0, 1))
        loss, metrics = self.objective(self.terms(batch, states, actions, prediction))
        metrics["disagreement"] = prediction.delta.detach().std(0, correction=0).mean()
        if not self.training:
            self.update_outcomes(batch, model.outcome_features(states[:, :-1], actions, states[:, 1:]))
            given = self.prompt_length
            imagined = self._unroll(states[:, given - 1], actions[:, given - 1 :]).mean(0)
            compared = (imagined, states[:, given - 1], states[:, given:])
            self.errors.update(*(model.normalized(part) for part in compared))
        return loss, metrics

    def terms(
        self, batch: Clip, states: Tensor, actions: Tensor, prediction: Prediction
    ) -> dict[str, Callable[[], Tensor]]:
        """The terms of the objective, of states [B, T, n] and the action vectors [B, T-1, A] between them."""
        model = self.model
        before, after = (part.flatten(0, 1) for part in (states[:, :-1], states[:, 1:]))

        @cache
        def outcome_features() -> Tensor:
            return model.outcome_features(states[:, :-1], actions, states[:, 1:])

        def imagination() -> Tensor:
            rows, at, following = self.imagined_places(batch)
            imagined = self._unroll(states[rows, at][:, 0], actions[rows, following - 1])
            return ((imagined - states[rows, following]) / model.change).square().mean() / 2

        def constraint() -> Tensor:
            following = model.following(before, prediction.delta)
            return model.violation(following, self.simulator["constraints"]["margin"])

        return {
            "dynamics": lambda: prediction.loss(model.target(before, after)),
            "reward": lambda: model.outcomes.reward_loss(outcome_features(), batch["rewards"][:, :-1]),
            "continues": lambda: model.outcomes.continue_loss(outcome_features(), batch["terminals"][:, :-1]),
            "imagination": imagination,
            "smoothness": lambda: prediction.delta.unflatten(1, actions.shape[:2]).diff(dim=2).square().mean(),
            "constraint": constraint,
        }

    def _unroll(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states [M, B, h, n] that each member predicts from `states` [B, n] and action vectors [B, h, A]."""
        model, imagined = self.model, []
        for vectors in actions.unbind(1):
            states = model.settled(model.following(states, model.predict(states, vectors).delta))
            imagined.append(states)
        return torch.stack(imagined, 2)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log_horizons("imagined_rmse", self.errors.compute())
        self.errors.reset()
