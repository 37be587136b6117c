"""An ablation from the command to the table, its steps in this process instead of one each."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.training.ablation import Ablation, own_key
from genie.training.measured import note
from genie.world.world_model import WorldModel

pytestmark = pytest.mark.slow

EVALUATE = ["parts=[tokenizer,rollout]", "num_clips=2", "horizon=2", "delta_psnr.t=[2]", "prompt_frames=2"]
TINY = ["debug=fast", "data.image_size=[16,16]", "model.tokenizer.patch_size=4", "model.lam.patch_size=4",
        "trainer.max_steps=2", "schedule.warmup_steps=1", "seeds=[4]"]  # fmt: skip


@pytest.fixture
def ablate(tmp_path, monkeypatch, pong_root):
    """ablate(*overrides, until=None): the report, and the steps that were run; `until`: the step that is stopped."""
    from genie.evaluation.evaluate import evaluate_runs
    from genie.training.train import train

    def ablate(*overrides, until=None):
        steps = []

        def run_module(step, command):
            steps.append(step)
            if len(steps) == until:
                raise SystemExit(143)
            _, cost, module, *given = command
            Path(cost).parent.mkdir(parents=True, exist_ok=True)
            {"genie.train": lambda: train(resolved("train", given)),
             "genie.evaluate": lambda: evaluate_runs(resolved("evaluate", given))}[module]()  # fmt: skip
            Path(cost).write_text(json.dumps({"seconds": 30.0, "peak_mb": 512.0, "command": [module, *given]}))

        monkeypatch.setattr("genie.training.ablation.run_module", run_module)
        given = [*TINY, f"data.root={pong_root}", f"output_dir={tmp_path}",
                 f"ablation.evaluate=[{','.join(repr(text) for text in EVALUATE)}]", *overrides]  # fmt: skip
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            ablation = Ablation(resolved("ablate", given), given)
            try:
                return ablation.run(), steps, ablation
            except SystemExit:
                return None, steps, ablation

    return ablate


VARIANTS = ["experiment=ablation", "ablation.name=mine", "ablation.title=Mine", "ablation.compares=dynamics",
            "++ablation.variants={plain: [], FiLM: ['++model.dynamics.conditioning=film']}"]  # fmt: skip


def test_from_nothing_to_the_table(ablate):
    report, steps, ablation = ablate(*VARIANTS, until=4)
    assert report is None and steps == ["tokenizer", "lam", "dynamics", "evaluate"]  # stopped here

    report, steps, ablation = ablate(*VARIANTS)
    assert steps == ["evaluate", "dynamics", "evaluate"]  # what they share is there
    variants = report["variants"]
    assert list(variants) == ["plain", "FiLM"]
    sizes = [entry["figures"]["parameters (M)"]["mean"] for entry in variants.values()]
    assert sizes[0] < sizes[1]
    for entry in variants.values():
        figures = {name: figure["mean"] for name, figure in entry["figures"].items()}
        assert figures["minutes"] == 1.5 and figures["peak memory (MB)"] == 512
        assert figures["NMI with true actions ↑"] is None  # not among the parts
        assert figures["rollout PSNR (dB) ↑"] > 5 and figures["tokenizer PSNR (dB) ↑"] > 5
    kinds = [WorldModel.load(entry["worlds"]["4"]).dynamics.conditioning for entry in variants.values()]
    assert kinds == ["additive", "film"]
    assert json.loads((ablation.folder / "ablation.json").read_text()) == report

    again, steps, _ = ablate(*VARIANTS)
    assert steps == [] and again == report


def test_a_world_that_fails_is_said_and_the_others_are_made(tmp_path, monkeypatch):
    """Its figures are not measured; of an evaluation in which a part failed they are those of the others."""
    folder = SimpleNamespace(last=tmp_path / "last.ckpt")
    jobs = {stage: SimpleNamespace(stage=stage, folder=folder) for stage in ("tokenizer", "dynamics")}
    worlds = [
        SimpleNamespace(variant=name, seed=0, jobs=jobs, path=tmp_path / name)
        for name in ("good", "killed", "part", "last")
    ]
    ablation = Ablation.__new__(Ablation)
    ablation.config, ablation.shown, ablation.worlds, ablation.folder = {"data": {}}, "command", worlds, tmp_path
    ablation.settings = {"title": "Mine", "compares": "dynamics", "columns": {"PSNR": "rollout.psnr"}}
    codes = {("killed", "dynamics"): 137, ("part", "evaluate"): 1}
    trained = iter([world.variant for world in worlds for _ in jobs])

    def end(variant, step):
        if code := codes.get((variant, step)):
            raise SystemExit(code)

    def evaluate(world):
        (world.path / "evaluation").mkdir(parents=True)
        (world.path / "evaluation" / "evaluation.json").write_text('{"rollout": {"psnr": 30.0}}')
        end(world.variant, "evaluate")

    folder.last.touch()
    ablation.train, ablation.evaluate = lambda job: end(next(trained), job.stage), evaluate
    monkeypatch.setattr("genie.training.ablation.record_missing", lambda data: None)
    monkeypatch.setattr("genie.training.ablation.num_parameters", lambda config: 1e6)
    monkeypatch.setattr("genie.training.ablation.read_cost", lambda path: {})
    for job in jobs.values():
        job.config, job.folder.path = {}, tmp_path
    report = ablation.run()
    found = {name: entry["figures"]["PSNR"]["mean"] for name, entry in report["variants"].items()}
    assert found == {"good": 30.0, "killed": None, "part": 30.0, "last": 30.0}
    assert report["failed"] == {
        "killed, seed 0": "dynamics ended with exit code 137", "part, seed 0": "evaluate ended with exit code 1"
    }  # fmt: skip
    assert "not measured" in (tmp_path / "table.md").read_text()
    codes[("good", "tokenizer")] = 2  # a mistake in the command: before any work
    trained = iter(["good"])
    with pytest.raises(SystemExit):
        ablation.run()


def test_a_world_is_measured_again_when_it_was_trained_again_or_is_to_be_measured_differently(tmp_path, monkeypatch):
    ran, ablation = [], Ablation.__new__(Ablation)
    ablation.settings = {"evaluate": ["num_clips=2"]}
    checkpoint, folder = tmp_path / "last.ckpt", tmp_path / "evaluation"
    world = SimpleNamespace(path=tmp_path, jobs={"dynamics": SimpleNamespace(folder=SimpleNamespace(last=checkpoint))})

    def command(step, cost, command):
        ran.append(command)
        folder.mkdir(exist_ok=True)
        (folder / "evaluation.json").write_text("{}")
        note(cost, 1.0, 1.0, command)

    monkeypatch.setattr(Ablation, "command", staticmethod(command))
    checkpoint.write_bytes(b"")
    os.utime(checkpoint, (1, 1))
    for count in (1, 1):
        ablation.evaluate(world)
        assert len(ran) == count
    ablation.settings = {"evaluate": ["num_clips=3"]}
    ablation.evaluate(world)
    assert [words[-1] for words in ran] == ["num_clips=2", "num_clips=3"]
    os.utime(checkpoint, (2**33, 2**33))
    ablation.evaluate(world)
    assert len(ran) == 3


def test_training_anew_trains_what_is_shared_once(ablate, monkeypatch):
    ran = []
    monkeypatch.setattr(Ablation, "command", staticmethod(lambda step, cost, command: ran.append((step, command[-1]))))
    monkeypatch.setattr(Ablation, "evaluate", lambda self, world: None)
    monkeypatch.setattr("genie.training.ablation.metrics_of", lambda *given: {"PSNR": 1.0})
    monkeypatch.setattr("genie.runs.folder.RunFolder.is_complete", lambda folder: True)
    ablate("experiment=ablation_lam_input", "overwrite=true")
    assert [step for step, _ in ran] == ["tokenizer", "lam", "dynamics", "lam", "dynamics"]
    assert {last for _, last in ran} == {"overwrite=true"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["experiment=pong"], "no ablation.variants to compare: give one of experiment=ablation_action, "),
        (["experiment=ablation_action", "seeds=[]"], r"give seeds=\[0\]"),
        (["experiment=ablation_action", "ablation.compares=reward"], "the stages tokenizer, lam, dynamics"),
    ],
)
def test_mistakes_are_told_before_any_work(overrides, words):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"), pytest.raises(UserError, match=words):
        Ablation(resolved("ablate", overrides), overrides)


def test_keys_of_the_ablation_are_not_handed_to_the_stages():
    assert [own_key(text) for text in ("seeds=[0,1]", "++ablation.variants={}", "data.root=x", "+model.a.b=1")] == [
        "seeds", "ablation", "data", "model",
    ]  # fmt: skip
