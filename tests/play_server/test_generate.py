"""Videos from a prompt and actions: what is written, what reaches the model, what is refused."""

import shutil

import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from PIL import Image

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.generate import main
from genie.play_server.generate import action_sequence, generate
from genie.world.world_model import WorldModel


@pytest.fixture
def configure(world_run, tmp_path):
    """configure(*overrides): the configuration `generate` for the tiny world."""

    def build(*overrides):
        defaults = [f"run={world_run}", f"output={tmp_path / 'video.mp4'}", "num_frames=3"]
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("generate", [*defaults, *overrides])

    return build


@pytest.fixture
def prompt(tmp_path):
    """A picture of another size and shape than the model's."""
    picture = np.zeros((50, 90, 3), dtype=np.uint8)
    picture[:, 45:] = (180, 90, 60)
    Image.fromarray(picture).save(tmp_path / "prompt.png")
    return tmp_path / "prompt.png"


@pytest.fixture
def steps(monkeypatch):
    """Records (action, sampler) of every step of any world."""
    taken, original = [], WorldModel.step

    def step(self, state, actions):
        taken.append((actions.tolist(), self.sampler))
        return original(self, state, actions)

    monkeypatch.setattr(WorldModel, "step", step)
    return taken


def frames_of(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def test_the_video_begins_with_the_prompt(configure, prompt, read_video):
    path = generate(configure(f"prompt={prompt}", "fps=5"))
    frames, rate = read_video(path)
    assert frames.shape == (1 + 3, 256, 256, 3) and rate == 5  # 64x64, four times enlarged
    assert np.abs(frames[0, :, 136:].astype(int) - (180, 90, 60)).max() < 12 and frames[0, :, :120].max() < 12


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_an_animated_picture_with_the_actions_below(configure, tmp_path, ending):
    path = generate(
        configure(f"output={tmp_path}/play.{ending}", "show_actions=true", "actions=[0,1]", "fps=5", "scale=1")
    )
    shown = configure("save_frames=true", f"output={tmp_path}/frames", "show_actions=true", "actions=[0,1]", "scale=1")
    generate(shown)
    generate(configure("save_frames=true", f"output={tmp_path}/bare", "actions=[0,1]", "scale=1"))
    captioned, bare = frames_of(tmp_path / "frames"), frames_of(tmp_path / "bare")
    assert np.array_equal(captioned[:, : bare.shape[1]], bare)
    lines = captioned[:, bare.shape[1] :]
    assert lines.shape[1] > 10 and np.array_equal(lines[1], lines[3]) and not np.array_equal(lines[1], lines[2])
    with Image.open(path) as picture:
        assert picture.n_frames > 1 and picture.size == (captioned.shape[2], captioned.shape[1])
        assert picture.info["loop"] == 0  # endless


def test_frames_in_the_models_own_size(configure, prompt, tmp_path):
    folder = generate(configure(f"prompt={prompt}", "save_frames=true", f"output={tmp_path / 'frames'}", "scale=1"))
    assert [path.name for path in sorted(folder.iterdir())] == [f"frame_{n:04d}.png" for n in range(4)]
    assert frames_of(folder).shape == (4, 64, 64, 3)


def test_a_seed_decides_the_video(configure, tmp_path):
    def frames(name, *overrides):
        return frames_of(
            generate(configure("save_frames=true", f"output={tmp_path / name}", "scale=1", "temperature=5", *overrides))
        )

    first = frames("a", "actions=1")
    assert np.array_equal(first, frames("b", "actions=1"))
    other = frames("c", "actions=1", "seed=1")
    assert np.array_equal(first[0], other[0]) and not np.array_equal(first, other)


def test_actions_and_sampler_reach_the_world(configure, steps):
    generate(configure("actions=[2,0]", "num_frames=5", "steps=3", "temperature=0.5", "order=random"))
    assert [action for action, _ in steps] == [[2], [0], [2], [0], [2]]
    assert {(s.steps, s.temperature, s.order) for _, s in steps} == {(3, 0.5, "random")}


def test_no_latent_action_model_is_needed(configure, world_run, tmp_path, read_video):
    run = shutil.copytree(world_run, tmp_path / "run", ignore=shutil.ignore_patterns("lam", "best.ckpt"))
    assert not (run / "lam").exists()
    path = generate(configure(f"run={run}", "output=null", "prompt_frames=3"))
    assert path == run / "generated.mp4" and len(read_video(path)[0]) == 3 + 3


def test_random_actions_are_held():
    drawn = action_sequence("random", 7, 3, seed=0, hold=3)
    assert len(drawn) == 7 and drawn[0] == drawn[1] == drawn[2] and drawn[3] == drawn[4] == drawn[5]
    assert drawn[::3] == action_sequence("random", 3, 3, seed=0)


def test_sequences_of_actions():
    assert action_sequence([0, 1, 2], 7, 3, seed=0) == [0, 1, 2, 0, 1, 2, 0]
    assert action_sequence([0, 1, 2, 1], 2, 3, seed=0) == [0, 1]
    assert action_sequence(2, 3, 3, seed=0) == [2, 2, 2]
    assert action_sequence("0, 2", 3, 3, seed=0) == [0, 2, 0]
    drawn = action_sequence("random", 200, 3, seed=0)
    assert set(drawn) == {0, 1, 2} and drawn == action_sequence("random", 200, 3, seed=0)
    assert drawn != action_sequence("random", 200, 3, seed=1)


@pytest.mark.parametrize("actions", [[0, 3], -1, "up", [], None, 0.5, [True], [[0]], {"a": 1}])
def test_what_is_no_sequence_of_actions_is_refused(actions):
    with pytest.raises(UserError, match="this world has") as error:
        action_sequence(actions, 4, 3, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_frames=0", "num_frames=0"),
        ("num_frames=true", "num_frames=true"),
        ("scale=0", "scale=0"),
        ("fps=fast", "fps=fast must be a number"),
        ("steps=2.5", "steps=2.5 must be a whole number"),
        ("temperature=hot", "temperature=hot must be a number"),
        ("fps=0", "fps=0"),
        ("steps=0", "steps=0"),
        ("temperature=-1", "temperature=-1"),
        ("order=best", "confidence, random"),
        ("output=video.avi", "ends in .mp4"),
        ("save_frames=true", "it is a folder"),
        ("prompt=nowhere.png", "is not there"),
        ("run=nowhere", "nowhere"),
        ("device=abacus", "device=auto"),
    ],
)
def test_wrong_values_are_one_line(configure, override, message):
    with pytest.raises(UserError, match=message) as error:
        generate(configure(override))
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_one_line(configure, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        generate(configure(f"output={tmp_path / 'file' / 'video.mp4'}"))


def test_a_world_on_true_actions_gets_those_of_the_prompt(configure, world_run, monkeypatch):
    """Without them it would be told that nothing was done between the given frames."""
    given, original_reset, original_load = [], WorldModel.reset, WorldModel.load

    def load(run):
        world = original_load(run)
        world.config = {**world.config, "stage": {**world.config["stage"], "actions": "environment"}}
        return world

    def reset(self, frames, actions=None, seed=0):
        given.append(actions)
        return original_reset(self, frames, actions, seed)

    monkeypatch.setattr(WorldModel, "load", staticmethod(load))
    monkeypatch.setattr(WorldModel, "reset", reset)
    generate(configure("prompt_frames=3"))
    assert isinstance(given[0], torch.Tensor) and given[0].shape == (1, 2)


def test_the_command_prints_where_the_video_is(world_run, run_main, tmp_path):
    arguments = [f"run={world_run}", "actions=[0,1]", "num_frames=2", f"output={tmp_path / 'video.mp4'}"]
    code, printed, said = run_main(main, *arguments)
    assert code == 0, said
    assert printed.strip() == str(tmp_path / "video.mp4") and (tmp_path / "video.mp4").is_file()
    assert "2 frames, 2.0 passes and" in said and "peak memory" in said  # the tiny world's two steps
