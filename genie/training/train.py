"""One training.

One training: from a resolved configuration to a run folder. The command is `genie/train.py`.
"""

import functools
import logging
import shlex
import sys
import warnings
from contextlib import nullcontext
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
from genie.distributed.strategy import check_parallel, trainer_arguments
from genie.metrics.directions import chosen_direction
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

# Lightning's hints that do not hold here, each by its own words.
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
    """Trains the stage of a resolved configuration; returns the last value of `config["objective"]`.

    `job`: its number in a sweep, to tell runs of the same name apart.
    """
    keep_freed_memory()
    quiet_lightning()
    with on_first_rank():
        check_parallel(config)
    with Ranks(config) as ranks:
        return train_as(ranks, ranks.config, job)


def train_as(ranks: Ranks, config: dict[str, Any], job: int | None) -> float | None:
    """`train` as one of its processes: the first is through with all up to `ranks.open()` before the others begin."""
    folder = RunFolder(config)
    with one_writer(folder.path, "name= or output_dir=") if ranks.is_first else nullcontext():
        return train_in(folder, ranks, config, job)


def train_in(folder: RunFolder, ranks: Ranks, config: dict[str, Any], job: int | None) -> float | None:
    """`train_as` in a run folder that nobody else writes into."""
    label = f"{config['name']} {config['stage']['name']}" + ("" if job is None else f" {job}")
    checkpoint = folder.resumable(proved=not ranks.is_first)
    if checkpoint and checkpoint["global_step"] >= folder.max_steps:
        if ranks.is_first:
            folder.go_back()
        ranks.print(f"{label} is complete: {checkpoint['global_step']} steps in {folder.path}")
        return objective_of(folder)
    if checkpoint:
        check_same_optimizer(config, checkpoint["hyper_parameters"]["config"])
    L.seed_everything(config["seed"], verbose=False)
    take_over_names(config, checkpoint)
    kept = take_over_weighting(config, checkpoint)
    open_once = functools.cache(lambda: open_data(config, ranks))
    earlier = complete(config, open_once)
    stage = build_stage(config)
    stage.load_dependencies(earlier)  # finds the earlier stages, or says what is missing, before any work
    if checkpoint:
        check_same_dependencies(stage, checkpoint.get("fingerprints", {}))
        check_same_weights(stage, checkpoint)
    if ranks.is_first:
        announce(folder, label, checkpoint, kept)
    data = open_once()
    for split, (kept, rows) in data.kept.items():
        ranks.print(f"{label}: data.min_quality={data.good.min_quality} keeps {kept:,} of {rows:,} {split} frames")
    stage.set_data(data)
    data.check_step(ranks.world_size, config["trainer"]["accumulate"])
    trainer = build_trainer(config, folder, label, checkpoint, ranks, stage)
    if ranks.is_first:
        folder.open(resumed=checkpoint is not None)
        ranks.open()
    prepare(stage.parts().values(), config["compile"], config["trainer"]["activation_checkpointing"])
    del checkpoint  # its tensors are in a file that training will replace
    fit(trainer, stage, data, folder)
    value = objective_of(folder)
    ranks.print(f"{label}: {trainer.global_step} steps in {folder.path}, {config['objective']} {value}")
    return value


def open_data(config: dict[str, Any], ranks: Ranks) -> ClipDataModule:
    """The data of a configuration, recorded first where that is asked for."""
    if ranks.is_first and config["record_if_missing"]:
        record_missing(config["data"])
    data = ClipDataModule(**config["data"])
    data.setup("fit")
    return data


def objective_of(folder: RunFolder) -> float | None:
    """The last value of the run's objective, None where it was never logged."""
    return last_values(folder.metrics).get(folder.config["objective"])


def fit(trainer: L.Trainer, stage: L.LightningModule, data: L.LightningDataModule, folder: RunFolder) -> None:
    """Trains, from the checkpoint that the folder goes on from. What cannot be helped here is told in one line."""
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


def build_trainer(
    config: dict[str, Any],
    folder: RunFolder,
    label: str,
    checkpoint: dict[str, Any] | None,
    ranks: Ranks,
    stage: Stage,
) -> L.Trainer:
    """Lightning's trainer with our callbacks and loggers; nothing is written yet. Steps count, epochs do not."""
    leaves_out = stage.leaves_out_parameters(checkpoint["global_step"] if checkpoint else 0)
    settings, precision = trainer_arguments(config, ranks.num_devices, ranks.num_nodes, leaves_out)
    # Lightning counts this interval in batches.
    settings["val_check_interval"] *= settings["accumulate_grad_batches"]
    loggers = build_loggers(config["logger"], folder.path, label, checkpoint)
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
            callbacks=[*build_callbacks(config, folder, label), *logger_callbacks(loggers)],
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {reason(error)}") from error
    return ranks.attach(trainer)


def build_callbacks(config: dict[str, Any], folder: RunFolder, label: str) -> list[L.Callback]:
    """What happens beside the steps, in the order in which it happens."""
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
        RunRecord(folder.record, config["stage"]["name"], this_command(), software_versions()),
        # Lightning calls these last, in this order.
        ValidateLastStep(),
        BestCheckpoint(folder.checkpoints, saving["monitor"], best_mode),
        last,
        GracefulStop(last, resume_command(), settings["stop"]["requeue_on"]),
    ]


def this_command() -> str:
    """The command line of this process."""
    return shlex.join(["python", "-m", "genie.train", *sys.argv[1:]])


def resume_command() -> str:
    """The command line of this process, going on from its last checkpoint, or with the jobs of its sweep."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith(("resume=", "overwrite="))]
    more = ["resume=true"]
    if in_sweep() and not any(argument.startswith("hydra.sweep.dir=") for argument in arguments):
        more.insert(0, f"hydra.sweep.dir={HydraConfig.get().sweep.dir}")
    # beside the other overrides: Hydra takes them in one piece, before or after its flags
    overrides = [place for place, argument in enumerate(arguments, 1) if "=" in argument and argument[0] != "-"]
    place = overrides[-1] if overrides else len(arguments)
    return shlex.join(["python", "-m", "genie.train", *arguments[:place], *more, *arguments[place:]])


def quiet_lightning() -> None:
    """No notes about devices and products, no warnings that do not hold here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
