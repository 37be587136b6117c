"""Stage 3: the dynamics model (Genie §2.1): guess masked tokens from the past, the visible tokens and the actions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.errors import UserError
from genie.models import DynamicsModel
from genie.models.patches import Patches
from genie.stages.base import build_part
from genie.stages.frozen import DependentStage
from genie.stages.masking import expected_masked, mask_tokens

ACTION_SOURCES = ("latent", "environment")


class DynamicsStage(DependentStage):
    """Options: `actions` latent | environment, and those of `dynamics_loss`."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        if self.options["actions"] not in ACTION_SOURCES:
            raise UserError(f"stage.actions={self.options['actions']!r}: choose one of {', '.join(ACTION_SOURCES)}")
        self.model = build_dynamics(config)

    @property
    def tokens_per_frame(self) -> int:
        return self.model.num_tokens

    def example_forward(self, frames: Tensor) -> None:
        tokens = torch.zeros(*frames.shape[:2], self.model.num_tokens, dtype=torch.int64)
        self.model.hidden(tokens, tokens[:, 1:, 0])

    # -- what earlier stages trained ------------------------------------------------------------------------------

    @staticmethod
    def needs(config: dict) -> tuple[str, ...]:
        return ("tokenizer", "lam") if config["stage"]["actions"] == "latent" else ("tokenizer",)

    @staticmethod
    def learns_recorded_actions(config: dict) -> bool:
        return config["stage"].get("actions") == "environment"

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        if self.options["actions"] == "environment" and info.num_actions != self.model.num_actions:
            remedy = f"model.dynamics.num_actions={info.num_actions}" if info.num_actions else "stage.actions=latent"
            raise UserError(
                f"the data has {info.num_actions or 'no'} true actions and the model takes {self.model.num_actions}: "
                f"give {remedy}"
            )

    # -- loss -----------------------------------------------------------------------------------------------------

    def targets(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """tokens int64 [B, T, S] and actions int64 [B, T-1] of a batch."""
        frames = self.frames(batch)
        tokens = self.frozen["tokenizer"].encode(frames)
        latent = self.options["actions"] == "latent"
        return tokens, self.frozen["lam"].encode(frames) if latent else batch["actions"][:, :-1]

    def compute(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, actions = self.targets(batch)
        return self.dynamics_loss(tokens, actions, batch["seed"])

    def dynamics_loss(self, tokens: Tensor, actions: Tensor, seeds: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`dynamics_loss` of the model, in validation with the figures that need no masks."""
        loss, metrics = dynamics_loss(self.model, tokens, actions, seeds, self.options)
        if not self.training:
            self.weights = dict.fromkeys(("loss", "dynamics_loss", "masked_accuracy"), int(metrics.pop("num_masked")))
            metrics["teacher_forced_accuracy"] = teacher_forced_accuracy(self.model, tokens, actions)
            metrics["teacher_forced_accuracy_copy_last"] = (tokens[:, -1] == tokens[:, -2]).float().mean()
        return loss, metrics


def build_dynamics(config: dict) -> DynamicsModel:
    """The dynamics model of a configuration, its vocabulary and grid taken from the tokenizer's options."""
    model = config["model"]
    patches = Patches(tuple(model["image_size"]), model["tokenizer"]["patch_size"])
    options = dict(model["dynamics"])
    return build_part(DynamicsModel, "dynamics", options, grid=patches.grid, num_codes=model["tokenizer"]["num_codes"])


def dynamics_loss(
    model: DynamicsModel, tokens: Tensor, actions: Tensor, seeds: Tensor, options: dict
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy (nats, fp32) on the masked tokens, and its accuracy.

    In training it is the sum over the masked tokens, divided by how many the batch is expected to have. Batches differ
    in how many they have: the mean of each would weigh a token by the company it has, so that the mean over the ranks,
    or over the batches of a step, would be another one than that of their samples taken together. The expected number
    is the same for all, so it is that one, and an unbiased estimate of the loss of a token. In validation it is the
    mean over the masked tokens, `num_masked` of them, which is its weight.

    Options: `mask_rate`, `clean_prefix`, `corruption` (see `mask_tokens`).
    """
    rates, clean_prefix = tuple(options["mask_rate"]), options["clean_prefix"]
    masked = mask_tokens(tokens, seeds, model.num_codes, rates, clean_prefix, options["corruption"])
    logits = model(masked.inputs, actions, masked.mask)  # [M, K]
    target = tokens[masked.mask]
    metrics = {"masked_accuracy": (logits.argmax(-1) == target).float().mean()}
    if not model.training:
        return F.cross_entropy(logits, target), metrics | {"num_masked": masked.mask.sum()}
    expected = len(tokens) * expected_masked(*tokens.shape[1:], rates, clean_prefix)
    return F.cross_entropy(logits, target, reduction="sum") / expected, metrics


@torch.no_grad()
def teacher_forced_accuracy(model: DynamicsModel, tokens: Tensor, actions: Tensor) -> Tensor:
    """Share of the last frame's tokens that one pass gets right when all earlier frames are the true ones.

    This is the temporally teacher-forced setting with a single sampling step.
    """
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, -1] = True
    logits = model(tokens, actions, mask)
    return (logits.argmax(-1) == tokens[:, -1].flatten()).float().mean()
