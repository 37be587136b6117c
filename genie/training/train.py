"""One training, from a resolved configuration to a run folder. The command is `genie/train.py`."""

import functools
import logging
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EMAWeightAveraging

from callbacks.bad_steps import BadSteps
from callbacks.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, ValidateLastStep
from callbacks.graceful_stop import GracefulStop
from callbacks.loggers import build_loggers, logger_callbacks
from callbacks.metrics_csv import LossPlot
from callbacks.progress import StepProgress
from callbacks.reproducibility import CountedRandomness, DataPosition
from callbacks.rollouts import Rollouts
from callbacks.run_record import RunRecord
from callbacks.startup_report import StartupReport
from callbacks.time_use import TimeUse
from data_modules.clip_data_module import ClipDataModule
from data_modules.worker_loader import lost_worker
from genie.common.cli import in_sweep
from genie.common.device import advice, is_out_of_memory, keep_freed_memory
from genie.common.errors import RunError, UserError, reason
from genie.common.folder_lock import one_writer
from genie.common.process import on_first_rank
from genie.common.profiling import software_versions
from genie.datasets.record import record_missing
from genie.distributed.rendezvous import Ranks
from genie.distributed.sharding import prepare
from genie.distributed.strategy import check_parallel, set_matmul_precision, trainer_arguments
from genie.evaluation.catalogue import chosen_direction
from genie.runs.folder import RunFolder
from genie.runs.metrics_file import last_values
from genie.stages import Stage, build_stage, complete
from genie.training.resume import (
    announce,
    check_same_dependencies,
    check_same_optimizer,
    check_same_weights,
    take_over_names,
    take_over_weighting,
)

# Lightning's hints that do not apply here
NOISE = (
    r".*does not have many workers.*",  # data.num_workers is chosen by measurement
    r".*Checkpoint directory .* exists and is not empty.*",  # the run folder has its own rule
    r".*your dataloader is not resumable.*",  # the order of the clips is a function of the step
    r".*smaller than the logging interval.*",  # epochs do not count
    r".*in eval mode at the start of training.*",  # frozen earlier stages are meant to be
    r".*treespec, LeafSpec.*",  # between Lightning and torch
    r".*sync_dist=True.*",  # what is logged there is the same on all processes
    r".*returned a view tensor.*",  # of FSDP2: nobody writes into a model's output
)


def train(config: dict[str, Any], job: int | None = None) -> float | None:
    """Trains the stage of a resolved configuration, in a sweep as the number `job`, which tells runs of the same name
    apart; returns the last value of `config["objective"]`."""
    keep_freed_memory()
    quiet_lightning()
    with on_first_rank():
        check_parallel(config)
    with Ranks(config) as ranks:
        folder = RunFolder(ranks.config)
        with one_writer(folder.path, "name= or output_dir=") if ranks.is_first else nullcontext():
            run = open_run(folder, ranks, job)
            if run.is_complete:
                return run.objective()
            open_data = prepare_data(run)
            stage = build_checked_stage(run, open_data)
            return fit_and_report(run, stage, open_data())


@dataclass
class Run:
    """One training as seen by one of its processes.

    Up to `ranks.open()` the first process is ahead of the others, which begin when the folder is as they need it.
    `checkpoint`: the one that the run resumes from, its tensors still in the file; None for a new run. `started`: when,
    by the monotonic clock.
    """

    folder: RunFolder
    ranks: Ranks
    label: str
    checkpoint: dict[str, Any] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def config(self) -> dict[str, Any]:
        return self.folder.config

    @property
    def first_step(self) -> int:
        return self.checkpoint["global_step"] if self.checkpoint else 0

    @property
    def is_complete(self) -> bool:
        return self.checkpoint is not None and self.first_step >= self.folder.max_steps

    def objective(self) -> float | None:
        """The last value of the run's objective, None where it was never logged."""
        return last_values(self.folder.metrics).get(self.config["objective"])


def open_run(folder: RunFolder, ranks: Ranks, job: int | None) -> Run:
    """Checks that the run may start in its folder, finds the checkpoint that it resumes from and reports a complete
    run, whose last.ckpt is restored. Nothing else on disk is changed."""
    config = folder.config
    label = f"{config['name']} {config['stage']['name']}" + ("" if job is None else f" {job}")
    run = Run(folder, ranks, label, folder.resumable(proved=not ranks.is_first))
    if run.is_complete:
        if ranks.is_first:
            folder.go_back()
        ranks.print(f"{label} is complete: {run.first_step} steps in {folder.path}")
    elif run.checkpoint:
        check_same_optimizer(config, run.checkpoint["hyper_parameters"]["config"])
    return run


def prepare_data(run: Run) -> Callable[[], ClipDataModule]:
    """Seeds this process; returns what opens the data, once and when they are first needed, so that missing earlier
    stages are reported before anything is recorded."""
    L.seed_everything(run.config["seed"], verbose=False)

    @functools.cache
    def open_data() -> ClipDataModule:
        options = run.config["data"]
        if run.ranks.is_first and run.config["record_if_missing"]:
            record_missing(options)
        data = ClipDataModule(**options)
        data.setup("fit")
        return data

    return open_data


def build_checked_stage(run: Run, open_data: Callable[[], ClipDataModule]) -> Stage:
    """Completes the configuration, builds the stage with the earlier stages that it needs, checks that it fits the
    checkpoint and prints from where it resumes."""
    config, checkpoint = run.config, run.checkpoint
    take_over_names(config, checkpoint)
    kept = take_over_weighting(config, checkpoint)
    earlier = complete(config, open_data)
    stage = build_stage(config)
    stage.load_dependencies(earlier)
    if checkpoint:
        check_same_dependencies(stage, checkpoint.get("fingerprints", {}))
        check_same_weights(stage, checkpoint)
    if run.ranks.is_first:
        announce(run.folder, run.label, checkpoint, kept)
    return stage


