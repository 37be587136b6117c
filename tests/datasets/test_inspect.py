"""`genie.inspect`: its figures are those of the data, its pictures what the model sees."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image

from genie.inspect import main

pytestmark = pytest.mark.slow

LENGTH = 12  # frames of an episode, of 8 episodes: 6 for training, 1 for validation, 1 for test


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def write(tmp_path):
    """write(frames uint8 [E, T, 8, 8, 3], **columns [E, T]): the path of an episode file."""

    def make(frames, **columns):
        path = tmp_path / "all.h5"
        with h5py.File(path, "w") as file:
            file["frames"] = frames.reshape(-1, 8, 8, 3)
            file["episode_ends"] = np.arange(1, len(frames) + 1) * frames.shape[1]
            for name, values in columns.items():
                file[name] = values.reshape(-1)
            file.attrs["fps"] = 4.0
            file.attrs["action_meanings"] = ["stay", "go", "jump"]
        return path

    return make


@pytest.fixture
def inspect(run_main, tmp_path):
    """inspect(path, *overrides): (facts, what was printed)."""

    def start(path, *overrides):
        settings = [f"data.root={path}", "data.image_size=[8,8]", "data.num_frames=4", f"output={tmp_path / 'out'}"]
        code, out, err = run_main(main, "data=episodes", *settings, *overrides)
        assert code == 0, err
        return json.loads((tmp_path / "out" / "inspect.json").read_text()), out

    return start


def test_figures_are_those_of_the_decisions(write, inspect):
    actions = np.tile([0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 2, 0], (8, 1))  # on the last frame nothing is decided
    rewards = np.tile([0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1, 9], (8, 1)).astype(np.float32)
    terminals = np.zeros((8, LENGTH), bool)
    terminals[:7, -2] = True
    facts, out = inspect(write(noise(8, LENGTH), actions=actions, rewards=rewards, terminals=terminals))
    train, test = facts["splits"]["train"], facts["splits"]["test"]
    assert (train["episodes"], train["frames"], train["minutes"], train["clips"]) == (6, 72, 72 / 4 / 60, 54)
    assert train["episode_frames"] == {"min": 12, "median": 12, "max": 12}
    assert train["actions"] == pytest.approx({"stay": 7 / 11, "go": 3 / 11, "jump": 1 / 11})
    assert train["rewards"]["counts"] == {"-1": 6, "0": 54, "1": 6} and train["rewards"]["sum"] == 0
    assert train["rewards"]["not_zero"] == pytest.approx(2 / 11)
    assert (train["terminals"], test["terminals"]) == (6, 0)
    assert facts["stored_sizes"] == [[8, 8]] and facts["fps"] == 4
    for words in ("action stay", "63.6%", "12 to 12", "reward -1"):
        assert words in out


def test_what_is_still_dark_or_there_twice_is_found(write, inspect):
    frames = noise(8, LENGTH)
    frames[0] = 0  # black, and of course still
    frames[1, 1:] = frames[1, :1]  # still
    frames[3] = frames[2]  # the same episode twice
    frames[7] = frames[2]  # and in the test split as well
    facts, _ = inspect(write(frames))
    train, test = facts["splits"]["train"]["look"], facts["splits"]["test"]["look"]
    assert train["clips_sampled"] == 18 and train["repeated"] == 3 and train["in_other_split"] == 0
    assert train["still"] == pytest.approx(1 / 3) and train["dark"] == pytest.approx(1 / 6)
    assert train["brightness"] == pytest.approx(0.5 * 5 / 6, abs=0.02)
    assert test["in_other_split"] == 3 and test["repeated"] == test["still"] == test["dark"] == 0


def test_a_camera_makes_noise_where_all_is_still(write, inspect):
    frames = noise(8, LENGTH)
    generator = np.random.default_rng(0)
    frames[:] = frames[:, :1].clip(4, 250) + generator.integers(0, 4, frames.shape, dtype=np.uint8)  # by 3 at most
    frames[0, 5:] = frames[0, :1] // 2
    facts, _ = inspect(write(frames))
    assert facts["splits"]["train"]["look"]["still"] > 0.95 and facts["splits"]["train"]["look"]["motion"] > 0
    assert facts["splits"]["val"]["look"]["still"] == 1


def test_episodes_that_training_will_not_see_are_counted(write, inspect):
    path = write(noise(8, LENGTH))
    with h5py.File(path, "r+") as file:
        ends = file["episode_ends"][:]
        del file["episode_ends"]
        file["episode_ends"] = np.concatenate([[3, 5], ends])  # clips have 4 frames
    facts, out = inspect(path)
    assert facts["splits"]["train"]["too_short"] == 2 and facts["splits"]["test"]["too_short"] == 0
    assert "too short" in out
    assert "too short" not in inspect(path, "data.num_frames=2")[1]


def test_the_sheet_shows_what_augmentation_makes_of_clips(write, inspect, tmp_path):
    path = write(noise(8, LENGTH))
    sheets = []
    for overrides in ([], ["data.augmentation.shift=0.4"]):
        inspect(path, "num_videos=0", *overrides)
        sheets.append((tmp_path / "out" / "contact_sheet.png").read_bytes())
    assert sheets[0] != sheets[1]


def test_the_sheet_and_the_videos_show_the_models_pixels(write, inspect, tmp_path, read_video):
    frames = np.repeat(np.repeat(noise(8, LENGTH)[:, :, ::4, ::4], 4, 2), 4, 3)  # plain blocks survive a video
    path = write(frames)
    inspect(path, "sheet.rows=2", "sheet.columns=2", "num_videos=3")
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))
    cell = 96  # 8 pixels, enlarged by 12
    for row, episode in enumerate((0, 3)):
        for column, time in enumerate((0, 2)):
            bottom, right = sheet.shape[0] - 4 - (1 - row) * (cell + 4), sheet.shape[1] - 4 - (1 - column) * (cell + 4)
            shown = sheet[bottom - cell : bottom, right - cell : right][::12, ::12]
            np.testing.assert_array_equal(shown, frames[episode, time])
    video, fps = read_video(tmp_path / "out" / "clip_1.mp4")
    assert fps == 4 and video.shape == (4, 256, 256, 3)
    assert np.abs(video[:, 16::32, 16::32].astype(int) - frames[2, :4]).mean() < 6
    inspect(path, "num_videos=1", "scale=1")
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["clip_0.mp4"]
    assert read_video(tmp_path / "out" / "clip_0.mp4")[0].shape == (4, 8, 8, 3)


def test_what_cannot_be_trained_on_is_one_line(write, run_main, tmp_path):
    path = write(noise(8, 3))
    settings = ["data=episodes", f"data.root={path}", "data.num_frames=4", f"output={tmp_path / 'out'}"]
    code, out, err = run_main(main, *settings)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "its longest episode has 3" in err
    assert not (tmp_path / "out").exists()
