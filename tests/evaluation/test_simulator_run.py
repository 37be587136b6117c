"""`genie.evaluate` of a run that holds a light simulator, alone and beside a Genie world."""

import json
import shutil
from unittest import mock

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.evaluation.evaluate import Evaluated, evaluate_runs
from genie.evaluation.parts import PARTS
from genie.publishing.report_figures import rows
from genie.publishing.report_page import render
from genie.training.train import train

GENIE_PARTS = [part for part in PARTS if "genie" in part.needs]
WORLD_GROUPS = {name for part in PARTS if part not in GENIE_PARTS for name in part.titles}
FEW = ("num_clips=5", "prompt_frames=2", "horizon=3", "delta_psnr.t=[1]", "reward.clips=6", "device=cpu",
       "imagination.branches=2", "imagination.batches=[2,1]", "imagination.horizons=[1]", "side_by_side.horizon=5",
       "side_by_side.clips=2")  # fmt: skip


def composed(command, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved(command, list(overrides))


@pytest.fixture(scope="module")
def pendulum(record_with, tmp_path_factory):
    """outputs/<name> of a delta simulator of five steps, on three episodes of Pendulum for each split."""
    outputs = tmp_path_factory.mktemp("pendulum")
    small = [f"data.recorder.num_frames.{split}=63" for split in ("train", "val", "test")]
    root = record_with(outputs / "data", "data=pendulum", *small, "data.recorder.max_episode_steps=20")
    given = ("stage=simulator", "simulator=delta", "data=pendulum", "debug=fast", f"data.root={root}", "name=pendulum")
    with mock.patch("callbacks.metrics_csv.plot_metrics"):
        train(composed("train", *given, f"output_dir={outputs}"))
    return outputs / "pendulum"


@pytest.fixture(scope="module")
def report(pendulum):
    """(report, folder) of all parts."""
    one = evaluate_runs(composed("evaluate", *FEW, f"run={pendulum}"))[0]
    return one.values, one.folder


def test_what_is_about_any_world_is_measured_and_the_rest_left_out(report, pendulum):
    values, folder = report
    assert set(values["left_out"]) == {part.name for part in GENIE_PARTS}
    assert "none of Genie's stages" in values["left_out"]["lam"]
    assert values["world"] == "simulator" and values["checkpoints"] == {"simulator": 5} and values["sampler"] is None
    assert len(values["prediction"]["state_error_by_horizon"]) == 3
    assert values["reward"]["reached"]["negative_rewards"] > 15 and "reward_mse" in values["reward"]["imagined"]
    assert set(values["imagination"]) == {"branches", "b2_h4", "b1_h4", "b2_h1"}
    names = {"evaluation.json", "imagination.png", "prediction_state_error.png", "side_by_side.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "evaluation.json").read_text()) == values


def test_figures_depend_on_the_seed_and_not_on_the_batch(report, pendulum, tmp_path):
    given = (*FEW, f"run={pendulum}", "parts=[prediction,reward]", f"output={tmp_path}", "batch_size=2")
    again = evaluate_runs(composed("evaluate", *given))[0].values
    assert again["prediction"] == report[0]["prediction"] and again["reward"] == report[0]["reward"]


def test_the_report_knows_every_figure(report, pendulum):
    values, folder = report
    html = render([Evaluated("pendulum", pendulum, folder, values)])
    for text in ("error of states, mean", "returns of segments", "imagined step (horizon)", "Imagined beside real"):
        assert text in html
    shown = [row for row in rows([values], comparable=False) if row.path.split(".")[0] in WORLD_GROUPS]
    assert len(shown) > 10 and all(row.meaning.definition for row in shown)
    beside = {row.path: set(row.references) for row in shown}
    assert beside["prediction.state_error_mean"] == {"copy of the last frame"}
    assert beside["reward.reached.reward_mse"] == {"of always 0", "of always their mean"}
    assert beside["imagination.b2_h4.steps_per_second"] == {"time", "peak memory", "of it for imagining"}


def test_curves_that_are_longer_than_any_episode_are_those_of_the_figures(pendulum, tmp_path):
    given = (*FEW, f"run={pendulum}", "parts=[side_by_side]", f"output={tmp_path}", "side_by_side.horizon=500")
    one = evaluate_runs(composed("evaluate", *given))[0]
    values, folder = one.values, one.folder
    assert values["left_out"] == {} and (folder / "side_by_side.png").is_file()


@pytest.fixture(scope="module")
def both(world_run, pendulum, tmp_path_factory):
    """A run that holds a Genie world of Pong and a simulator of Pendulum."""
    run = tmp_path_factory.mktemp("both") / "run"
    shutil.copytree(world_run, run, ignore=shutil.ignore_patterns("evaluation", "media"))
    shutil.copytree(pendulum / "simulator", run / "simulator")
    return run


def test_a_key_chooses_the_world_and_genies_parts_stay(both, tmp_path):
    given = (*FEW, f"run={both}", "parts=[tokenizer,prediction]")
    genie = evaluate_runs(composed("evaluate", *given, f"output={tmp_path / 'genie'}"))[0].values
    assert genie["world"] == "genie" and {"pixel_error_mean", "token_error_mean"} <= set(genie["prediction"])
    other = evaluate_runs(composed("evaluate", *given, f"output={tmp_path / 'other'}", "world=simulator"))[0].values
    assert other["world"] == "simulator" and "state_error_mean" in other["prediction"]
    assert other["tokenizer"] == genie["tokenizer"] and other["checkpoints"] == genie["checkpoints"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("world=genie", "world=genie: .* no trained world of that kind; it holds simulator"),
        ("world=rssm", "world=rssm must be one of genie, simulator"),
        ("reward.clips=0", "reward.clips=0"),
        ("reward.discount=0", "reward.discount=0"),
        ("imagination.batches=[]", "imagination.batches"),
        ("imagination.horizons=[0]", r"imagination.horizons=\[0\]: each"),
        ("side_by_side.clips=0", "side_by_side.clips=0"),
    ],
)
def test_a_wrong_value_is_one_line(pendulum, override, message):
    with pytest.raises(UserError, match=message) as error:
        evaluate_runs(composed("evaluate", f"run={pendulum}", override))
    assert "\n" not in str(error.value)
