"""The evaluation, on an untrained world for what it writes, and on worlds that are known for what it measures."""

import io
import json
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from rich.console import Console
from torchmetrics.functional.image import structural_similarity_index_measure

from data_modules.data_info import DataInfo
from data_modules.held_out_clips import Clips, in_segments, in_windows, load_clips
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.evaluate import main
from genie.evaluation.evaluate import evaluate_runs
from genie.evaluation.fvd import evaluate_distances, load_features
from genie.evaluation.latent_actions import evaluate_lam, latent_labels
from genie.evaluation.provenance import numbers
from genie.evaluation.rollout import RolloutSettings, evaluate_rollout
from genie.evaluation.table import report_table
from genie.evaluation.tokenizer import evaluate_tokenizer
from genie.evaluation.trained_run import LeftOut, Trained, TrainedRun
from genie.metrics.psnr import psnr
from genie.metrics.video_features import VideoFeatures, cached_features
from genie.runs.loading import load_model, read_checkpoint
from genie.world.sampler import Sampler

pytestmark = pytest.mark.slow

FILES = [
    "action_grid.mp4",
    "action_grid.png",
    "attention.png",
    "codebook.png",
    "evaluation.json",
    "imagination.png",
    "lam.mp4",
    "lam_confusion.png",
    "lam_effects.png",
    "prediction_pixel_error.png",
    "prediction_token_error.png",
    "rollout.mp4",
    "rollout_objects.png",
    "rollout_psnr.png",
    "rollout_ssim.png",
    "side_by_side.mp4",
    "tokenizer.mp4",
    "uncertainty.png",
]
ROLLOUT_FILES = ["evaluation.json", *(name for name in FILES if name.startswith("rollout"))]


def composed(*overrides):
    few = ["num_clips=5", "prompt_frames=3", "horizon=4", "grid.frames=3", "grid.prompts=2"]
    few += ["fvd.videos=2", "fvd.frames=9", "side_by_side.clips=1", "side_by_side.horizon=5"]
    few += ["imagination.branches=2", "imagination.horizon=2", "imagination.batches=[2]", "imagination.horizons=[1]"]
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("evaluate", [*few, *overrides])


