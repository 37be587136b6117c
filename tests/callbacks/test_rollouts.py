"""Looks at held-out clips during training: they measure what the evaluation measures, and training does not notice."""

import copy
import functools
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from PIL import Image

from callbacks.rollouts import Rollouts, check, rollout_metrics
from data_modules.held_out_clips import load_clips
from genie.common.cli import resolved
from genie.common.errors import RunError, UserError
from genie.common.settings.world import Sampled
from genie.evaluation.rollout import RolloutSettings, evaluate_rollout
from genie.evaluation.trained_run import TrainedRun
from genie.metrics.fvd import frechet_distance
from genie.metrics.video_features import VideoFeatures
from genie.runs.metrics_file import read_metrics
from genie.training.train import train

pytestmark = pytest.mark.slow

PROMPT, HORIZON, CLIPS = 2, 4, 2  # of debug=fast


@pytest.fixture(scope="module")
def run(world_run, pong_root, tmp_path_factory):
    """run(*overrides) trains the dynamics of a tiny world and gives (its configuration, its folder)."""
    outputs = tmp_path_factory.mktemp("rollouts")

    def run(name, *overrides, stage="dynamics"):
        earlier = [f"{part}_ckpt={world_run}/{part}/checkpoints/last.ckpt" for part in ("tokenizer", "lam")]
        defaults = ["debug=fast", f"stage={stage}", f"data.root={pong_root}", f"output_dir={outputs}", *earlier]
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("train", [*defaults, f"name={name}", *overrides])
        train(config)
        return config, outputs / name / stage

    return run


@pytest.fixture(scope="module")
def looking(run):
    """A run of 4 steps with averaged weights that looks after 2 and 4 of them."""
    settings = ["ema=true", "callbacks.ema.decay=0.5", "trainer.val_check_interval=1", "trainer.max_steps=4"]
    dropout = "+model.dynamics.transformer={dropout: 0.3}"  # so that training draws random numbers and has its own mode
    switches = ["callbacks.rollouts.every_n_train_steps=2", "callbacks.rollouts.keep_videos=1", "logger=tensorboard"]
    return run("looking", *settings, dropout, *switches), [*settings, dropout]


def values(folder, prefix):
    """The rows of metrics.csv, of each the values whose names begin so."""
    rows = read_metrics(folder / "metrics.csv")
    found = [{"step": row["step"]} | {name: row[name] for name in row if name.startswith(prefix)} for row in rows]
    return [row for row in found if len(row) > 1]


def test_training_is_bit_for_bit_what_it_is_without(looking, run):
    (_, folder), settings = looking
    _, plain = run("plain", *settings, "callbacks.rollouts.every_n_train_steps=null")
    assert not (plain / "media").exists() and values(plain, "rollout/") == []
    for prefix in ("train/", "val/"):
        assert len(values(plain, prefix)) == 4 and values(folder, prefix) == values(plain, prefix)
    with_looks, without = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (folder, plain)
    )
    for weights in ("state_dict", "current_model_state"):  # averaged, and those that are trained
        assert all(torch.equal(with_looks[weights][name], without[weights][name]) for name in without[weights])


def test_figures_are_those_of_the_evaluation_of_the_checkpoint(looking, world_run, tmp_path):
    (config, folder), _ = looking
    world = tmp_path / "world"
    for part in ("tokenizer", "lam"):
        shutil.copytree(world_run / part, world / part)
    shutil.copytree(folder, world / "dynamics")  # its state holds the averaged weights
    clips = load_clips(config["data"], None, "val", CLIPS, PROMPT + HORIZON, batch_size=8)
    subject = TrainedRun(world, torch.device("cpu"), Sampled(**config["callbacks"]["rollouts"]["sampler"]))
    with torch.no_grad():
        measured = evaluate_rollout(subject, clips, RolloutSettings(PROMPT, HORIZON, (4,), 1, 0, 5), tmp_path)
    expected = {f"rollout/{name}": value for name, value in rollout_metrics(measured).items()}
    first, last = values(folder, "rollout/")
    assert {name for name in last if "psnr_h" in name} == {f"rollout/psnr_h{number}" for number in range(1, 5)}
    assert last == pytest.approx(expected | {"step": 4, "rollout/seconds": last["rollout/seconds"]}, abs=1e-4)
    assert abs(first["rollout/psnr_mean"] - last["rollout/psnr_mean"]) > 1e-3  # the weights of that step