def fit_and_report(run: Run, stage: Stage, data: ClipDataModule) -> float | None:
    """Trains in the opened run folder; prints where the time went and the last value of the objective, which it
    returns."""
    config, folder, ranks, label = run.config, run.folder, run.ranks, run.label
    for split, (kept, rows) in data.kept.items():
        ranks.print(f"{label}: data.min_quality={data.good.min_quality} keeps {kept:,} of {rows:,} {split} frames")
    stage.set_data(data)
    data.check_step(ranks.world_size, config["trainer"]["accumulate"])
    trainer = build_trainer(run, stage)
    if ranks.is_first:
        folder.open(resumed=run.checkpoint is not None)
        ranks.open()
    prepare(stage.parts().values(), config["compile"], config["trainer"]["activation_checkpointing"])
    run.checkpoint = None  # its tensors are in a file that training will replace
    fit(trainer, stage, data, folder)
    if isinstance(trainer.profiler, TimeUse):
        ranks.print(f"{label}: {trainer.profiler.line()}")
    value = run.objective()
    ranks.print(f"{label}: {trainer.global_step} steps in {folder.path}, {config['objective']} {value}")
    for hint in stage.hints({name: float(metric) for name, metric in trainer.callback_metrics.items()}):
        ranks.print(f"{label}: {hint}")
    return value


def fit(trainer: L.Trainer, stage: L.LightningModule, data: L.LightningDataModule, folder: RunFolder) -> None:
    """Trains, from the checkpoint that the folder resumes from. Failures outside of this code become one line."""
    try:
        trainer.fit(stage, datamodule=data, ckpt_path=folder.last if folder.source else None, weights_only=True)
    except (UserError, RunError, BrokenPipeError):
        raise
    except Exception as error:
        if lost := lost_worker(error):
            raise RunError(f"{lost} (with resume=true the run goes on)") from error
        if is_out_of_memory(error):
            raise RunError(advice(folder.config)) from error
        if trainer._checkpoint_connector._loaded_checkpoint:  # until all of it is restored
            raise UserError(f"{folder.last} does not fit this version ({reason(error)[:200]})") from error
        raise


def build_trainer(run: Run, stage: Stage) -> L.Trainer:
    """Lightning's trainer with our callbacks and loggers; nothing is written yet. Steps count, epochs do not."""
    config, folder, ranks = run.config, run.folder, run.ranks
    leaves_out = stage.leaves_out_parameters(run.first_step)
    settings, precision = trainer_arguments(config, ranks.num_devices, ranks.num_nodes, leaves_out)
    # Lightning counts this interval in batches.
    settings["val_check_interval"] *= settings["accumulate_grad_batches"]
    settings.setdefault("profiler", TimeUse(run.started))
    set_matmul_precision(config["trainer"])
    loggers = build_loggers(config.get("logger") or {}, folder.path, run.label, run.checkpoint)
    try:
        trainer = L.Trainer(
            **settings,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=folder.path,
            plugins=[AtomicCheckpointIO(), ranks.environment, *precision],
            logger=loggers,
            callbacks=[*build_callbacks(config, folder, run.label), *logger_callbacks(loggers)],
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {reason(error)}") from error
    return ranks.attach(trainer)


def build_callbacks(config: dict[str, Any], folder: RunFolder, label: str) -> list[L.Callback]:
    """The callbacks, in the order in which they are called."""
    settings = config["callbacks"]
    saving = settings["checkpoint"]
    last = LastCheckpoint(folder.checkpoints, saving["every_n_train_steps"], saving["keep"])
    best_mode = chosen_direction(saving["mode"], saving["monitor"], "callbacks.checkpoint.mode")
    return [
        CountedRandomness(config["seed"]),
        DataPosition(label),
        BadSteps(last, config["trainer"]["on_nan"], **settings["bad_steps"]),
        StartupReport(label, str(folder.path)),
        StepProgress(label, **settings["progress"]),
        Rollouts(label, folder.media, settings["rollouts"], config["seed"]),  # with the averaged weights: before them
        *([EMAWeightAveraging(decay=settings["ema"]["decay"])] if config["ema"] else []),
        LossPlot(folder.metrics, folder.loss_plot),
        RunRecord(folder.record, config["stage"]["name"], command_line(sys.argv[1:]), software_versions()),
        # Lightning calls these last, in this order.
        ValidateLastStep(),
        BestCheckpoint(folder.checkpoints, saving["monitor"], best_mode),
        last,
        GracefulStop(last, resume_command(), settings["stop"]["requeue_on"]),
    ]


def resume_command() -> str:
    """The command line that resumes this process from its last checkpoint, or with the jobs of its sweep."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith(("resume=", "overwrite="))]
    more = ["resume=true"]
    if in_sweep() and not any(argument.startswith("hydra.sweep.dir=") for argument in arguments):
        more.insert(0, f"hydra.sweep.dir={HydraConfig.get().sweep.dir}")
    # beside the other overrides: Hydra takes them in one piece, before or after its flags
    overrides = [place for place, argument in enumerate(arguments, 1) if "=" in argument and argument[0] != "-"]
    place = overrides[-1] if overrides else len(arguments)
    return command_line([*arguments[:place], *more, *arguments[place:]])


def command_line(arguments: list[str]) -> str:
    return shlex.join(["python", "-m", "genie.train", *arguments])


def quiet_lightning() -> None:
    """Silences notes about devices and products and the warnings of `NOISE`."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