class Colours(torch.nn.Module):
    """A detector that is there at once: mean colours of the first, the middle and the last frame."""

    def forward(self, videos):
        return videos.float()[:, :, [0, videos.shape[2] // 2, -1]].mean(dim=(-2, -1)).flatten(1)


@pytest.fixture(scope="module", autouse=True)
def quick_features(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("genie.evaluation.fvd.load_features", lambda frames, resize: VideoFeatures(Colours(), frames))
        yield


@pytest.fixture(scope="module")
def report(world_run):
    """(report, folder) of the tiny world."""
    one = evaluate_runs(composed(f"run={world_run}", "batch_size=2"))[0]
    return one.values, one.folder


@pytest.fixture(scope="module")
def clips(world_run):
    config = read_checkpoint(world_run / "dynamics" / "checkpoints" / "last.ckpt")["hyper_parameters"]["config"]
    return load_clips(config["data"], None, "test", 5, 7, 2)


def test_clips_of_the_training_split_are_as_many_as_asked_for(world_run):
    config = read_checkpoint(world_run / "dynamics" / "checkpoints" / "last.ckpt")["hyper_parameters"]["config"]
    clips = load_clips(config["data"], None, "train", 5, 7, 2)
    assert clips.frames.shape[:2] == (5, 7)
    assert not torch.equal(clips.frames, load_clips(config["data"], None, "test", 5, 7, 2).frames)


# ------------------------------------------------------------------ what is written


def test_everything_is_written_and_the_file_holds_what_is_returned(report):
    values, folder = report
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert json.loads((folder / "evaluation.json").read_text()) == values
    assert values["clips"] == 5 and values["frames"] == 5 * 7 and values["split"] == "test"
    assert values["checkpoints"] == {"tokenizer": 5, "lam": 5, "dynamics": 5}
    assert values["sampler"] == {
        "steps": 2, "temperature": 1.0, "order": "confidence", "entropy_bound": None,
    }  # fmt: skip
    assert set(values["left_out"]) == {"reward"} and "stage=reward" in values["left_out"]["reward"]
    assert values["world"] == "genie" and set(values["imagination"]) == {"branches", "b2_h2", "b2_h1"}
    assert set(values["objects"]) == {"ball", "player", "enemy"}
    assert len(values["rollout"]["psnr_by_horizon"]) == 4
    kinds, ends = ("", "_simulator", "_simulator_tokens"), ("", "_spread", "_pooled")
    names = {f"t{t}{kind}{end}" for t in (1, 2, 4) for kind in kinds for end in ends}
    assert set(values["delta_psnr"]) == names | {"simulator_clips"}
    assert set(values["rollout_objects"]) == {"ball", "player", "enemy"}
    assert len(values["rollout_objects"]["ball"]["generated"]["present_by_horizon"]) == 4
    for name in ("ball", "player", "enemy"):
        rally = values["rollout_objects"][name]["rally"]
        assert rally["clips_by_horizon"] == sorted(rally["clips_by_horizon"], reverse=True)
        assert rally["constant_velocity"]["present"] == 1 and len(rally["generated"]["in_place_low_by_horizon"]) == 4
    assert values["rollout_objects"]["player"]["obedience"]["axis"] == "y"  # it is the player that actions move
    assert set(values["rollout_objects"]["player"]["obedience"]["actions"]) == {"noop", "up", "down"}
    assert {"token_accuracy", "object_token_accuracy", "changed_token_cross_entropy", "jitter"} <= values[
        "tokens"
    ].keys()
    assert values["tokens"]["changed_token_accuracy_copy_last"] == 0
    assert sorted(values["lam"]["matching"]) == [0, 1, 2]
    assert {"rollout.psnr_mean", "delta_psnr.t4"} <= numbers(values).keys()  # as the pipeline names them


def test_the_cost_of_every_part_is_told(report):
    values, _ = report
    assert set(values["cost"]) == {
        "tokenizer",
        "objects",
        "lam",
        "tokens",
        "rollout",
        "uncertainty",
        "simulator",
        "fvd",
        "action_grid",
        "attention",
        "prediction",
        "imagination",
        "side_by_side",
    }
    for cost in values["cost"].values():
        assert cost["seconds"] > 0 and cost["peak_rss_mb"] > 50
    assert values["rollout"]["passes_per_frame"] == len(Sampler(**values["sampler"]).passes(64))
    assert 0 < values["cost"]["rollout"]["seconds_per_frame"] < values["cost"]["rollout"]["seconds"]


def test_videos_have_a_frame_for_each_moment(report, read_video):
    folder = report[1]
    counts = {name: len(read_video(folder / name)[0]) for name in FILES if name.endswith(".mp4")}
    assert counts == {
        "tokenizer.mp4": 7,
        "lam.mp4": 5,
        "rollout.mp4": 7,
        "action_grid.mp4": 3 + 3,
        "side_by_side.mp4": 3 + 5,
    }


def similarity(first, second):
    frames = first.flatten(0, 1), second.flatten(0, 1)
    return structural_similarity_index_measure(*frames, data_range=1.0).item()


def test_the_models_precision_is_not_that_of_the_tokenizers_figures(world_run, clips, tmp_path):
    stage, frames = load_model(world_run / "tokenizer" / "checkpoints" / "last.ckpt"), clips.floats()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        values = evaluate_tokenizer(Trained(stage.model, 4), clips, tmp_path, 10.0)
    assert values["ssim_copy_last"] == pytest.approx(similarity(frames[:, :-1], frames[:, 1:]), abs=1e-5)
    still = clips.background.expand_as(frames[:, 1:])
    assert values["ssim_background"] == pytest.approx(similarity(still, frames[:, 1:]), abs=1e-5)
    assert 0 <= values["ssim"] <= 1  # by variances in bf16 it is -0.8


def test_baselines_are_those_of_the_same_frames(report, clips):
    values, _ = report
    frames, background = clips.floats(), clips.background
    error = (frames[:, 1:] - frames[:, :-1]).square().mean()
    assert values["tokenizer"]["psnr_copy_last"] == values["lam"]["psnr_copy_last"]
    assert values["lam"]["psnr_copy_last"] == pytest.approx(psnr(error).item(), abs=1e-3)
    for t in range(4):
        copied = (frames[:, 3 + t] - frames[:, 2]).square().mean()  # the last given frame, whatever the horizon
        still = (frames[:, 3 + t] - background).square().mean()
        assert values["rollout"]["psnr_copy_last_by_horizon"][t] == pytest.approx(psnr(copied).item(), abs=1e-3)
        assert values["rollout"]["psnr_background_by_horizon"][t] == pytest.approx(psnr(still).item(), abs=1e-3)
    frozen = similarity(frames[:, 2:3], frames[:, 6:7])
    assert values["rollout"]["ssim_copy_last_last"] == pytest.approx(frozen, abs=1e-3)
    assert values["tokenizer"]["ssim_copy_last"] == pytest.approx(similarity(frames[:, :-1], frames[:, 1:]), abs=1e-3)
    objects = values["rollout_objects"]["player"]
    assert objects["reconstruction"]["present"] <= objects["copy_last"]["present"] <= 1  # the tokenizer is not trained
    mean = np.mean(values["rollout"]["psnr_by_horizon"])
    assert values["rollout"]["psnr_mean"] == pytest.approx(mean, abs=1e-3)


def test_one_object_and_one_frame_are_measured_like_several(world_run, pong_root, tmp_path):
    """Freeway's hen is alone, and a rollout of one frame has one horizon."""
    for source in pong_root.glob("*.h5"):
        shutil.copy(source, tmp_path / source.name)
        with h5py.File(tmp_path / source.name, "a") as file:
            player = file["objects"][:, 1:2]
            del file["objects"]
            file["objects"] = player
            file.attrs["object_names"] = ["player"]
    given = [f"run={world_run}", f"output={tmp_path}", "parts=[objects,rollout]", "horizon=1", "delta_psnr.t=[1]"]
    values = evaluate_runs(composed(*given, f"data_root={tmp_path}"))[0].values
    assert set(values["objects"]) == set(values["rollout_objects"]) == {"player"}
    player = values["rollout_objects"]["player"]
    assert len(player["reconstruction"]["present_by_horizon"]) == 1 == len(values["rollout"]["psnr_by_horizon"])
    several = evaluate_runs(composed(*given))[0].values["rollout_objects"]
    assert set(several) == {"ball", "player", "enemy"}


def test_the_table_has_a_row_for_every_figure_and_any_part_may_be_missing(report):
    values, _ = report

    def text(report):
        console = Console(file=io.StringIO(), width=200)
        console.print(report_table(report))
        return console.file.getvalue()

    whole = text(values)
    labels = [
        "error of pixels, step 1",
        "error of tokens, step 4",
        "imagining 2 x 2 steps",
        "tokenizer PSNR",
        "ball survives",
        "LAM NMI",
        "rollout PSNR, frame 4",
        "rollout has the ball",
        "… in rallies",
        "player obeys, correlation",
        "right tokens, of objects",
        "jitter of tokens",
    ]
    for label in (*labels, "passes per frame", "ΔPSNR, t = 4", "simulator, t = 4", "FVD", "KVD"):
        assert label in whole
    for part in ("tokenizer", "objects", "lam", "rollout", "rollout_objects", "delta_psnr", "fvd", "prediction"):
        text({name: value for name, value in values.items() if name != part})


def test_a_world_of_tokens_imagines_what_its_rollout_shows(report):
    rollout, prediction = report[0]["rollout"], report[0]["prediction"]
    for end in ("", "_copy_last"):
        errors = torch.tensor(prediction[f"pixel_error{end}_by_horizon"])
        assert rollout[f"psnr{end}_by_horizon"] == pytest.approx(psnr(errors.square()).tolist(), abs=0.05)
    assert len(prediction["token_error_by_horizon"]) == 4


def test_the_same_seed_gives_the_same_figures(world_run, report, tmp_path):
    given = f"run={world_run}", "batch_size=2", f"output={tmp_path}", "parts=[rollout]"
    again = evaluate_runs(composed(*given))[0].values
    assert again["rollout"] == report[0]["rollout"]
    assert again["delta_psnr"].items() <= report[0]["delta_psnr"].items()
    assert again["rollout_objects"] == report[0]["rollout_objects"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ROLLOUT_FILES


# ------------------------------------------------------------------ what cannot be measured


def test_stages_that_are_not_trained_yet_are_left_out(world_run, tmp_path):
    run = shutil.copytree(world_run, tmp_path / "run", ignore=shutil.ignore_patterns("lam", "dynamics", "evaluation"))
    values = evaluate_runs(composed(f"run={run}"))[0].values
    assert "psnr" in values["tokenizer"] and values["sampler"] is None
    of_worlds = {"prediction", "reward", "imagination", "side_by_side"}
    assert set(values["left_out"]) == {
        "lam", "tokens.token_accuracy", "rollout", "uncertainty", "fvd", "action_grid", *of_worlds,
    }  # fmt: skip
    assert set(values["tokens"]) == {"jitter", "background_jitter"}
    assert "no trained dynamics" in values["left_out"]["rollout"]


def test_a_world_without_its_latent_action_model_still_shows_its_actions(world_run, tmp_path):
    run = shutil.copytree(world_run, tmp_path / "run", ignore=shutil.ignore_patterns("lam", "evaluation"))
    shutil.move(world_run / "lam", tmp_path / "lam")  # where the dynamics had it from
    try:
        one = evaluate_runs(composed(f"run={run}", "parts=[lam,rollout,action_grid]"))[0]
        values, folder = one.values, one.folder
    finally:
        shutil.move(tmp_path / "lam", world_run / "lam")
    assert set(values["left_out"]) == {"lam", "rollout"} and (folder / "action_grid.mp4").is_file()


def test_data_with_frames_alone(world_run, pong_root, tmp_path):
    for split in ("train", "val", "test"):
        with h5py.File(pong_root / f"{split}.h5") as source, h5py.File(tmp_path / f"{split}.h5", "w") as target:
            target["frames"] = source["frames"][:60]
            target.attrs["fps"] = 15.0
    given = f"run={world_run}", f"data_root={tmp_path}", "parts=[objects,lam]", f"output={tmp_path / 'out'}"
    one = evaluate_runs(composed(*given))[0]
    values, folder = one.values, one.folder
    assert set(values["left_out"]) == {"objects", "lam.action_nmi"} and "action_nmi" not in values["lam"]
    assert "psnr_background" in values["lam"] and not (folder / "lam_confusion.png").exists()


def test_a_part_that_fails_is_said_and_the_others_are_written(world_run, tmp_path, monkeypatch, run_main):
    def failing(*arguments):
        assert json.loads((tmp_path / "evaluation.partial.json").read_text())["tokenizer"]["psnr"] > 0
        raise TypeError("unsupported operand:\n float * None")

    monkeypatch.setattr("genie.evaluation.tokenizer.evaluate_objects", failing)
    given = [f"run={world_run}", "parts=[tokenizer,objects,lam]", "num_clips=5", "prompt_frames=3", "horizon=4",
             "device=cpu", f"output={tmp_path}", "reuse=true"]  # fmt: skip
    code, out, err = run_main(main, *given)
    values = json.loads((tmp_path / "evaluation.json").read_text())
    assert code == 1 and {"tokenizer", "lam"} <= values.keys() and "objects" not in values
    assert values["failed"] == {"objects": "TypeError: unsupported operand: float * None"}
    assert "[2/3] objects: not measured: TypeError" in out and "Traceback" not in out + err
    row = next(line for line in out.splitlines() if line.startswith(" objects"))
    assert "not measured: TypeError: unsupported operand" in row
    assert f"{world_run}: objects" in err.splitlines()[-1]
    assert "not measured: TypeError" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "evaluation.partial.json").exists()
    monkeypatch.undo()
    code, out, _ = run_main(main, *given)  # measured again, though nothing was trained since
    values = json.loads((tmp_path / "evaluation.json").read_text())
    assert code in (0, None) and values["failed"] == {} and "objects" in values and "taken from" not in out
    (tmp_path / "evaluation.json").write_text("{")  # a damaged one is made again, too
    code, out, _ = run_main(main, *given)
    assert code in (0, None) and "taken from" not in out
    assert "taken from" in run_main(main, *given)[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split=all", "split=all must be one of train, val, test"),
        (
            "parts=[tokeniser]",
            r"parts=\[tokeniser\]: there is no part tokeniser; did you mean tokenizer\? There is: token",
        ),
        ("parts=tokeniser", r"there is no part tokeniser; did you mean tokenizer\?"),
        ("parts=[xyz]", "there is no part xyz; there is: tokenizer, objects"),
        ("horizon=0", "horizon=0"),
        ("horizon=500", "horizon"),
        ("delta_psnr.t=[9]", "delta_psnr.t"),
        ("delta_psnr.seeds=0", "delta_psnr.seeds=0"),
        ("fps=0", "fps=0"),
        ("fvd.frames=8", "fvd.frames=8"),
        ("fvd.resize=nearest", "bilinear, legacy"),
        ("fvd.baselines=[nothing]", r"fvd.baselines=\[nothing\]: each must be one of copy_last"),
        ("steps=0", "steps=0"),
        ("data_root=nowhere", "nowhere"),
    ],
)
def test_wrong_values_are_one_line(world_run, override, message):
    with pytest.raises(UserError, match=message) as error:
        evaluate_runs(composed(f"run={world_run}", override))
    assert "\n" not in str(error.value)


def test_a_folder_without_a_world_is_explained(world_run, tmp_path):
    with pytest.raises(UserError, match="holds no trained stage"):
        evaluate_runs(composed(f"run={tmp_path}"))
    with pytest.raises(UserError, match=f"folder of one stage, give run={world_run}$"):
        evaluate_runs(composed(f"run={world_run / 'dynamics'}"))


# ------------------------------------------------------------------ what is measured


class Simulator:
    """A perfect world for `make_clips`: action 1 moves the square by its width, 2 by its height."""

    device, num_actions, sampler, lam, window = torch.device("cpu"), 3, None, None, 4
    takes_environment_actions = True
    config = {"stage": {"actions": "environment"}}

    def __init__(self, delay=0, deaf=False):
        self.delay, self.deaf = delay, deaf

    def tokenizer(self, frames):
        return SimpleNamespace(reconstruction=frames, tokens=torch.zeros(*frames.shape[:2], 1, dtype=torch.int64))

    tokenizer.parameters = lambda: iter([torch.zeros(1)])

    def steps(self, frames, actions, seed, prompt_actions):
        assert prompt_actions.shape[1] == frames.shape[1] - 1
        known = torch.cat([prompt_actions, torch.ones_like(actions) if self.deaf else actions], dim=1)
        first = prompt_actions.shape[1] - self.delay
        current = frames[:, -1]
        for t in range(actions.shape[1]):
            moves = {0: (0, 0), 1: (0, 4), 2: (4, 0)}
            current = torch.stack(
                [
                    picture.roll(moves[int(a)], dims=(-2, -1))
                    for picture, a in zip(current, known[:, first + t], strict=True)
                ]
            )
            yield SimpleNamespace(observation=current, passes=torch.tensor([1, 2, 1, 2, 1, 2])[: len(current)])


def moving_clips(make_clips, count, frames):
    batch = make_clips(batch=count, frames=frames)
    background = batch["frames"][0, 0, :, :1, :1].expand(3, 16, 16).numpy()
    info = DataInfo(3, ["stay", "right", "down"], [], 10.0, (16, 16), background)
    return Clips(batch["frames"], batch["actions"], None, info, batch_size=4)


def simulate(make_clips, tmp_path, **world):
    subject = SimpleNamespace(world=Simulator(**world), takes_environment_actions=True)
    settings = RolloutSettings(3, 5, (1, 4), 2, 0, 5)
    return evaluate_rollout(subject, moving_clips(make_clips, 6, 8), settings, tmp_path)


def test_a_perfect_world_is_perfect_at_every_horizon_and_its_actions_matter(make_clips, tmp_path):
    figures = simulate(make_clips, tmp_path)
    assert figures["rollout"]["psnr_by_horizon"] == pytest.approx([58.92] * 5, abs=0.01)
    assert figures["rollout"]["psnr_reconstruction_mean"] == pytest.approx(58.92, abs=0.01)
    assert figures["rollout"]["horizons_above_copy_last"] == 5
    assert figures["rollout"]["ssim_by_horizon"] == pytest.approx([1] * 5, abs=1e-3)
    assert figures["delta_psnr"]["t4"] > figures["delta_psnr"]["t1"] > 5
    assert max(figures["rollout"]["psnr_random_actions_by_horizon"][1:]) < 30
    assert figures["rollout"]["passes_per_frame"] == pytest.approx(1.5, abs=0.1)  # of 6 clips, 4 and 2 at a time


def test_a_world_that_ignores_its_actions_has_no_delta(make_clips, tmp_path):
    figures = simulate(make_clips, tmp_path, deaf=True)
    assert {figures["delta_psnr"][name] for name in ("t1", "t4", "t1_pooled", "t4_pooled")} == {0}
    assert figures["rollout"]["psnr_random_actions_by_horizon"] == figures["rollout"]["psnr_by_horizon"]


def test_actions_given_a_frame_too_late_are_noticed(make_clips, tmp_path):
    figures = simulate(make_clips, tmp_path, delay=1)
    assert max(figures["rollout"]["psnr_by_horizon"]) < 30


class Thirds(torch.nn.Module):
    """A detector that sees where things are: the brightness of nine parts of the last frame."""

    def forward(self, videos):
        return torch.nn.functional.adaptive_avg_pool2d(videos.float()[:, :, -1], 3).mean(1).flatten(1)


def distances(make_clips, baselines=("copy_last", "random_actions", "reconstruction", "background"), **world):
    subject = SimpleNamespace(world=Simulator(**world), takes_environment_actions=True)
    return evaluate_distances(subject, moving_clips(make_clips, 17, 12), VideoFeatures(Thirds(), 9), 3, baselines, 0)


def test_a_perfect_world_scores_what_real_videos_score(make_clips):
    figures = distances(make_clips)
    assert figures["name"] == "fvd/Thirds_9f_8v" and figures["protocol"]["frames"] == 9
    assert figures["value"] == pytest.approx(0, abs=1e-9) and figures["value_reconstruction"] == pytest.approx(0)
    assert figures["unpaired"] == pytest.approx(figures["floor"]) and figures["floor"] > 1e-6
    assert figures["kvd_unpaired"] == pytest.approx(figures["kvd_floor"])
    for worse in ("value_copy_last", "value_random_actions", "value_background"):
        assert figures[worse] > 1e-4
    assert distances(make_clips, delay=1)["value"] > 1e-4


def test_only_the_baselines_asked_for_are_computed(make_clips):
    assert "value_random_actions" not in distances(make_clips, baselines=("copy_last",))


def test_features_of_the_data_are_computed_once(monkeypatch, tmp_path):
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path))
    features, videos = VideoFeatures(Colours(), 9), torch.randint(0, 255, (2, 9, 3, 8, 8), dtype=torch.uint8)
    first = cached_features(features, videos)
    monkeypatch.setattr(VideoFeatures, "__call__", lambda *_: pytest.fail("computed again"))
    assert torch.equal(cached_features(features, videos), first)
    with pytest.raises(pytest.fail.Exception):  # another pixel, another entry
        cached_features(features, videos ^ 1)
    monkeypatch.undo()
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path))
    (entry,) = (tmp_path / "features").iterdir()
    entry.write_bytes(b"half a file")
    assert torch.equal(cached_features(features, videos), first)


