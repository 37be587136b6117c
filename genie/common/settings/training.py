"""Keys of a training: the stage, its objective, the trainer, the optimizer, the callbacks. conf/ explains them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from genie.common.settings.data import Data
from genie.common.settings.kinds import (
    LEFT_OUT,
    Count,
    Decay,
    Flag,
    FromZero,
    Moved,
    Name,
    NotNegative,
    Place,
    Positive,
    Range,
    Rate,
    Reconstruction,
    Seed,
    Settings,
    Share,
    SomeShare,
    Text,
    Weighting,
    Word,
    WorldKind,
    invalid,
)
from genie.common.settings.model import Model, Recipes
from genie.common.settings.objectives import Policy, Reward, Simulator
from genie.common.settings.world import Sampled, SamplerValues

Nodes = Annotated[int | str, BeforeValidator(Range(1, words=("auto",)))]


def _devices(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(one, int) and one >= 0 for one in value):
        return value
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value == 0 or value < -1):
        raise invalid("must be a number of devices, a list of their numbers, or auto")
    return value


Devices = Annotated[Any, BeforeValidator(_devices)]


class Trainer(Settings):
    accelerator: Word
    devices: Devices
    num_nodes: Nodes
    strategy: Word
    precision: Word
    matmul_precision: Literal["highest", "high", "medium"]
    max_steps: Count
    accumulate: Count
    gradient_clip_val: NotNegative | None
    val_check_interval: Count
    limit_val_batches: NotNegative
    log_every_n_steps: Count
    detect_anomaly: Flag
    on_nan: Literal["stop", "skip", "rollback"]
    activation_checkpointing: Flag
    gather_precision: Literal["bf16", None]
    sharded_checkpoints: Flag


class Optimizer(Settings):
    name: Literal["adamw", "muon"]
    lr: Positive
    betas: list[Decay]
    eps: Positive
    weight_decay: NotNegative
    fused: Flag | None
    cpu_offload: Flag
    muon_lr: Positive
    momentum: Decay
    newton_schulz_steps: Count


class Constant(Settings):
    name: Literal["constant"]
    warmup_steps: FromZero


class Falling(Settings):
    name: Literal["cosine", "wsd"]
    warmup_steps: FromZero
    min_lr: NotNegative
    decay_share: Share
    decay_steps: FromZero | None


Schedule = Annotated[Constant | Falling, Field(discriminator="name")]


class NoKeys(Settings):
    """A choice that needs none."""


class WandbLogger(Settings):
    project: Text
    entity: Text | None
    group: Text | None
    job_type: Text | None
    mode: Literal["auto", "online", "offline", "disabled"]


class MlflowLogger(Settings):
    experiment: Text
    group: Text | None
    tracking_uri: Text | None
    folder: Place


class Loggers(Settings):
    """Those that are chosen: logger=wandb, logger=[wandb,tensorboard]."""

    csv: NoKeys = LEFT_OUT
    tensorboard: NoKeys = LEFT_OUT
    wandb: WandbLogger = LEFT_OUT
    mlflow: MlflowLogger = LEFT_OUT


class Launcher(Settings):
    name: Literal["local", "torchrun", "slurm"]


class Hardware(Settings):
    name: Word
    flops: Annotated[float, BeforeValidator(Range(0, 1e18, whole=False, above=True))]
    memory_gib: Annotated[float, BeforeValidator(Range(0, 1e5, whole=False, above=True))]
    utilization: SomeShare


class Checkpoints(Settings):
    every_n_train_steps: Count
    keep: Count
    monitor: Word
    mode: Literal["auto", "min", "max"]


class Stop(Settings):
    requeue_on: list[Literal["SIGTERM", "SIGUSR1", "SIGINT"]]


class BadSteps(Settings):
    max_in_a_row: Count
    max_rollbacks: FromZero
    explosion_factor: Annotated[float, BeforeValidator(Range(1, 1e9, whole=False, above=True))] | None
    window: Count


class ProgressLines(Settings):
    refresh_seconds: NotNegative
    line_seconds: NotNegative


class Average(Settings):
    decay: Decay


class Attention(Settings):
    """`token`: "auto" (the first object that the data record, else "moving"), "moving" (where most changes), the name
    of a recorded object, or [row, column] of the grid. `heads`: their "mean" in space, or "separate" pictures."""

    token: Any
    heads: Literal["mean", "separate"]


class Rollouts(Settings):
    every_n_train_steps: FromZero | None
    num_clips: Count
    prompt_frames: Count
    horizon: Count
    batch_size: Count
    delta_psnr_t: list[Count]
    grid_frames: FromZero
    fvd_videos: FromZero
    attention: Attention
    fps: Rate
    keep_videos: FromZero
    sampler: Sampled


class Callbacks(Settings):
    checkpoint: Checkpoints
    stop: Stop
    bad_steps: BadSteps
    progress: ProgressLines
    ema: Average
    rollouts: Rollouts


class TokenizerStage(Settings):
    name: Literal["tokenizer"]
    reconstruction: Reconstruction
    foreground_weight: NotNegative
    weighting: Weighting
    stability_weight: NotNegative
    stability_tolerance: NotNegative
    quantizer_weight: NotNegative


class LatentActionStage(Settings):
    name: Literal["lam"]
    reconstruction: Reconstruction
    foreground_weight: NotNegative
    change_weight: NotNegative
    weighting: Weighting
    quantizer_weight: NotNegative
    action_free_steps: FromZero
    move_rows: FromZero
    move_columns: FromZero
    moved: Moved


class DynamicsStage(Settings):
    name: Literal["dynamics"]
    actions: Literal["latent", "environment"]
    context: Literal["masked", "clean"]
    mask_rate: list[Share]
    whole_frames: Share
    clean_prefix: Share
    corruption: Share
    own_draws: Share
    own_draws_from: Share
    encode_once: Flag
    unseen_actions: Literal["nearest", None]
    change_weight: NotNegative
    distance_weight: NotNegative
    places: SomeShare
    places_until: Share


class CotrainStage(DynamicsStage):
    name: Literal["cotrain"]  # type: ignore[assignment]
    lam: LatentActionStage


class RewardStage(Settings):
    name: Literal["reward"]
    world: Place
    kind: WorldKind | None
    observation_shape: Any
    feature_shape: Any
    rare_share: Decay


class PolicyStage(Settings):
    name: Literal["policy"]
    world: Place
    kind: WorldKind | None
    follow_world: Flag
    observation_shape: Any
    feature_shape: Any
    num_actions: Count | None
    action_size: Count | None


class SimulatorStage(Settings):
    name: Literal["simulator"]
    horizon: Count
    context: Count


Stage = Annotated[
    TokenizerStage | LatentActionStage | DynamicsStage | CotrainStage | RewardStage | PolicyStage | SimulatorStage,
    Field(discriminator="name"),
]


class TrainConfig(Settings):
    """conf/train.yaml: what `genie.train` and the commands that start trainings take."""

    name: Name
    seed: Seed
    output_dir: Place
    run_dir: Place
    resume: Flag
    overwrite: Flag
    tokenizer_ckpt: Place | None
    lam_ckpt: Place | None
    compile: Flag
    ema: Flag
    objective: Word
    record_if_missing: Flag
    stage: Stage
    data: Data
    trainer: Trainer
    launcher: Launcher
    model: Model
    recipe: Recipes
    optimizer: Optimizer
    schedule: Schedule
    callbacks: Callbacks
    logger: Loggers
    sampler: SamplerValues | None = None  # of the preset
    reward: Reward | None = None
    policy: Policy | None = None
    simulator: Simulator | None = None
