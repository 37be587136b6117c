"""A Minari data set looks like an episode file of the same episodes."""

import gymnasium as gym
import numpy as np
import pytest

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.minari import MinariData
from data_modules.frame_reader import Reading
from genie.common.errors import UserError

minari = pytest.importorskip("minari")
from minari.data_collector.episode_buffer import EpisodeBuffer  # noqa: E402

PICTURES = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
LARGE = gym.spaces.Box(0, 255, (32, 40, 3), np.uint8)  # Minari keeps pictures of this size as JPEG
LENGTHS = [5, 3, 9, 6]  # decisions of each episode


def gathered(observations):
    """A list of observations as Minari takes it: each part is a list."""
    if not isinstance(observations[0], dict):
        return observations
    return {key: gathered([one[key] for one in observations]) for key in observations[0]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(space, actions, observe, size): the id of a data set.

    Observation t of episode e is `observe(a picture that is 20 e + t everywhere)`; action t is 2 + t % 3.
    """
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def make(space=PICTURES, actions=None, observe=lambda picture: picture, size=(8, 8)):
        actions = actions or gym.spaces.Discrete(4, start=2)
        discrete = isinstance(actions, gym.spaces.Discrete)
        episodes = []
        for number, length in enumerate(LENGTHS):
            pictures = [np.full((*size, 3), 20 * number + t, np.uint8) for t in range(length + 1)]
            episode = EpisodeBuffer(
                id=number,
                observations=gathered([observe(picture) for picture in pictures]),
                actions=[np.int64(2 + t % 3) if discrete else actions.sample() for t in range(length)],
                rewards=[float(t) for t in range(length)],
                terminations=[t == length - 1 for t in range(length)],
                truncations=[False] * length,
            )
            episodes.append(episode)
        name = "genie/tiny-v0"
        about = dict.fromkeys(("author", "author_email", "code_permalink", "algorithm_name", "description"), "none")
        minari.create_dataset_from_buffers(
            name, episodes, observation_space=space, action_space=actions, requirements=[], **about
        )
        return name

    return make


def opened(name, size=(8, 8), key=None):
    return MinariData(Reading(size, "squeeze", None, False, "skip"), key).open_named(name)[0]


@pytest.mark.filterwarnings("ignore")
def test_rows_actions_and_ends_are_those_of_the_episodes(write, tmp_path):
    name = write()
    for reader in (opened(name), opened(str(tmp_path / "minari" / name))):
        assert np.diff(reader.episodes, axis=1)[:, 0].tolist() == [length + 1 for length in LENGTHS]
        pixels = [20 * number + t for number, length in enumerate(LENGTHS) for t in range(length + 1)]
        assert reader.frames(0, reader.num_frames)[:, 3, 3, 1].tolist() == pixels
        assert reader.frames(4, 19, 3)[:, 0, 0, 0].tolist() == pixels[4:19:3]
        actions = [t % 3 if t < length else 0 for length in LENGTHS for t in range(length + 1)]
        assert reader.column("actions", 0, reader.num_frames).tolist() == actions
        assert reader.column("rewards", 6, 10).tolist() == [0, 1, 2, 0]
        assert np.flatnonzero(reader.column("terminals", 0, reader.num_frames)).tolist() == [4, 8, 18, 25]
        assert reader.action_meanings == ["action0", "action1", "action2", "action3"]


@pytest.mark.filterwarnings("ignore")
def test_pictures_kept_as_jpeg_and_within_parts_are_found(write):
    space = gym.spaces.Dict({"eye": gym.spaces.Dict({"left": LARGE}), "speed": gym.spaces.Box(-1, 1, (2,), np.float32)})
    name = write(
        space, observe=lambda picture: {"eye": {"left": picture}, "speed": np.zeros(2, np.float32)}, size=(32, 40)
    )
    for key in (None, "eye/left"):
        reader = opened(name, (32, 40), key)
        assert reader.stored_sizes == [(32, 40)] and reader._stored(0, reader.picture).ndim < 4
        assert np.abs(reader.frames(6, 10)[:, 5, 5, 2].astype(int) - [20, 21, 22, 23]).max() <= 2


@pytest.mark.filterwarnings("ignore")
def test_clips_of_it_train(write):
    data = ClipDataModule(write(), (4, 4), 3, 2, source="minari", minari={"key": None}, fps=5, num_workers=2)
    data.setup()
    batches = list(data.train_dataloader())
    data.num_workers = 0
    for batch, other in zip(batches, data.train_dataloader(), strict=True):
        assert (batch["frames"] == other["frames"]).all() and (batch["actions"] == other["actions"]).all()
    assert data.info.num_actions == 4 and data.info.fps == 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("settings", "key", "says"),
    [
        ({"actions": gym.spaces.Box(-1, 1, (2,), np.float32)}, None, "only Discrete"),
        ({"space": gym.spaces.Box(0, 1, (8, 8, 3), np.float32)}, None, "not one picture"),
        ({}, "camera", "data.minari.key=camera names not one picture"),
    ],
)
def test_what_cannot_be_read_is_one_line(write, settings, key, says):
    with pytest.raises(UserError, match=says) as raised:
        opened(write(**settings), key=key)
    assert "\n" not in str(raised.value)


def test_a_data_set_that_is_not_here_is_one_line(write, tmp_path):
    with pytest.raises(UserError, match="minari download genie/none-v0"):
        opened("genie/none-v0")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be read as a Minari data set"):
        opened(str(tmp_path / "empty"))
