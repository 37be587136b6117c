"""Latent action model (stage 2, Genie §2.1): a code of what the past does not tell of a transition.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.common.random import Stream
from genie.metrics.actions import ActionAlignment, CodeUsage, ExplainedActions
from genie.metrics.metric_info import LOWER, MetricInfo
from genie.metrics.psnr import frame_psnr, update_frame_psnr
from genie.models import LatentActionModel, LatentActionOutput
from genie.models.latent_action import TokenActionOutput
from genie.stages.base import Stage
from genie.stages.dependent_stage import DependentStage
from genie.stages.losses import pixel_loss
from genie.stages.masking import generators

METRICS = (
    MetricInfo("val/position_nmi", "NMI with the position in the clip", "near 0: codes do not count frames",
               better=LOWER),
)  # fmt: skip


class TrainsLatentActions(DependentStage):
    """A stage that trains a latent action model `lam`. Options: those of `predict_next` and `latent_action_loss`."""

    lam: LatentActionModel

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        if self.lam.needs_tokenizer and self.lam.pooling == "surprise" and self.lam_options().get("moved") == "encoder":
            raise UserError(
                "model.lam.pooling=surprise and recipe.lam.moved=encoder move a map of pixels, and "
                "model.lam.input=tokens has none: leave one of the three out"
            )
        self.validation = LatentActionMetrics(self.lam.num_actions)

    def lam_options(self) -> dict:
        """The options of the latent action model."""
        return self.options

    def freeze(self, part: str, module: nn.Module) -> None:
        super().freeze(part, module)
        self.lam.use_tokenizer(module)

    def leaves_out_parameters(self, step: int) -> bool:
        return step < self.lam_options()["action_free_steps"]

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        self.validation.set_true_actions(info.num_actions, info.action_size)

    def start_from_background(self) -> None:
        self.lam.start_from(self.background)

    def lam_loss(self, batch: Clip) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Actions int64 [B, T-1], loss and metrics of the latent action model on a batch."""
        frames, options = self.frames(batch), self.lam_options()
        output, shown = predict_next(self, self.lam, frames, batch["seed"], options)
        if not self.training:
            self.validation.update(output, frames, self.background, batch.get("actions"))
        return output.actions, *latent_action_loss(output, shown, self.background, options)


class LatentActionStage(TrainsLatentActions):
    """Options: those of `TrainsLatentActions`."""

    @property
    def lam(self) -> LatentActionModel:
        return self.model

    @property
    def tokens_per_frame(self) -> int:
        return self.model.patches.num_patches

    @staticmethod
    def needs(config: dict) -> tuple[str, ...]:
        return ("tokenizer",) if config["model"]["lam"].get("input") == "tokens" else ()

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        return self.lam_loss(batch)[1:]

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.validation.compute())
        self.validation.reset()


def predict_next(
    stage: Stage, model: LatentActionModel, frames: Tensor, seeds: Tensor, options: dict
) -> tuple[LatentActionOutput, Tensor]:
    """The model's output on frames [B, T, C, H, W] in [0, 1], and the frames that it predicted.

    Options: `action_free_steps`: steps at the start in which the decoder learns what the past alone tells, so that only
    the rest is left for the code. `move_rows`, `move_columns`: in training, the one that `moved` names, "decoder" or
    "encoder", sees clips that are moved by up to so many pixels (`move_scene`). The other does not know by how much, so
    the meaning of a code cannot depend on where on the screen something happens.
    """
    seen, shown, relocate = frames, frames, None
    if stage.training and (options["move_rows"] or options["move_columns"]):
        move = partial(move_scene, seeds=seeds, rows=options["move_rows"], columns=options["move_columns"])
        moved = move(frames, stage.background)
        if options.get("moved", "decoder") == "encoder":
            seen, relocate = moved, lambda maps: move(maps, torch.zeros_like(maps[0, 0]))
        else:
            shown = moved
    return model(seen, stage.global_step >= options["action_free_steps"], shown, relocate), shown


