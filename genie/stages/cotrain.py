"""Latent action model and dynamics trained together (Genie §2.1), on the tokens of a frozen tokenizer.

The latent action model keeps its own loss; the dynamics gets its codes as integers, through which no gradient flows, so
the actions stay what makes frames predictable and never what makes tokens cheap.
"""

from torch import Tensor, nn
from torchmetrics import MeanMetric

from data_modules.clips import Clip
from genie.stages.dynamics import DynamicsStage
from genie.stages.lam import TrainsLatentActions

LOSSES = ("lam_loss", "dynamics_loss")  # the loss is their sum


class CotrainStage(TrainsLatentActions, DynamicsStage):
    """Options: `lam` (those of `LatentActionStage`) and those of `DynamicsStage`, with latent actions."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.validation_losses = nn.ModuleList(MeanMetric() for _ in LOSSES)

    def lam_options(self) -> dict:
        return self.options["lam"]

    def parts(self) -> dict[str, nn.Module]:
        return {"lam": self.lam, "dynamics": self.model}

    def trained(self) -> nn.Module:
        return nn.ModuleDict(self.parts())

    def example_forward(self, clip: Tensor) -> None:
        super().example_forward(clip)
        self.lam.eval().example_forward(clip)

    @staticmethod
    def needs(config: dict) -> tuple[str, ...]:
        return ("tokenizer",)

    def encode_once(self) -> None:
        """Nothing: the latent action model changes with every step."""

    def targets(self, batch: Clip) -> tuple[Tensor, Tensor]:
        frames = self.frames(batch)
        return self.frozen["tokenizer"].encode(frames), self.lam.encode(frames)

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        actions, lam_loss, lam_metrics = self.lam_loss(batch)
        tokens = self.frozen["tokenizer"].encode(self.frames(batch))
        loss, metrics = self.dynamics_loss(tokens, actions, batch)
        metrics |= {"dynamics_loss": loss.detach(), "lam_loss": lam_loss.detach(), **lam_metrics}
        return loss + lam_loss, metrics

    def log_batch(self, metrics: dict[str, Tensor], size: int) -> None:
        del metrics["loss"]  # a sum of means over clips and over tokens, which are known at the end
        for mean, name in zip(self.validation_losses, LOSSES, strict=True):
            mean.update(metrics[name], self.weights.get(name, size))
        super().log_batch(metrics, size)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("val/loss", sum(mean.compute() for mean in self.validation_losses))
        self.log_validation(self.validation.compute())
        for metric in (self.validation, *self.validation_losses):
            metric.reset()