@pytest.fixture(scope="module")
def continuous_root(pong_root, tmp_path_factory):
    """The same recordings with true actions of two numbers, which have names."""
    root = tmp_path_factory.mktemp("continuous")
    for path in pong_root.glob("*.h5"):
        with h5py.File(shutil.copy(path, root), "r+") as file:
            numbers = np.random.default_rng(0).uniform(-1, 1, (len(file["actions"]), 2)).astype(np.float32)
            del file["actions"]
            file["actions"] = numbers
            file.attrs["action_meanings"] = ["shoulder", "elbow"]
    return root


def test_continuous_true_actions_are_measured_and_name_no_row(run, continuous_root):
    looks = ["callbacks.rollouts.every_n_train_steps=1", f"data.root={continuous_root}"]
    _, folder = run("continuous", *looks, stage="lam")
    (row, *_) = values(folder, "val/action_")
    assert row.keys() == {"step", "val/action_explained"} and 0 <= row["val/action_explained"] <= 1
    assert any((folder / "media").glob("step_*/lam_effects.png"))
    _, folder = run("continuous", *looks)
    assert any((folder / "media").glob("step_*/action_grid.png"))


def test_a_training_outlives_its_pictures(run, monkeypatch, capsys):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("callbacks.rollouts.draw_action_grid", out_of_memory)
    looks = ["callbacks.rollouts.every_n_train_steps=1", "trainer.val_check_interval=1", "trainer.max_steps=2"]
    with pytest.raises(RunError, match="out of memory"):
        run("strict", *looks)
    monkeypatch.delenv("GENIE_STRICT")
    _, folder = run(
        "outlives", *looks, "callbacks.checkpoint.monitor=rollout/psnr_mean", "callbacks.checkpoint.mode=max"
    )
    err = capsys.readouterr().err
    assert err.count("held-out clips could not be evaluated (OutOfMemoryError: CUDA out of memory)") == 2
    assert len(values(folder, "val/")) == 2 and values(folder, "rollout/") == []


def test_pictures_are_there_whole_and_shown(looking, read_video):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (_, folder), _ = looking
    rollout = {f"rollout_{name}.png" for name in ("psnr", "ssim", "objects")}
    pictures = {"action_grid.png", "attention.png", *rollout}
    assert {path.name for path in (folder / "media" / "step_2").iterdir()} == pictures  # keep_videos=1
    newest = {path.name: path for path in (folder / "media" / "step_4").iterdir()}
    assert set(newest) == pictures | {"rollout.mp4", "action_grid.mp4"}
    assert all(min(Image.open(newest[name]).size) > 100 for name in pictures)
    video, rate = read_video(newest["rollout.mp4"])
    assert len(video) == PROMPT + HORIZON and rate == 5
    assert len(read_video(newest["action_grid.mp4"])[0]) == PROMPT + 2
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    names = ("rollout", "action_grid", "attention", "horizon", "rollout_ssim", "rollout_objects")
    assert {f"media/{name}" for name in names} == set(events.Tags()["images"])
    assert [event.step for event in events.Images("media/rollout")] == [1, 3]
    assert "rollout/psnr_h4" in events.Tags()["scalars"]


def test_a_resumed_run_looks_where_the_whole_one_does(run):
    settings = ["callbacks.rollouts.every_n_train_steps=4", "trainer.val_check_interval=2"]
    settings += ["callbacks.rollouts.grid_frames=0", "callbacks.rollouts.delta_psnr_t=[]"]
    run("parts", *settings, "trainer.max_steps=4", stage="cotrain")
    _, folder = run("parts", *settings, "trainer.max_steps=7", "resume=true", stage="cotrain")
    # not after 6, as a callback would that has forgotten the first part
    assert [row["step"] for row in values(folder, "rollout/")] == [4, 7]
    names = {path.name for path in (folder / "media" / "step_7").iterdir()}
    assert {"lam.mp4", "lam_confusion.png", "rollout.mp4", "attention.png"} <= names
    assert "action_grid.mp4" not in names and not [name for name in values(folder, "rollout/")[0] if "delta" in name]


def test_the_first_validation_after_the_interval_is_taken():
    callback = Rollouts.__new__(Rollouts)
    callback.every, callback.last_step = 1000, 0
    taken = []
    for step in range(300, 3001, 300):
        if callback._is_due(step, max_steps=3000):
            callback.last_step = step
            taken.append(step)
    assert taken == [1200, 2100, 3000]


