"""Base class of the training stages: configuration, optimiser, schedule, logging and FLOPs."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from data_modules.clip_data_module import ClipDataModule
from data_modules.clips import Clip
from genie.common.errors import UserError
from genie.common.ranks import mean_over_ranks
from genie.distributed.optim import build_optimizer, clip_by_norm
from genie.metrics.metric_info import LOWER, MetricInfo
from genie.models.building import build_models, observed_by, register_data_facts
from genie.models.initialization import initialize
from genie.stages.optimization import parameter_groups, schedule_factor

Additions = dict[str, dict[str, Any]]  # group of the configuration -> keys -> values


# losses of all stages, logged on training batches and held-out clips
METRICS = (
    MetricInfo("{split:train|val}/loss", "loss", better=LOWER),
    MetricInfo("{split:train|val}/{term}_loss[_weighted]", "{term} loss", "a term of the loss, without or with weight",
               better=LOWER),
)  # fmt: skip


class Stage(L.LightningModule):
    """One training stage with the models of its configuration (`genie.models.building`). A subclass defines `compute`.

    Every checkpoint holds the resolved configuration as plain containers, and a stage is rebuilt from it alone.
    """

    model: nn.Module
    observes: str  # what clips are made of: frames, or states

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters({"config": config})
        self.config = config
        self.options = config["stage"]
        self.step_metrics: list[dict[str, Tensor]] = []  # of the batches of the current step
        self.weights: dict[str, int] = {}  # of validation metrics that are not means over the clips of their batch
        if config["data"]["num_frames"] < 2:
            raise UserError(f"data.num_frames={config['data']['num_frames']}: a clip has at least 2 frames")
        self.observes = observed_by(config)
        register_data_facts(self, config)
        for name, model in build_models(config).items():
            self.add_module(name, model)

    # -- what a subclass defines ----------------------------------------------------------------------------------

    def compute(self, batch: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of a batch, in training and in validation, which has more metrics."""
        raise NotImplementedError

    def parts(self) -> dict[str, nn.Module]:
        """The trained parts by name, for the start-up report."""
        return {self.options["name"]: self.model}

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame in the transformer of this stage."""
        raise NotImplementedError

    @staticmethod
    def needs(config: dict[str, Any]) -> tuple[str, ...]:
        """The earlier stages whose checkpoints a stage of this configuration loads, in their order."""
        return ()

    @staticmethod
    def learns_recorded_actions(config: dict[str, Any]) -> bool:
        """Whether a stage of this configuration learns the effects of the recorded actions and needs their names."""
        return False

    @classmethod
    def complete(cls, config: dict[str, Any], data: Callable[[], ClipDataModule]) -> tuple[Additions, Any]:
        """What only the data, which `data()` opens, or earlier stages tell: it is added to the configuration before a
        stage of it is built for training. Second, what was opened of earlier stages, for `load_dependencies`.
        UserError for data or stages that it cannot learn from."""
        return {}, None

    def load_dependencies(self, opened: Any = None) -> None:
        """Loads earlier stages (`needs`), or takes what `complete` has `opened`; UserError for a missing checkpoint."""

    def may_have_changed(self) -> tuple[str, ...]:
        """The earlier parts with fingerprints that a resumed run takes as they are now."""
        return ("world",) if self.options.get("follow_world") else ()

    def leaves_out_parameters(self, step: int) -> bool:
        """Whether there are steps, from this one on, in which trained parameters get no gradient."""
        return False

    def check_clip_length(self) -> None:
        """UserError where clips are longer than a learned table of positions in time; rotary positions take any."""
        length = self.config["data"]["num_frames"]
        for part, module in self.named_modules():
            table = getattr(module, "temporal_positions", None)
            if isinstance(table, Tensor) and len(table) < length:
                raise UserError(
                    f"data.num_frames={length}: {part} has learned positions for {len(table)} frames; give fewer "
                    "frames, or start anew with temporal_positions=rotary or a larger max_frames"
                )

    # -- data -------------------------------------------------------------------------------------------------------

    def set_data(self, data: ClipDataModule) -> None:
        """Takes from the data what the model needs before the first step."""
        self.set_data_info(data.info)

    def set_data_info(self, info) -> None:
        """`set_data`, of a `data_modules.DataInfo`."""
        self.fps.fill_(info.fps)
        if self.observes == "frames":
            if info.background is None:
                raise UserError(f"stage={self.options['name']} learns from frames, and the data hold none")
            self.background.copy_(torch.as_tensor(info.background).float() / 255)
            self.start_from_background()

    def start_from_background(self) -> None:
        """Initialises with the background the outputs of models that start from a typical frame."""

    def initialize(self, write: Callable[[nn.Parameter, Tensor], object] = nn.Parameter.copy_) -> None:
        """Gives all parts the initial weights of the seed; `write` as in `genie.models.initialization`."""
        for part in self.parts().values():
            initialize(part, self.config["seed"], write)

    @staticmethod
    def frames(batch: Clip) -> Tensor:
        """The batch's frames [B, T, C, H, W] as floats in [0, 1]."""
        return batch["frames"].float() / 255

    # -- training and validation ------------------------------------------------------------------------------------

    def training_step(self, batch: Clip, batch_idx: int) -> Tensor:
        loss, metrics = self.compute(batch)
        self.step_metrics.append({name: value.detach() for name, value in {"loss": loss, **metrics}.items()})
        if not accumulating(self.trainer):
            batches, self.step_metrics = self.step_metrics, []
            values = batches[0]
            if len(batches) > 1:
                values = {name: torch.stack([batch[name] for batch in batches]).mean() for name in values}
            self.log_dict({f"train/{name}": value for name, value in mean_over_ranks(values).items()})
        return loss

    def validation_step(self, batch: Clip, batch_idx: int) -> None:
        loss, metrics = self.compute(batch)
        self.log_batch({"loss": loss, **metrics}, len(batch["seed"]))

    def log_batch(self, metrics: dict[str, Tensor], size: int) -> None:
        """Logs the metrics of a validation batch of `size` clips: their means over all batches and ranks count."""
        for name, value in metrics.items():
            weight = float(self.weights.get(name, size))  # of whole numbers, Lightning would round the mean over ranks
            self.log(f"val/{name}", value, batch_size=weight, sync_dist=True)

    def log_validation(self, metrics: dict[str, Any]) -> None:
        """Logs metrics of the whole validation by name."""
        self.log_dict({f"val/{name}": value for name, value in metrics.items()})

    def hints(self, metrics: dict[str, float]) -> list[str]:
        """Lines for the end of the training, from the last value of each metric: what to do about what went wrong."""
        return []

    def configure_optimizers(self) -> dict[str, Any]:
        settings = self.config["optimizer"]
        optimizer = build_optimizer(self.optimizer_groups(), settings["cpu_offload"], settings.get("fused"))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def optimizer_groups(self) -> list[dict[str, Any]]:
        """The groups of the optimiser, as the configuration has them; UserError for an invalid choice."""
        return parameter_groups(self.trained(), self.config)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run that no longer averages its weights resumes from the weights, not from their average."""
        if not self.config["ema"] and "current_model_state" in checkpoint:
            checkpoint["state_dict"] = checkpoint["current_model_state"]

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """On several processes by a norm that does not depend on how they share the gradients."""
        if isinstance(self.trainer.strategy, ParallelStrategy) and gradient_clip_algorithm in (None, "norm"):
            if gradient_clip_val:
                groups = optimizer.param_groups
                clip_by_norm((parameter for group in groups for parameter in group["params"]), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.log("train/learning_rate", optimizer.param_groups[0]["lr"])
        if "momentum" in optimizer.param_groups[-1]:
            self.log("train/muon_learning_rate", optimizer.param_groups[-1]["lr"])

    def on_train_start(self) -> None:
        """The optimiser's options are the configuration's, not those of the checkpoint that a run resumes from."""
        scheduler = self.trainer.lr_scheduler_configs[0].scheduler
        factor = self.learning_rate_factor()(scheduler.last_epoch)
        for group, wanted in zip(self.trainer.optimizers[0].param_groups, self.optimizer_groups(), strict=True):
            group |= {name: value for name, value in wanted.items() if name != "params"}
            group |= {"initial_lr": wanted["lr"], "lr": wanted["lr"] * factor}
        scheduler.base_lrs = [group["initial_lr"] for group in self.trainer.optimizers[0].param_groups]

    def learning_rate_factor(self) -> Callable[[int], float]:
        """The schedule of the configuration; UserError where it does not fit the run."""
        # Total steps come from the configuration: asking Lightning's estimate would drop the loader's state.
        schedule, largest = dict(self.config["schedule"]), self.config["optimizer"]["lr"]
        min_factor = schedule.pop("min_lr", 0.0) / largest
        return schedule_factor(max_steps=self.config["trainer"]["max_steps"], min_factor=min_factor, **schedule)

    def trained(self) -> nn.Module:
        """The module whose parameters the optimiser gets."""
        return self.model

    # -- FLOPs ------------------------------------------------------------------------------------------------------

    def example_flops(self) -> int:
        """Floating-point operations of one forward pass on one clip, counted on the meta device."""
        with torch.device("meta"):
            twin = type(self)(self.config)
            clip = twin.example_clip()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                twin.example_forward(clip)
        return counter.get_total_flops()

    def example_clip(self) -> Tensor:
        """An empty clip, as `example_forward` takes it."""
        return torch.empty(1, self.config["data"]["num_frames"], *self.background.shape)

    def example_forward(self, clip: Tensor) -> None:
        """One forward pass, for counting."""
        model = self.model.eval()
        getattr(model, "example_forward", model)(clip)


def accumulating(trainer: Trainer) -> bool:
    """Whether, at the end of a batch, its gradients wait for more batches, so that no step is finished."""
    return trainer.fit_loop._should_accumulate()
