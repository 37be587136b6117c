"""What one of two processes does for the tests of sharded training; its results go to a file for each process.

python -m torch.distributed.run --standalone --nproc-per-node 2 driver.py <folder> <override> ...
"""

import functools
import json
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from callbacks import metrics_csv
from callbacks.startup_report import StartupReport
from data_modules.data_info import DataInfo
from genie.common.cli import to_plain
from genie.distributed.optim import gradient_norm
from genie.distributed.sharding import average_exact_gradients, exact_parameters, materialize, prepare, shard
from genie.runs.loading import read_checkpoint
from genie.stages import build_stage
from genie.training.train import train

FOLDER, SMALL = Path(sys.argv[1]), sys.argv[2:]  # where the runs are, overrides of all of them
STAGES = ("tokenizer", "lam", "dynamics", "cotrain")
LONG = 20
PAIR = ["trainer.accelerator=cpu", "trainer.devices=2", "launcher.name=torchrun"]


@functools.cache
def composed(stage):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("train", [*SMALL, f"output_dir={FOLDER}", f"stage={stage}"])
    OmegaConf.set_struct(cfg, False)
    return cfg


def configure(stage, *overrides):
    """The configuration of a stage with other values."""
    return to_plain(OmegaConf.merge(composed(stage), OmegaConf.from_dotlist(list(overrides))))


def run(name, strategy, steps, *overrides, stage="tokenizer"):
    """Trains `name` with a strategy; a short run without validation."""
    earlier = [f"{part}_ckpt={FOLDER}/ddp/{part}/checkpoints/last.ckpt" for part in ("tokenizer", "lam")]
    settings = [f"name={name}", f"trainer.strategy={strategy}", f"trainer.max_steps={steps}"]
    settings += [] if steps == LONG else ["trainer.limit_val_batches=0"]
    train(configure(stage, *PAIR, *earlier, *settings, *overrides))


def alone(function):
    """`function` in the first process, while the other one waits."""

    def wrapped(*arguments, **options):
        dist.barrier()
        result = function(*arguments, **options) if dist.get_rank() == 0 else None
        dist.barrier()
        return result

    return wrapped


def copied(source, name):
    """A copy of the run folder of a tokenizer under another name."""
    alone(shutil.copytree)(FOLDER / source / "tokenizer", FOLDER / name / "tokenizer", dirs_exist_ok=True)


def trainings():
    """All stages with both strategies, then one of them interrupted and resumed across strategies."""
    options = {"cotrain": ["stage.context=clean"]}  # the dynamics alone is trained with the paper's masks
    for stage in STAGES:
        for strategy in ("ddp", "fsdp"):
            run(strategy, strategy, LONG, *options.get(stage, []), stage=stage)
    folder = "trainer.sharded_checkpoints=true"
    run("folder", "fsdp", 3, folder)
    run("file", "ddp", 3)
    resumed = {
        "folder_to_folder": ("folder", "fsdp", folder),
        "folder_to_file": ("folder", "fsdp"),
        "folder_to_ddp": ("folder", "ddp"),
        "file_to_folder": ("file", "fsdp", folder),
        "single_to_fsdp": ("single", "fsdp"),
    }
    for name, (source, strategy, *overrides) in resumed.items():
        copied(source, name)
        run(name, strategy, 6, "resume=true", *overrides)
    variants = {
        "thrifty": ["trainer.activation_checkpointing=true", "optimizer.cpu_offload=true"],
        "gather": ["trainer.precision=bf16-mixed", "trainer.gather_precision=bf16"],
        "mixed": ["trainer.precision=bf16-mixed"],
        "pure": ["trainer.precision=bf16-true"],
    }
    for name, overrides in variants.items():
        run(name, "fsdp", 2, *overrides)
    for name, strategy in (("ddp_muon", "ddp"), ("muon", "fsdp"), ("thrifty_muon", "fsdp")):
        run(name, strategy, 3, "optimizer.name=muon", *(variants["thrifty"] if "thrifty" in name else []))
    copied("ddp_muon", "resumed_muon")
    copied("muon", "ddp_resumed_muon")
    for name, strategy in (("resumed_muon", "fsdp"), ("ddp_resumed_muon", "ddp")):
        run(name, strategy, 6, "optimizer.name=muon", "resume=true", *([folder] if strategy == "fsdp" else []))
    run("ddp_pure", "ddp", 2, "trainer.precision=bf16-true")
    run("ddp_mixed", "ddp", 2, "trainer.precision=bf16-mixed")
    run("free", "fsdp", 4, "stage.action_free_steps=2", "trainer.accumulate=2", stage="lam")


