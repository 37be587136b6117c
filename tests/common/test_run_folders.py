"""What is said of a folder that is no trained run, and which runs there are."""

from pathlib import Path

import pytest

from genie.common import shipped
from genie.common.errors import UserError
from genie.common.run_folders import STAGES, explained, known_runs, runs_in, stages_in
from genie.models import building


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    """make(run, *stages): a folder with a file for each of these stages, below an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "HOME", tmp_path / "package")

    def make(run, *stages):
        Path(run).mkdir(parents=True, exist_ok=True)
        for stage in stages:
            Path(run, stage, "checkpoints").mkdir(parents=True)
            Path(run, stage, "checkpoints", "last.ckpt").touch()

    return make


def test_the_stages_are_those_that_are_trained():
    assert STAGES == building.STAGES


def test_runs_are_folders_that_hold_a_trained_stage(outputs):
    outputs("outputs/car", "lam", "tokenizer")
    outputs("outputs/group/one", "simulator")
    outputs("outputs/inspect")
    outputs("outputs/begun/tokenizer/checkpoints")
    Path("outputs/hf/me/pong").mkdir(parents=True)
    Path("outputs/hf/me/pong/dynamics.safetensors").touch()
    assert stages_in(Path("outputs/car")) == ["tokenizer", "lam"]
    assert list(map(str, runs_in(Path("outputs")))) == ["outputs/car", "outputs/group/one", "outputs/hf/me/pong"]
    assert list(runs_in(Path("nowhere"))) == []


def test_worlds_of_the_package_are_known_by_one_name(outputs):
    outputs("outputs/pretrained/pong", "dynamics")
    Path("package/pong").mkdir(parents=True)
    assert known_runs() == ["pretrained/pong"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("outputs/cra", "there is no such folder; did you mean outputs/car?"),
        ("cra", "there is no such folder; did you mean outputs/car?"),
        ("outputs/xyz", "there is no such folder; there is: outputs/car, outputs/pong"),
        ("outputs/inspect", "no stage is trained there; there is: outputs/car, outputs/pong"),
        ("outputs/note.txt", "it is a file; there is: outputs/car, outputs/pong"),
        ("outputs/car/lam", "it is the folder of one stage, give run=outputs/car"),
        ("outputs/pong", "it holds tokenizer; next comes `python -m genie.train stage=lam name=pong`"),
        ("outputs/car", "it holds tokenizer, lam; next comes `python -m genie.train stage=dynamics name=car`"),
        ("elsewhere/a", "it holds lam; next comes `python -m genie.train stage=tokenizer output_dir=elsewhere name=a`"),
    ],
)
def test_what_is_wrong_and_what_comes_next(outputs, run, said):
    outputs("outputs/car", "tokenizer", "lam")
    outputs("outputs/pong", "tokenizer")
    outputs("elsewhere/a", "lam")
    outputs("outputs/inspect")
    Path("outputs/note.txt").touch()
    assert explained(Path(run), "run=").startswith(said)


def test_a_list_of_runs_is_short_and_without_any_the_first_command_is_named(outputs):
    assert "genie.train stage=tokenizer" in explained(Path("outputs/xyz"))
    for name in "abcdefg":
        outputs(f"outputs/{name}", "dynamics")
    assert explained(Path("outputs/xyz")).endswith("outputs/a, outputs/b, outputs/c, outputs/d, outputs/e and 2 more")
    assert "stage=simulator" in explained(Path("outputs/a"), need="simulator")


def test_every_command_says_the_same(outputs):
    from genie.evaluation.trained_run import TrainedRun
    from genie.publishing.export import run_files
    from genie.world.loading import dynamics_file
    from genie.world.opening import open_world
    from genie.world.simulator_world import SimulatorWorld

    outputs("outputs/car", "dynamics")
    for opening in (lambda run: TrainedRun(run, None), run_files, dynamics_file, open_world, SimulatorWorld.load):
        with pytest.raises(UserError, match="outputs/cra holds no trained .*did you mean outputs/car") as error:
            opening(Path("outputs/cra"))
        assert "\n" not in str(error.value)


def test_a_video_of_a_run_that_is_not_there_makes_no_folder(outputs, run_main):
    from genie.generate import main

    code, _, err = run_main(main, "run=outputs/cra")
    assert code == 2 and "run=outputs/cra holds no trained world: there is no such folder" in err
    assert not Path("outputs").exists()
