"""The instrument that recipes are compared with: equal seconds, and rallies in which nobody has to guess a serve."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from benchmarks import inverse_dynamics, sampling, world_quality
from benchmarks.world_quality import Judge, main
from data_modules.held_out_clips import load_clips
from genie.common.errors import UserError
from genie.metrics.objects import Reference

pytestmark = pytest.mark.slow

TINY = ["model=debug", "data.batch_size=2", "clips=4"]


def test_a_rally_ends_where_the_object_was_not_seen():
    seen = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 1], [1, 1, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
    truth = Reference(torch.zeros(4, 6, 1, 2), seen[..., None], ~seen[..., None])
    expected = [[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]  # after the frames 1 and 2, the last two of three given
    found = truth.rally(3)
    assert found.seen[..., 0].long().tolist() == expected
    assert found.objects.shape == (4, 3, 1, 2) and torch.equal(found.alarm[..., 0], ~seen[:, 3:])


@pytest.fixture
def run(pong_root, tmp_path, monkeypatch):
    def run(*arguments):
        GlobalHydra.instance().clear()
        given = [*TINY, "data=pong", f"data.root={pong_root}", f"output={tmp_path}/quality", *arguments]
        monkeypatch.setattr("sys.argv", ["world_quality", *given])
        main()
        return json.loads((tmp_path / "quality.json").read_text())

    return run


def copies(root, folder):
    """The episode files of a folder, copied into another one and open, one after the other."""
    for source in root.glob("*.h5"):
        shutil.copy(source, folder / source.name)
        with h5py.File(folder / source.name, "a") as file:
            yield file


def test_variants_are_measured_after_the_same_seconds(run, tmp_path, capsys):
    rows = run("stage=tokenizer", "seconds=0.3,0.6", "variant=slow data.batch_size=8", "variant=fast")
    assert [(row["variant"], row["seconds"]) for row in rows] == [
        ("slow", 0.3), ("slow", 0.6), ("fast", 0.3), ("fast", 0.6),
    ]  # fmt: skip
    assert 0 < rows[0]["steps"] < rows[1]["steps"]
    assert {"psnr", "jitter", "ball present", "ball in_place", "ball doubled"} <= rows[0].keys()
    assert (tmp_path / "quality.png").stat().st_size > 10_000
    assert "| slow | 0.6 |" in (tmp_path / "quality.md").read_text() and "| fast | 0.6 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("seconds=x", "seconds=[x]: each must be a number above 0"),
        ("seeds=0.5", "seeds=[0.5]: each must be a whole number from 0 to 4294967295"),
        ("seconds=", "seconds=[] must not be empty"),
        ("clips=1,2", "clips=1,2 must be a whole number of at least 1"),
        ("variant=a +model.lam.transformer={b: c}", "cannot read the override"),
        ("model.lam.pool=x", "there is no key 'model.lam.pool'; did you mean model.lam.pooling?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, argument, line):
    with pytest.raises(UserError, match=re.escape(line)):
        run("stage=lam", argument)


def test_of_data_without_objects_the_rest_is_measured(run, pong_root, tmp_path):
    for file in copies(pong_root, tmp_path):
        del file["objects"]
    rows = run("stage=tokenizer", "seconds=0.1", f"data.root={tmp_path}")
    assert {"psnr", "psnr of things", "jitter"} <= rows[0].keys() and not [name for name in rows[0] if "ball" in name]
    assert rows[0]["psnr of things"] < rows[0]["psnr"] and (tmp_path / "quality.png").exists()


def test_latent_actions_are_measured_against_the_recorded_ones(run):
    rows = run("stage=lam", "seconds=0.2")
    assert {"psnr", "psnr_copy_last", "nmi", "matching"} <= rows[0].keys()
    assert 0 <= rows[0]["nmi"] <= 1 and 100 / 3 <= rows[0]["matching"] <= 100


@pytest.fixture
def labelled(pong_root, monkeypatch, capsys):
    """labelled(seconds, *arguments): what an encoder reaches that is trained with the recorded actions."""

    def labelled(seconds, *arguments):
        GlobalHydra.instance().clear()
        given = ["model=debug", "data=pong", f"data.root={pong_root}", "clips=16", f"seconds={seconds}", *arguments]
        monkeypatch.setattr("sys.argv", ["inverse_dynamics", *given])
        inverse_dynamics.main()
        return {name: float(value.rstrip("%")) for name, value in
                (word.split("=") for word in capsys.readouterr().out.split())}  # fmt: skip

    return labelled


def test_with_labels_the_actions_are_learned(labelled, pong_root, tmp_path):
    for file in copies(pong_root, tmp_path):  # a bar that goes where the action says
        moves = np.array([0, -8, 8])[file["actions"][:]]
        top = (np.cumsum(moves) - moves) % 64
        rows = (np.arange(64) - top[:, None]) % 64 < 16
        file["frames"][:] = np.broadcast_to(200 * rows[:, :, None, None], file["frames"].shape)
    figures = labelled(8, f"data.root={tmp_path}", "optimizer.lr=2e-3", "data.batch_size=8")
    assert figures["nmi"] > 0.15 and figures["right"] > figures["most_common"] + 9  # 0 and 46% are for free


def test_labels_may_be_groups_of_actions(labelled):
    assert labelled(0.2, "++data.recorder.action_groups={any: [noop, up, down]}", "groups=true")["most_common"] == 100
    with pytest.raises(UserError, match="name no groups"):
        labelled(0.2, "++data.recorder.action_groups={any: [noop, jump]}", "groups=true")


def test_labels_have_to_be_there(labelled, pong_root, tmp_path):
    for file in copies(pong_root, tmp_path):
        del file["actions"]
    with pytest.raises(UserError, match="no actions to learn from"):
        labelled(1, f"data.root={tmp_path}")


def test_a_dynamics_is_measured_on_rollouts_and_tokens(run, world_run):
    checkpoint = world_run / "tokenizer" / "checkpoints" / "last.ckpt"
    rows = run("seconds=0.2", "seeds=0,1", f"tokenizer_ckpt={checkpoint}")
    assert [row["seed"] for row in rows] == [0, 1]
    wanted = {
        "psnr@1",
        "psnr@10",
        "ball present@1",
        "ball in_place@10",
        "player doubled",
        "tokens right",
        "object right",
    }
    assert wanted <= rows[0].keys()
    assert 0 <= rows[0]["object right"] <= 100


def test_a_perfect_tokenizer_is_its_own_ceiling(pong_root, configure):
    clips = load_clips(configure("tokenizer", "data.image_size=[64,64]")["data"], str(pong_root), "test", 6, 14, 6)
    judge = Judge(clips, 4, 8)
    figures = judge.objects(clips.floats(), judge.truth, (None,))
    for name in ("ball", "player", "enemy"):
        assert (figures[f"{name} present"], figures[f"{name} in_place"]) == (100, 100)
    empty = judge.objects(clips.background.expand(6, 14, -1, -1, -1), judge.truth, (None,))
    assert empty["ball present"] == 0


def test_samplers_are_compared_by_rallies_and_long_rollouts(run_main, world_run):
    GlobalHydra.instance().clear()
    given = [f"run={world_run}", "clips=4", "seeds=2", "horizon=5", "long=8", "worlds=2"]
    code, out, _ = run_main(sampling.main, *given, "only=2 steps, temperature 0.5")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("|")]
    heading, row, other = [word.strip() for word in lines[0].split("|")], *[line.split("|") for line in lines[2:]]
    assert row[1].strip() == "maskgit, 12 steps, temperature 0.5" and len(row) == len(other) == len(heading)
    cells = dict(zip(heading, [cell.strip() for cell in row], strict=True))
    assert "± " in cells["in place at 1"] and "± " in cells["there, quarter 4 of long"]
    assert "in place at 10" not in cells  # beyond the horizon
    others = dict(zip(heading, [cell.strip() for cell in other], strict=True))
    assert float(others["passes"]) <= 2 < float(cells["passes"]) <= 12


def test_a_step_costs_what_it_does_on_average_over_a_run(monkeypatch):
    def fit(config, data, callback):
        callback.seconds = 3.0 if config["stage"]["places"] == 1 else 1.0

    monkeypatch.setattr(world_quality, "fit", fit)
    config = {"trainer": {"max_steps": 5}, "stage": {"places": 0.4, "places_until": 0.8}}
    assert world_quality.step_seconds(config, None) == pytest.approx(0.8 * 1 + 0.2 * 3)
    assert world_quality.step_seconds(config | {"stage": {"places": 0.4, "places_until": 1}}, None) == 1
    assert world_quality.step_seconds(config | {"stage": {"places": 1, "places_until": 0.5}}, None) == 3
    assert config["trainer"]["max_steps"] == 5
