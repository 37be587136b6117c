"""Latent action model and dynamics trained together (Genie §2.1), on the tokens of a frozen tokenizer.

The latent action model keeps its own loss; the dynamics gets its codes as whole numbers, through which no gradient
flows, so the actions stay what makes frames predictable and never what makes tokens cheap.
"""

from torch import Tensor, nn
from torchmetrics import MeanMetric

from genie.stages.dynamics import DynamicsStage
from genie.stages.lam import LatentActionMetrics, check_options, latent_action_loss, predict_next

LOSSES = ("lam_loss", "dynamics_loss")  # the loss is their sum


class CotrainStage(DynamicsStage):
    """Options: `lam` (those of `LatentActionStage`) and those of `DynamicsStage`, with latent actions."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        check_options(self.options["lam"], "stage.lam.")
        self.validation = LatentActionMetrics(self.lam.num_actions)
        self.validation_losses = nn.ModuleList(MeanMetric() for _ in LOSSES)

    def parts(self) -> dict[str, nn.Module]:
        return {"lam": self.lam, "dynamics": self.model}

    def trained(self) -> nn.Module:
        return nn.ModuleDict(self.parts())

    def example_forward(self, frames: Tensor) -> None:
        super().example_forward(frames)
        self.lam.eval().example_forward(frames)

    @staticmethod
    def needs(config: dict) -> tuple[str, ...]:
        return ("tokenizer",)

    def freeze(self, part: str, module: nn.Module) -> None:
        super().freeze(part, module)
        self.lam.use_tokenizer(module)

    def leaves_out_parameters(self, step: int) -> bool:
        return step < self.options["lam"]["action_free_steps"]

    def set_data_info(self, info) -> None:
        super().set_data_info(info)
        self.validation.set_true_actions(info.num_actions)

    def start_from_background(self) -> None:
        self.lam.start_from(self.background)

    def encode_once(self) -> None:
        """Nothing: the latent action model changes with every step."""

    def targets(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        frames = self.frames(batch)
        return self.frozen["tokenizer"].encode(frames), self.lam.encode(frames)

    def compute(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        frames, options = self.frames(batch), self.options["lam"]
        output, shown = predict_next(self, self.lam, frames, batch["seed"], options)
        lam_loss, lam_metrics = latent_action_loss(output, shown, self.background, options)
        tokens = self.frozen["tokenizer"].encode(frames)
        loss, metrics = self.dynamics_loss(tokens, output.actions, batch)
        if not self.training:
            self.validation.update(output, frames, self.background, batch.get("actions"))
        metrics |= {"dynamics_loss": loss.detach(), "lam_loss": lam_loss.detach(), **lam_metrics}
        return loss + lam_loss, metrics

    def log_validation(self, figures: dict[str, Tensor], size: int) -> None:
        del figures["loss"]  # a sum of means over clips and over tokens: it is known in the end
        for mean, name in zip(self.validation_losses, LOSSES, strict=True):
            mean.update(figures[name], self.weights.get(name, size))
        super().log_validation(figures, size)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("val/loss", sum(mean.compute() for mean in self.validation_losses))
        self.log_dict({f"val/{name}": value for name, value in self.validation.compute().items()})
        for metric in (self.validation, *self.validation_losses):
            metric.reset()