def test_every_stage_draws_its_pictures(world_run):
    drawn = {stage: {path.name for path in (world_run / stage / "media" / "step_5").iterdir()} for stage in
             ("tokenizer", "lam", "dynamics")}  # fmt: skip
    assert drawn["tokenizer"] >= {"tokenizer.mp4", "codebook.png", "attention.png"}
    assert drawn["lam"] >= {"lam.mp4", "lam_confusion.png"}
    assert drawn["dynamics"] >= {"rollout.mp4", "rollout_psnr.png", "action_grid.png", "attention.png"}


def test_clips_that_are_not_there_are_said_and_training_goes_on(run, capsys):
    _, folder = run("short", "callbacks.rollouts.horizon=500", "callbacks.rollouts.delta_psnr_t=[]")
    lines = [line for line in capsys.readouterr().out.splitlines() if "no rollouts" in line]
    assert len(lines) == 1 and "502 frames" in lines[0]
    assert len(values(folder, "train/")) == 5 and not (folder / "media").exists()


def test_other_processes_draw_nothing_and_log_the_figures_of_the_first(tmp_path):
    logged = {}
    strategy = SimpleNamespace(broadcast=lambda figures: {"psnr_mean": 30.0, "psnr_copy_last_mean": 29.0,
                               "psnr_background_mean": 28.0, "passes_per_frame": 2.0})  # fmt: skip
    trainer = SimpleNamespace(
        global_step=5, max_steps=5, is_global_zero=False, strategy=strategy, state=SimpleNamespace(fn="fit")
    )
    module = SimpleNamespace(log_dict=lambda values, sync_dist: logged.update(values), print=lambda line: None)
    callback = Rollouts("pong dynamics", tmp_path / "media", settings(), seed=0)
    callback.on_validation_epoch_end(trainer, module)
    assert logged["rollout/psnr_mean"] == 30.0 and not list(tmp_path.iterdir())


@functools.cache
def composed():
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("train")["callbacks"]["rollouts"]


def settings(**changes):
    """The group callbacks.rollouts; the keys of a part of it are joined to its name by two underscores."""
    found = copy.deepcopy(composed())
    for path, value in changes.items():
        *parts, name = path.split("__")
        functools.reduce(dict.__getitem__, parts, found)[name] = value
    return found


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("every_n_train_steps=-1", "callbacks.rollouts.every_n_train_steps=-1"),
        ("num_clips=0", "callbacks.rollouts.num_clips=0"),
        ("horizon=2.5", "callbacks.rollouts.horizon=2.5"),
        ("delta_psnr_t=[11]", "11 is not in 1 … 10"),
        ("keep_videos=-1", "callbacks.rollouts.keep_videos=-1"),
        ("fps=0", "callbacks.rollouts.fps=0"),
        ("sampler.steps=0", "callbacks.rollouts.sampler.steps=0"),
        ("attention.heads=two", "attention.heads=two"),
    ],
)
def test_wrong_values_are_one_line(override, message):
    check(settings(every_n_train_steps=None, fvd_videos=0, grid_frames=0, keep_videos=0))
    with initialize_config_module("conf", version_base="1.3"), pytest.raises(UserError, match=message) as error:
        check(resolved("train", [f"callbacks.rollouts.{override}"])["callbacks"]["rollouts"])
    assert "\n" not in str(error.value)


def test_video_distances_see_generated_and_true_videos_of_the_same_clips(run, monkeypatch, tmp_path):
    seen = []

    class Colours(torch.nn.Module):
        """A detector that is there at once."""

        def forward(self, videos):
            seen.append(videos)
            return videos.float().mean(dim=(-2, -1)).flatten(1)

    monkeypatch.setenv("GENIE_CACHE", str(tmp_path))
    features = VideoFeatures(Colours(), 3)
    monkeypatch.setattr("callbacks.rollouts.video_features", lambda: features)
    seen.clear()  # of the one that counts the features
    _, folder = run("distances", "callbacks.rollouts.fvd_videos=5", "callbacks.rollouts.batch_size=8")
    (row,) = values(folder, "rollout/")
    assert {"rollout/fvd_Colours_3f_5v", "rollout/kvd_Colours_3f_5v"} <= row.keys()
    videos = torch.cat(seen)  # [10, 3, 3, 224, 224]: five that are generated, and the true ones
    made, true = videos[:5], videos[5:]
    assert made.shape == true.shape
    expected = frechet_distance(*(x.mean(dim=(-2, -1)).flatten(1) for x in (true, made)))
    assert row["rollout/fvd_Colours_3f_5v"] == pytest.approx(expected.item(), rel=1e-4)
    assert expected > 1e-6
