"""Signs of uncertainty against the true error: what is reported is what was generated."""

import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.evaluation.evaluate import evaluate_runs
from genie.evaluation.table import report_table
from genie.evaluation.uncertainty import figures, spearman
from genie.world.world_model import WorldModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(world_run, tmp_path_factory):
    GlobalHydra.instance().clear()
    folder = tmp_path_factory.mktemp("uncertainty")
    given = ["parts=[uncertainty]", "num_clips=6", "horizon=5", "batch_size=4", "steps=2", f"output={folder}"]
    with initialize_config_module("conf", version_base="1.3"):
        config = resolved("evaluate", [f"run={world_run}", "device=cpu", *given])
    return evaluate_runs(config)[0], folder


def test_what_is_reported(measured, world_run):
    one, folder = measured
    found = one.values["uncertainty"]
    assert one.values["failed"] == {} and (folder / "uncertainty.png").stat().st_size > 1000
    codes = WorldModel.load(world_run).dynamics.num_codes
    assert 0 < found["entropy"]["mean"] < np.log(codes) and 0 <= found["reencoded"]["mean"] <= 1
    for sign in found.values():
        assert len(sign["by_horizon"]) == 5 and np.mean(sign["by_horizon"]) == pytest.approx(sign["mean"], abs=1e-3)
        assert all(value is None or -1 <= value <= 1 for name, value in sign.items() if "correlation" in name)
    cells = [str(cell) for cell in report_table(one.values).columns[0].cells]
    assert "entropy of a drawn token" in cells and "tokens that change, encoded again" in cells


def test_a_world_that_knows_its_errors_is_told_from_one_that_does_not():
    error = np.random.default_rng(0).random((40, 6)) * np.arange(1, 7)
    knows, grows = figures(error**2, error), figures(np.arange(6.0)[None].repeat(40, 0), error)
    assert [knows["correlation"], knows["correlation_within_horizon"]] == pytest.approx([1, 1])
    assert grows["correlation"] > 0.3 and np.isnan(grows["correlation_within_horizon"])  # it only knows the horizon
    assert np.isnan(spearman(np.ones(5), np.arange(5.0))) and figures(-error, error)["correlation"] == pytest.approx(-1)


def test_a_step_says_how_unsure_the_world_was(world_run):
    world = WorldModel.load(world_run)
    state = world.reset(torch.rand(2, 3, 3, 64, 64), seed=1)
    _, step = world.step(state, torch.tensor([0, 1]))
    assert step.uncertainty.shape == (2,) and (step.uncertainty > 0).all() and world.knows_uncertainty
    world.cached = False
    _, again = world.step(state, torch.tensor([0, 1]))
    assert torch.allclose(step.uncertainty, again.uncertainty, atol=1e-4)