def move_scene(frames: Tensor, background: Tensor, seeds: Tensor, rows: int = 0, columns: int = 0) -> Tensor:
    """Clips in which everything that differs from the background is moved, by one offset per clip.

    Args:
        frames: [B, T, C, H, W] in [0, 1].
        background: [C, H, W], not moved.
        seeds: int64 [B], the samples' seeds, each of which gives the offset of its clip.
        rows, columns: largest offset in pixels, to either side; what leaves at one edge comes in at the other.
    """
    height, width = frames.shape[-2:]
    offsets = [
        [int(torch.randint(-most, most + 1, (), generator=generator)) for most in (rows, columns)]
        for generator in generators(seeds, Stream.MOVED_SCENE)
    ]
    down, right = torch.tensor(offsets, device=frames.device).T[:, :, None]  # [B, 1] each
    y = (torch.arange(height, device=frames.device) - down) % height  # [B, H]: where a row comes from
    x = (torch.arange(width, device=frames.device) - right) % width
    clip = torch.arange(len(frames), device=frames.device)[:, None, None]
    moved = (frames - background)[clip, :, :, y[:, :, None], x[:, None, :]]  # [B, H, W, T, C]
    return background + moved.permute(0, 3, 4, 1, 2)


def latent_action_loss(
    output: LatentActionOutput, frames: Tensor, background: Tensor, options: dict
) -> tuple[Tensor, dict[str, Tensor]]:
    """Prediction loss on frames 1…T-1 plus the quantiser's, and where the model pools by surprise that of what it
    expects without codes.

    Options: `quantizer_weight`, and for models on pixels those of `pixel_loss`. Models on tokens predict tokens:
    cross-entropy in nats, with equal weights.
    """

    def prediction_loss(logits: Tensor) -> Tensor:
        if isinstance(output, TokenActionOutput):
            return F.cross_entropy(logits.flatten(0, 2), output.tokens[:, 1:].flatten())
        return pixel_loss(logits, frames[:, 1:], background, options, frames[:, :-1])

    prediction = prediction_loss(output.logits)
    metrics = {"prediction_loss": prediction.detach(), "quantizer_loss": output.quantizer_loss.detach()}
    loss = prediction + options["quantizer_weight"] * output.quantizer_loss
    if output.expected is not None:
        expected = prediction_loss(output.expected)
        metrics["expected_loss"] = expected.detach()
        loss = loss + expected
    return loss, metrics


class LatentActionMetrics(nn.Module):
    """Validation of latent actions: next-frame PSNR beside its baselines, code usage, agreement with true actions
    and, to detect codes that merely count frames, with the position in the clip."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.num_actions = num_actions
        self.psnr = frame_psnr("psnr", "psnr_copy_last", "psnr_background")
        self.usage = CodeUsage(num_actions)
        self.alignment: ActionAlignment | ExplainedActions | None = None
        self.position: ActionAlignment | None = None

    def set_true_actions(self, num_true: int | None, size: int | None = None) -> None:
        """How many true actions the data record, or how many numbers a continuous one has; None for neither."""
        self.alignment = None
        if num_true:
            self.alignment = ActionAlignment(self.num_actions, num_true)
        elif size:
            self.alignment = ExplainedActions(self.num_actions, size)

    def update(self, output: LatentActionOutput, frames: Tensor, background: Tensor, actions: Tensor | None) -> None:
        """frames [B, T, C, H, W] in [0, 1]; actions int64 [B, T] or float [B, T, A], or None."""
        update_frame_psnr(self.psnr, output.prediction, frames, background)
        self.usage.update(output.actions)
        if self.alignment is not None and actions is not None:
            self.alignment.update(output.actions, actions[:, :-1])
        length = output.actions.shape[1]
        if self.position is None:
            self.position = ActionAlignment(self.num_actions, length).to(frames.device)
        self.position.update(output.actions, output.actions.new_ones(output.actions.shape).cumsum(1) - 1)

    def compute(self) -> dict[str, Tensor]:
        """All metrics since the last reset, by log name."""
        values = dict(self.psnr.compute())
        values |= {f"codebook_{name}": value for name, value in self.usage.compute().items()}
        if self.alignment is not None:
            agreement, names = self.alignment.compute(), ("nmi", "accuracy", "explained")
            values |= {f"action_{name}": agreement[name] for name in names if name in agreement}
        if self.position is not None:
            values["position_nmi"] = self.position.compute()["nmi"]
        return values

    def reset(self) -> None:
        for metric in (self.psnr, self.usage, self.alignment, self.position):
            if metric is not None:
                metric.reset()