def test_without_weights_fvd_is_left_out(monkeypatch):
    def missing():
        raise UserError("no weights and no network")

    monkeypatch.setattr("genie.metrics.i3d.pretrained_i3d", missing)
    with pytest.raises(LeftOut, match="no weights and no network"):
        load_features(16, "bilinear")


def test_models_see_at_most_the_frames_they_were_trained_on():
    def seen(frames):
        return (torch.arange(1, frames.shape[1] + 1).expand(len(frames), -1), frames.clone())

    frames = torch.arange(9.0).expand(2, -1)
    counts, same = in_windows(seen, frames, window=4)
    assert counts[0].tolist() == [1, 2, 3, 4, 4, 4, 4, 4, 4] and torch.equal(same, frames)
    counts, same = in_segments(seen, frames, window=4)
    assert counts[0].tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1] and torch.equal(same, frames)
    assert in_windows(seen, frames, window=20)[0][0].tolist() == list(range(1, 10))


def test_transitions_stay_aligned_in_windows():
    def differences(frames):
        return (frames[:, 1:] - frames[:, :-1],)

    frames = torch.rand(2, 9)
    assert torch.equal(in_windows(differences, frames, window=4)[0], frames[:, 1:] - frames[:, :-1])


def test_latent_actions_are_labelled_by_what_they_mostly_stand_for():
    assert latent_labels(2, None, []) == ["action 0", "action 1"]
    assert latent_labels(3, [[9, 1], [0, 0], [1, 3]], ["up", "down"]) == ["0: up 90%", "1: never used", "2: down 75%"]


def test_actions_of_one_effect_count_as_one(world_run, clips, tmp_path):
    run = TrainedRun(world_run, torch.device("cpu"))
    alone = evaluate_lam(run.lam, clips, tmp_path, 5)
    found = evaluate_lam(run.lam, clips, tmp_path, 5, {"moves": ["up", "down"]})
    table = torch.tensor(alone["confusion"])  # noop, up, down
    merged = torch.stack([table[:, 1:].sum(1), table[:, 0]], dim=1)
    assert found["group_accuracy"] == pytest.approx(float(merged.amax(1).sum() / merged.sum()))
    assert found["group_accuracy_majority"] == pytest.approx(float(merged.sum(0).max() / merged.sum()))
    assert "group_accuracy" not in alone and 0 <= found["group_nmi"] <= 1