def sharded(stage, mesh):
    """A stage without values, sharded and given its own."""
    for part in stage.parts().values():
        shard(part, mesh)
    materialize(stage, torch.device("cpu"), torch.device("cpu"))
    for part in stage.parts().values():
        average_exact_gradients(part, mesh)
    return stage


def whole(state):
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}


def equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def initial_weights(mesh, info):
    """By stage: whether the sharded one starts from the weights of the unsharded one, and its share of the bytes."""
    found = {}
    for name in STAGES:
        stages = []
        for strategy in ("auto", "fsdp"):
            stage = build_stage(configure(name, f"trainer.strategy={strategy}"))
            stage.set_data_info(info)
            stages.append(stage)
        plain, ours = stages[0], sharded(stages[1], mesh)
        held = sum(value.to_local().numel() for value in ours.parameters() if isinstance(value, DTensor))
        share = held / sum(value.numel() for value in plain.parameters())
        found[name] = {"equal": equal(whole(ours.state_dict()), plain.state_dict()), "share": share}
    return found


def codebook(mesh, info):
    """Steps of a tokenizer with a codebook on the same clips in both processes: whether all is as in one process."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 4, 3, 16, 16, generator=generator)
    histories, stages = [], []
    for strategy in ("auto", "fsdp"):
        stage = build_stage(configure("tokenizer", "model.tokenizer.quantizer=vq", "model.tokenizer.revive_after=1",
                                      f"trainer.strategy={strategy}"))  # fmt: skip
        stage.set_data_info(info)
        if strategy == "fsdp":
            sharded(stage, mesh)
        prepare(stage.parts().values(), compile=False, activation_checkpointing=strategy == "fsdp")
        optimizer = stage.configure_optimizers()["optimizer"]
        torch.manual_seed(0)
        history = []
        for _ in range(3):
            output = stage.model(frames)
            loss = (output.logits.sigmoid() - frames).square().mean() + output.quantizer_loss
            loss.backward()
            norm = gradient_norm(stage.parameters())
            optimizer.step()
            optimizer.zero_grad()
            history += [loss.item(), norm.item()]
        tokens = stage.model.encode(frames)
        histories.append([*history, *tokens.flatten().tolist()])
        stages.append(stage)
        kept = [type(parameter).__name__ for parameter in exact_parameters(stage)]
    state, expected = (whole(stage.state_dict()) for stage in reversed(stages))
    return {
        "same": histories[0] == histories[1],
        "codebook": torch.equal(state["model.quantizer.codebook"], expected["model.quantizer.codebook"]),
        "kept": sorted(set(kept)),
        "pictures": isinstance(stages[1].model.decode(tokens), DTensor),
    }


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    metrics_csv.plot_metrics = StartupReport.on_fit_start = lambda *arguments: None  # nothing here is about them
    mesh = init_device_mesh("cpu", (2,))
    background = torch.randint(0, 256, (3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    info = DataInfo(3, ["stay", "up", "down"], [], 10.0, (16, 16), background.numpy())
    results = {"initial": initial_weights(mesh, info), "codebook": codebook(mesh, info)}
    trainings()
    results["folder"] = sorted(path.name for path in (FOLDER / "folder/tokenizer/checkpoints/last.ckpt").iterdir())
    results["steps"] = read_checkpoint(FOLDER / "folder_to_folder/tokenizer/checkpoints/last.ckpt")["global_step"]
    (FOLDER / f"results_{dist.get_rank()}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
