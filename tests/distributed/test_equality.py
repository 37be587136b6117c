"""A training is the same one on however many processes: 20 steps of each stage, in float64.

A sum over processes is rounded in another order than the sum of one process, and what is rounded differently grows: a
quantiser's loss is the distance of latents from codes close to them, batch statistics are divided by small variances,
and Adam divides gradients by their own size. How much is for each machine's kernels to say, so no tolerance of fp32 is
tight and holds on all of them. float64 rounds by 1e-16. Were that to grow ten million times it would stay below
`TOLERANCE`, where a clip that another process reads, or a gradient that is summed wrongly, shows in the third digit.
"""

import pytest
import torch

from genie.runs.metrics_file import read_metrics

TOLERANCE = 1e-9
GLOBAL_BATCH = 4
FSQ = ["+model.tokenizer.quantizer=fsq", "+model.tokenizer.levels=[4,4,4]"]
STANDARDIZED = "+model.tokenizer.standardize=true"
CASES = {
    "tokenizer, vq": ["stage=tokenizer", "+model.tokenizer.revive_after=3", STANDARDIZED],
    "lam": ["stage=lam", "+model.lam.revive_after=2", "stage.action_free_steps=5"],
    "dynamics": ["stage=dynamics", "stage.clean_prefix=0.5", "stage.corruption=0.1"],
    "cotrain": [
        "stage=cotrain", "stage.lam.action_free_steps=3", "+model.lam.standardize=false", "stage.context=clean",
        "stage.own_draws=0.5",
    ],
    "tokenizer, fsq": ["stage=tokenizer", *FSQ, STANDARDIZED],
    "lam on tokens": ["stage=lam", "+model.lam.input=tokens"],
    "dynamics, muon": ["stage=dynamics", "optimizer=muon"],
    "lam, surprise": [
        "stage=lam", "+model.lam.pooling=surprise", "+model.lam.antisymmetric=true", "stage.action_free_steps=5",
        "stage.move_rows=8", "stage.moved=encoder",
    ],
}  # fmt: skip
STAGES = 4  # cases at the beginning: one for each stage
# Under accumulation, batch statistics and codebooks are those of a batch and not of a step: these have neither. The
# stage that trains both the latent action model and the dynamics stands for each of them.
WITHOUT_STATISTICS = {
    "tokenizer": ["stage=tokenizer", *FSQ],
    "tokenizer, muon": ["stage=tokenizer", *FSQ, "optimizer=muon"],
    "cotrain": [
        "stage=cotrain", "+model.lam.quantizer=fsq", "+model.lam.levels=[3]", "+model.lam.standardize=false",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def earlier(tmp_path_factory, pong_root, train_exactly):
    """Overrides that name the data, and a tokenizer and a latent action model for the stages after them."""
    outputs = tmp_path_factory.mktemp("earlier")
    data = f"data.root={pong_root}"
    checkpoints = []
    for stage in ("tokenizer", "lam"):
        train_exactly([f"stage={stage}", data, f"output_dir={outputs}", "name=a"])
        checkpoints.append(f"{stage}_ckpt={outputs}/a/{stage}/checkpoints/last.ckpt")
    return [data, *checkpoints]


def settings(cases, folder, per_process, earlier, *more):
    return [
        [*case, *earlier, f"data.batch_size={per_process}", f"run_dir={folder}/{number}", *more]
        for number, case in enumerate(cases.values())
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, train_exactly, earlier):
    folder = tmp_path_factory.mktemp("alone")
    for overrides in settings(CASES, folder, GLOBAL_BATCH, earlier):
        train_exactly(overrides)
    return folder


@pytest.fixture(scope="module")
def on_two_processes(tmp_path_factory, trainings, earlier):
    return train_on(trainings, 1, 2, tmp_path_factory.mktemp("processes"), CASES, earlier, "trainer=ddp_cpu")


@pytest.fixture(scope="module")
def on_two_machines(tmp_path_factory, trainings, earlier):
    stages = dict(list(CASES.items())[:STAGES])
    return train_on(trainings, 2, 1, tmp_path_factory.mktemp("machines"), stages, earlier, "trainer=multi_node")


def train_on(trainings, nodes, processes, folder, cases, earlier, trainer):
    for process in trainings(nodes, processes, settings(cases, folder, GLOBAL_BATCH // 2, earlier, trainer)):
        assert process.returncode == 0, process.stdout + process.stderr
    return folder


def assert_same(one, other):
    """The same rows of metrics.csv, but for the accuracy on the masked tokens of a batch, a mean of means."""
    rows, others = (read_metrics(folder / "metrics.csv") for folder in (one, other))
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    assert sum("train/loss" in row for row in rows) == 20 and sum("val/loss" in row for row in rows) == 1
    for row, expected in zip(others, rows, strict=True):
        assert row.keys() == expected.keys()
        for name in expected.keys() - {"train/masked_accuracy"}:
            assert row[name] == pytest.approx(expected[name], rel=TOLERANCE, abs=TOLERANCE), (row["step"], name)


@pytest.mark.parametrize("number", range(len(CASES)), ids=CASES)
def test_processes_take_the_steps_of_one(alone, on_two_processes, number):
    assert_same(alone / str(number), on_two_processes / str(number))


@pytest.mark.parametrize("number", range(STAGES), ids=list(CASES)[:STAGES])
def test_machines_take_the_steps_of_one(alone, on_two_machines, number):
    assert_same(alone / str(number), on_two_machines / str(number))


@pytest.mark.parametrize("number", range(len(CASES)), ids=CASES)
def test_codebooks_and_running_statistics_are_those_of_one_process(alone, on_two_processes, number):
    states = [
        torch.load(folder / str(number) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (alone, on_two_processes)
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        if name.endswith(("idle_steps", "initialized", "num_batches_tracked")):
            assert torch.equal(value, states[1][name]), name
        elif name.endswith(("codebook", "running_mean", "running_var")):
            torch.testing.assert_close(states[1][name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("name", WITHOUT_STATISTICS)
def test_accumulated_batches_are_one_large_batch(tmp_path, train_exactly, earlier, name):
    case = WITHOUT_STATISTICS[name]
    train_exactly([*case, *earlier, f"data.batch_size={GLOBAL_BATCH}", f"run_dir={tmp_path}/one"])
    half = [f"data.batch_size={GLOBAL_BATCH // 2}", "trainer.accumulate=2", f"run_dir={tmp_path}/two"]
    train_exactly([*case, *earlier, *half])
    assert_same(tmp_path / "one", tmp_path / "two")
