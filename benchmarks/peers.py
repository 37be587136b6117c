"""Training steps and generated frames beside those of other projects, in one run.

    python -m benchmarks.peers tinyworlds=PATH onexgpt=PATH jasmine=PATH

Each PATH is a checkout of the project (github.com/AlmondGod/tinyworlds, 1x-technologies/1xgpt, p-doom/jasmine; any of
them may be left out), whose own model classes are imported from it, in a process of its own: nothing of theirs is here.
All have the same shape, batch, threads and optimizer (AdamW), in fp32 (bf16=1: autocast), and take turns step by step,
so that another program's load hits all of them. Jasmine needs jax, flax, optax and einops, in this environment or in
that of `jasmine_python=PATH/bin/python`.

    threads=1 steps=9              CPU threads of each, measured steps or generated frames after `warmup=2`
    bf16=0                         1: torch's autocast for all but Jasmine, which is then left out
    width=256 heads=8 blocks=4 dynamics_blocks=6 image_size=64 patch_size=8 clip=16 batch=4 passes=8
    parts=[tokenizer,lam,dynamics,generation]
    output=FILE.json               all times

Prints the median of the CPU seconds of a step (all threads together), the ratio to the fastest other project, and the
share of the peak in matrix products (MFU): operations by torch's FlopCounterMode, the peak by `torch.mm` of 2,048 x
2,048 in the same run on the same threads. A project whose loss does not fall over the steps is named: it does not learn
what it is given, and its time says nothing.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch

from benchmarks.arguments import arguments, started
from genie.common.errors import UserError
from genie.common.settings.kinds import Count, Depth, FromZero, Place, Settings, Side, Some, whole

WORKER = Path(__file__).with_name("peer_models.py")
PEERS = {
    "tinyworlds": "models/st_transformer.py",
    "onexgpt": "genie/st_mask_git.py",
    "jasmine": "jasmine/models/lam.py",
}
TRAINED = {
    "ours": ("tokenizer", "lam", "lam_antisymmetric", "dynamics", "generation"),
    "tinyworlds": ("tokenizer", "lam", "dynamics", "generation"),
    "onexgpt": ("dynamics", "generation"),
    "jasmine": ("tokenizer", "lam", "dynamics"),
}


PartName = Literal["tokenizer", "lam", "dynamics", "generation"]


class Shape(Settings):
    """What all models have in common."""

    batch: Count = 4
    clip: Count = 16
    image_size: Side = 64
    patch_size: Side = 8
    width: Count = 256
    heads: Count = 8
    blocks: Depth = 4
    dynamics_blocks: Depth = 6
    passes: Count = 8
    threads: Count = 1
    bf16: Annotated[int, whole(0, 1)] = 0


class Arguments(Shape):
    steps: Count = 9
    warmup: FromZero = 2
    parts: Some[PartName] = list(get_args(PartName))
    output: Place | None = None
    tinyworlds: Place | None = None
    onexgpt: Place | None = None
    jasmine: Place | None = None
    jasmine_python: Place = sys.executable


class Model:
    """One model of a project, in a process that answers line by line."""

    def __init__(self, project: str, part: str, path: str, shape: dict[str, int], python: str) -> None:
        self.name = f"{project} {part}"
        threads = str(shape["threads"])
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" if threads == "1" else ""
        self.process = subprocess.Popen(
            [python, str(WORKER), project, part, path, json.dumps(shape)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip

    def ask(self, question: str) -> dict[str, float]:
        """UserError with the last line that the process wrote, where it ended."""
        assert self.process.stdin and self.process.stdout and self.process.stderr
        try:
            self.process.stdin.write(f"{question}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            said = [line for line in self.process.stderr.read().splitlines() if line.strip()]
            raise UserError(f"{self.name} does not run here: {said[-1] if said else 'its process ended'}")
        return json.loads(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def peak(bf16: int = 0, size: int = 2048) -> float:
    """Floating-point operations per CPU second of a product of two matrices."""
    left, right = torch.randn(2, size, size).to(torch.bfloat16 if bf16 else torch.float32)
    started = time.process_time()
    left @ right
    return 2 * size**3 / (time.process_time() - started)


def measure(part: str, peers: dict[str, str], shape: dict[str, int], given: Arguments) -> list[dict]:
    """A row for each project that has this part, `given.steps` steps or frames of each, in turns."""
    question = "frame" if part == "generation" else "step"
    parts = ("lam", "lam_antisymmetric") if part == "lam" else (part,)
    has = [(project, one) for one in parts for project in ("ours", *peers) if one in TRAINED[project]]
    pythons = {"jasmine": given.jasmine_python}
    models = [
        Model(project, one, peers.get(project, ""), shape, pythons.get(project, sys.executable)) for project, one in has
    ]
    try:
        counted = [{} if part == "generation" else model.ask("flops") for model in models]
        before = [[model.ask(question) for model in models] for _ in range(given.warmup)]
        answers: list[list[dict]] = [[] for _ in models]
        peaks = []
        for _ in range(given.steps):
            peaks.append(peak(shape["bf16"]))
            for model, found in zip(models, answers, strict=True):
                found.append(model.ask(question))
    finally:
        for model in models:
            model.close()
    rows = []
    for number, ((project, one), count, found) in enumerate(zip(has, counted, answers, strict=True)):
        seconds = statistics.median(answer["cpu"] for answer in found)
        row = {"project": project, "part": one, "seconds": seconds, "wall": [a["wall"] for a in found], **count}
        if "flops" in count:
            row["mfu"] = count["flops"] / seconds / statistics.median(peaks)
        if part == "generation":
            row["passes"] = found[-1]["passes"]
        else:
            losses = [round_[number]["loss"] for round_ in before] + [answer["loss"] for answer in found]
            row["first_loss"], row["last_loss"] = (
                losses[0],
                statistics.mean(losses[-3:]),
            )  # masks differ from step to step
        rows.append(row)
    return rows


def show(rows: list[dict]) -> None:
    """Prints the rows of one part."""
    others = [row["seconds"] for row in rows if row["project"] != "ours"]
    for row in rows:
        ratio = f"{row['seconds'] / min(others):5.2f}x the fastest peer" if others and row["project"] == "ours" else ""
        if "passes" in row:
            what = f"{row['seconds']:.3f} s a frame, {1000 * row['seconds'] / row['passes']:.0f} ms a pass"
        else:
            what = f"{row['seconds']:.3f} s a step"
            what += f", MFU {100 * row['mfu']:.0f}%" if "mfu" in row else ""
            what += (
                f", {row['parameters'] / 1e6:.1f}M parameters, loss {row['first_loss']:.3g} -> {row['last_loss']:.3g}"
            )
            if row["last_loss"] >= row["first_loss"]:
                what += " (does NOT learn)"
        print(f"  {row['project']:11} {row['part']:18} {what} {ratio}".rstrip(), flush=True)


def main() -> None:
    given, _ = arguments(Arguments)
    peers = {name: path for name in PEERS if (path := getattr(given, name)) is not None}
    for name, path in peers.items():
        if not (Path(path) / PEERS[name]).is_file():
            raise UserError(f"{name}={path}: a checkout of the project is wanted, with {PEERS[name]} in it")
    shape = given.model_dump(include=set(Shape.model_fields))
    shape["frames"] = shape.pop("clip")
    if shape["bf16"]:
        peers.pop("jasmine", None)
    torch.set_num_threads(shape["threads"])
    print(", ".join(f"{name}={value}" for name, value in shape.items()))
    rows = []
    for part in given.parts:
        found = measure(part, peers, shape, given)
        print(part)
        show(found)
        rows += found
    if given.output is not None:
        Path(given.output).write_text(json.dumps({"shape": shape, "rows": rows}, indent=1))


if __name__ == "__main__":
    started(main)
