"""The loss of a training step on frames whose values nobody looks at: for counting what the step takes.

What depends on values is left out or taken at its largest: codes are not revived, clips are not moved, and every token
that may be masked is.
"""

import torch
from torch import Tensor

from genie.models import LatentActionModel
from genie.models.latent_action import TokenActionModel, TokenActionOutput
from genie.models.quantizers import VectorQuantizer
from genie.stages.base import Stage
from genie.stages.cotrain import CotrainStage
from genie.stages.dynamics import DynamicsStage, context_of
from genie.stages.lam import latent_action_loss


def example_loss(stage: Stage, frames: Tensor) -> Tensor:
    """The scalar loss of `stage` on frames uint8 [B, T, C, H, W], without the passes of frozen earlier stages."""
    stage.train()
    for module in stage.modules():
        if isinstance(module, VectorQuantizer):
            module.eval()  # what it does while training depends on values, and keeps nothing
    if isinstance(stage, CotrainStage):
        return _dynamics_loss(stage, frames) + _lam_loss(stage, stage.lam, frames, stage.options["lam"])
    if isinstance(stage, DynamicsStage):
        return _dynamics_loss(stage, frames)
    if isinstance(stage.model, LatentActionModel):
        return _lam_loss(stage, stage.model, frames, stage.options)
    return stage.compute({"frames": frames})[0]


def _lam_loss(stage: Stage, lam: LatentActionModel, frames: Tensor, options: dict) -> Tensor:
    if isinstance(lam, TokenActionModel):
        tokens = example_tokens(frames, lam.num_tokens)
        output = lam.explain(tokens, True, tokens)
        output = TokenActionOutput(output.logits, output.actions, output.quantizer_loss, tokens, None)
        return latent_action_loss(output, frames, stage.background, options)[0]
    shown = stage.frames({"frames": frames})
    return latent_action_loss(lam(shown), shown, stage.background, options)[0]


def _dynamics_loss(stage: DynamicsStage, frames: Tensor) -> Tensor:
    tokens = example_tokens(frames, stage.model.num_tokens)
    actions, options = tokens[:, 1:, 0], stage.options
    if context_of(options) == "clean":
        hidden, rate = stage.model.hidden_after(tokens, actions, tokens), 1.0
    else:
        hidden, rate = stage.model.hidden(tokens, actions), options["mask_rate"][1]
    most = round(tokens[:, 1:].numel() * rate)  # frame 0 is never masked
    masked = torch.zeros(most, dtype=torch.int64, device=frames.device)
    return stage.model.to_logits.score(hidden.flatten(0, 2)[masked], masked)[0].mean()


def example_tokens(frames: Tensor, size: int) -> Tensor:
    """Tokens int64 [B, T, size] of frames [B, T, C, H, W]: the first code, everywhere."""
    return torch.zeros(*frames.shape[:2], size, dtype=torch.int64, device=frames.device)
