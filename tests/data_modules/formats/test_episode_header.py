"""Whatever is wrong with an episode file is one line, and no other file suffers from it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.episode_header import read_header
from data_modules.formats.episode_reader import EpisodeReader
from genie.common.errors import UserError

COUNT = 24


@pytest.fixture
def edited(tmp_path, write_episodes):
    """edited(change): a good file of two episodes of 12 frames, after `change(file)`."""

    def start(change, path=None):
        path = write_episodes(path or tmp_path / "mine.h5", [12, 12])
        with h5py.File(path, "a") as file:
            file["actions"][:] = np.arange(COUNT) % 2
            change(file)
        return path

    return start


def replaced(name, value):
    """A change: another value of a data set; a dictionary: a group."""

    def change(file):
        if name in file:
            del file[name]
        if isinstance(value, dict):
            file.create_group(name)
        else:
            file[name] = value

    return change


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def reserved(file):
    del file["frames"]
    file.create_dataset("frames", (COUNT, 8, 8, 3), np.uint8, chunks=(4, 8, 8, 3))[:8] = 7


def misplaced(address):
    """A change: the index of the frames has another address for their only chunk, as a damaged disk leaves it."""

    def change(file):
        del file["frames"]
        file.create_dataset("frames", (COUNT, 8, 8, 3), np.uint8, chunks=(COUNT, 8, 8, 3))[:] = 7
        file.flush()
        path, place = Path(file.filename), file["frames"].id.get_chunk_info(0).byte_offset.to_bytes(8, "little")
        file.close()
        content = path.read_bytes()
        assert content.count(place) == 1
        path.write_bytes(content.replace(place, address.to_bytes(8, "little")))

    return change


def virtual(count):
    def change(file):
        del file["frames"]
        layout = h5py.VirtualLayout((COUNT, 8, 8, 3), np.uint8)
        layout[:count] = h5py.VirtualSource("source.h5", "frames", (count, 8, 8, 3))
        file.create_virtual_dataset("frames", layout)

    return change


NUMBERS = np.arange(COUNT, dtype=np.float32)
ENDS = "episode_ends in .* do not rise to the number of frames, 24"
WRONG = {
    "actions group": (replaced("actions", {}), "actions in .* is a group and has to be a dataset"),
    "ends group": (replaced("episode_ends", {}), "episode_ends in .* is a group"),
    "frames group": (replaced("frames", {}), "frames in .* is a group"),
    "recordings group": (replaced("recordings", {}), "recordings in .* is a group"),
    "link out": (replaced("actions", h5py.ExternalLink("gone.h5", "/actions")), "is a link to gone.h5, and there is"),
    "link": (replaced("frames", h5py.SoftLink("/gone")), "is a link to /gone, and there is nothing"),
    "empty": (replaced("actions", h5py.Empty("i8")), "actions in .* is empty"),
    "scalar": (replaced("actions", 1), r"actions in .* are int64 \[\]: the wrong type"),
    "texts": (replaced("actions", [b"left"] * COUNT), "give each text an id"),
    "ends scalar": (replaced("episode_ends", 12), ENDS),
    "ends lengths": (replaced("episode_ends", [12, 12]), f"{ENDS}; these are lengths: write np.cumsum"),
    "ends nan": (replaced("episode_ends", [np.nan, 24.0]), ENDS),
    "ends half": (replaced("episode_ends", [11.5, 24.0]), ENDS),
    "ends text": (replaced("episode_ends", b"24"), ENDS),
    "ends none": (replaced("episode_ends", np.zeros(0, int)), ENDS),
    "ends negative": (replaced("episode_ends", [-3, 24]), ENDS),
    "no height": (replaced("frames", np.zeros((COUNT, 0, 8, 3), np.uint8)), "pictures of no size"),
    "no frames": (replaced("frames", np.zeros((0, 8, 8, 3), np.uint8)), "has no frames"),
    "grey": (replaced("frames", np.zeros((COUNT, 8, 8), np.uint8)), "repeat the grey value three times"),
    "channels first": (replaced("frames", np.zeros((COUNT, 3, 8, 8), np.uint8)), "transpose"),
    "reserved": (reserved, "frames in .* were not all written"),
    "address 0": (misplaced(0), "frames in .* were not all written"),
    "source gone": (virtual(COUNT), "are taken from source.h5, which is not there"),
    "fps words": (attribute("fps", "10 fps"), "attribute fps of .* is 10 fps: .*data.fps="),
    "fps nan": (attribute("fps", np.nan), "attribute fps"),
    "fps complex": (attribute("fps", 10 + 1j), "attribute fps"),
    "fps large": (attribute("fps", 1e9), "attribute fps"),
    "fps negative": (attribute("fps", -10), "attribute fps"),
    "fps 0": (attribute("fps", 0), "attribute fps"),
    "two fps": (attribute("fps", [10, 20]), "attribute fps"),
    "version": (attribute("format_version", "new"), "format_version of .* is new and no number"),
    "version 9": (attribute("format_version", [9]), "version 9; this release knows them up to 2"),
    "objects": (replaced("objects", np.zeros((COUNT, 1, 3), np.float32)), r"not \[N, O, 2\]"),
    "object names": (attribute("object_names", "thing"), "object_names .* no list of names"),
    "more objects": (attribute("object_names", ["a", "b"]), "names 2 objects and has the places of 1"),
    "reward nan": (replaced("rewards", np.where(NUMBERS == 5, np.nan, NUMBERS)), "rewards in .* row 5 is nan"),
    "reward inf": (replaced("rewards", np.where(NUMBERS == 5, -np.inf, NUMBERS)), "rewards in .* row 5 is -inf"),
    "reward huge": (replaced("rewards", NUMBERS * 1e30), "rewards in .* have to be finite numbers of at most"),
    "terminals": (replaced("terminals", np.arange(COUNT)), "terminals in .* row 2 is 2"),
    "states": (replaced("states", np.full((COUNT, 2), 1e300)), "states in .* have to be finite"),
    "action nan": (replaced("actions", np.where(NUMBERS == 5, np.nan, 0)[:, None]), "actions in .* row 5 is nan"),
    "action far": (replaced("actions", np.where(NUMBERS == 5, 1.5, 0)[:, None]), r"\[-1, 1\] .* row 5 is 1.5"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_file_is_one_line(edited, kind):
    change, says = WRONG[kind]
    path = edited(change)
    with pytest.raises(UserError, match=says) as raised:
        read_header(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_it_is_left_out_among_good_ones(edited, tmp_path, capsys):
    for kind, (change, _) in WRONG.items():
        edited(change, tmp_path / "data" / f"{kind}.h5")
    for number in range(3):
        edited(lambda file: None, tmp_path / "data" / f"good{number}.h5")
    data = ClipDataModule(str(tmp_path / "data"), (8, 8), 4, 2, on_error="skip")
    data.setup()
    assert data.splits["train"][0].num_frames == 3 * COUNT
    assert f"{len(WRONG)} of {len(WRONG) + 3} episode files cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        (attribute("fps", [10.0]), "fps", 10.0),
        (attribute("fps", "10"), "fps", 10.0),
        (attribute("format_version", "1.0"), "num_frames", COUNT),
        (replaced("episode_ends", [[12], [24]]), "ends", [12, 24]),
        (replaced("episode_ends", COUNT), "ends", [COUNT]),
        (replaced("episode_ends", [12.0, 24.0]), "ends", [12, 24]),
        (replaced("actions", np.arange(COUNT) % 2 == 1), "action_ids", [0, 1]),
        (attribute("action_meanings", h5py.Empty("S1")), "action_meanings", None),
        (replaced("rewards", np.where(NUMBERS == 23, np.nan, NUMBERS)), "num_frames", COUNT),
    ],
)
def test_what_can_only_mean_one_thing_is_read(edited, change, name, value):
    assert getattr(read_header(edited(change)), name) == value


def test_a_virtual_data_set_is_read_where_its_source_is_there(edited, tmp_path):
    edited(lambda file: None, tmp_path / "source.h5")
    reader = EpisodeReader(edited(virtual(COUNT)), (8, 8))
    assert reader.frames(0, COUNT)[:, 0, 0, 1].tolist() == list(range(COUNT))
    reader.close()
    with pytest.raises(UserError, match="are put together from other files, and not all of them"):
        read_header(edited(virtual(20)))
    edited(lambda file: file.__delitem__("frames"), tmp_path / "source.h5")
    with pytest.raises(UserError, match="are taken from frames in .*source.h5, which is not there"):
        read_header(edited(virtual(COUNT)))


def test_values_of_last_rows_are_read_as_0(edited):
    def change(file):
        replaced("rewards", np.where(np.isin(NUMBERS, (11, 23)), np.nan, NUMBERS)[:, None])(file)
        replaced("actions", np.where(np.isin(NUMBERS, (11, 23)), 7.0, 0.5)[:, None])(file)

    reader = EpisodeReader(edited(change), (8, 8))
    assert reader.column("rewards", 9, 12).tolist() == [9, 10, 0]
    assert reader.column("actions", 9, 12).tolist() == [[0.5], [0.5], [0]]
