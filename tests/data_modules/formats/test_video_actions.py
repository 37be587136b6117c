"""Actions recorded beside videos: aligned to the rows at any rate; what is wrong is said with line and column."""

import json

import numpy as np
import pytest

from data_modules.action_ids import ActionOptions
from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.action_log import read_log
from data_modules.formats.videos import Videos
from data_modules.frame_reader import Reading
from data_modules.sources import files_of
from genie.common.errors import UserError

pytestmark = pytest.mark.slow

FRAMES = 60  # of each video, 30 a second: two seconds
VIDEOS = {"decoder": "auto", "cuts": "none", "cut_threshold": 0.15, "actions": "auto"}


@pytest.fixture(scope="module")
def film(tmp_path_factory, write_video, number_frames):
    """A video, to be copied."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", number_frames(FRAMES), g=12, bf=2)


@pytest.fixture
def place(film, tmp_path):
    """place(name, actions=None, ending="csv"): a copy of the video, with a file of actions beside it."""

    def put(name, actions=None, ending="csv"):
        path = tmp_path / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film.read_bytes())
        if actions is not None:
            path.with_name(f"{path.stem}.actions.{ending}").write_text(actions)
        return tmp_path

    return put


def module(root, options=None, **changes):
    settings = {"image_size": (24, 32), "num_frames": 4, "batch_size": 2, "fps": 10, "source": "videos"}
    settings |= {"on_error": "skip", "videos": VIDEOS | (options or {})} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def reader_of(root, options=None, fps=10, on_error="skip", **actions):
    reading = Reading((24, 32), "squeeze", fps, False, on_error, ActionOptions.of(actions))
    source = Videos(reading, **VIDEOS | (options or {}))
    return source.open(root, files_of(source, root))


def of_frames(actions, header="frame,action"):
    return "\n".join([header, *(f"{number},{action}" for number, action in enumerate(actions))])


NAMES = ["left", "right", "jump"]
HELD = "seconds,action\n0,left\n0.5,right\n1.0,jump\n1.75,left\n"


@pytest.mark.parametrize("fps", [30, 10, 7])
def test_a_row_has_the_action_of_the_frame_that_it_shows(place, read_numbers, fps):
    reader = reader_of(place("a", of_frames(NAMES[n % 3] for n in range(FRAMES))), fps=fps)
    assert reader.columns == ["actions"] and reader.action_meanings == sorted(NAMES)
    shown = read_numbers(reader.frames(0, reader.num_frames))
    actions = [reader.action_meanings[number] for number in reader.column("actions", 0, reader.num_frames)]
    assert actions == [NAMES[number % 3] for number in shown]


@pytest.mark.parametrize("fps", [30, 10, 4, 100])
def test_an_action_is_held_from_its_time_on(place, fps):
    reader = reader_of(place("a", HELD), fps=fps)
    times = np.arange(reader.num_frames) / fps
    begun = np.searchsorted([0, 0.5, 1.0, 1.75], times + 1e-9, side="right") - 1
    actions = [reader.action_meanings[number] for number in reader.column("actions", 0, reader.num_frames)]
    assert actions == [["left", "right", "jump", "left"][number] for number in begun]


def test_actions_of_several_videos_have_one_list_of_names(place):
    place("a", of_frames(["left"] * FRAMES))
    place("b", of_frames(["right"] * (FRAMES - 1)))  # on the last frame nothing is decided
    root = place("deep/c", json.dumps({"seconds": 0, "action": "jump"}), "jsonl")
    data = module(root)
    assert data.info.action_meanings == ["jump", "left", "right"] and data.info.num_actions == 3
    reader = data.splits["train"][0]
    assert reader.column("actions", 0, 60).tolist() == [1] * 20 + [2] * 20 + [0] * 20
    clip = data.val_dataset[0]
    assert clip["actions"].tolist() == [2] * 4
    given = reader_of(root, names=["left", "jump", "right", "shoot"])
    assert given.column("actions", 0, 60).tolist() == [0] * 20 + [2] * 20 + [1] * 20
    with pytest.raises(UserError, match="has an action 'right', and there are left, jump"):
        reader_of(root, names=["left", "jump"])


def test_alone_in_its_folder_a_video_needs_no_name(place, tmp_path):
    for name in ("one/clip", "two/clip", "three/clip"):
        place(name)
        (tmp_path / name).with_name("actions.csv").write_text(HELD)
    assert reader_of(tmp_path).columns == ["actions"]
    place("one/other")
    assert reader_of(tmp_path / "one" / "clip.mp4").columns == []  # whose of the two would it be?
    with pytest.raises(UserError, match="2 of 4 videos in .* have no actions beside them .the first: .*one/clip.mp4"):
        reader_of(tmp_path, on_error="raise")


def test_numbers_are_scaled_and_named(place):
    lines = [f"{n},{n - 10},{5 - n / 10}" for n in range(FRAMES)]
    root = place("a", "\n".join(["frame,pan,lift", *lines]))
    reader = reader_of(root, fps=30)
    assert reader.action_size == 2 and reader.action_meanings == ["pan", "lift"] and reader.ids is None
    np.testing.assert_allclose(reader.action_range, [[-10, 48], [-0.8, 5]], atol=1e-6)
    np.testing.assert_allclose(reader.column("actions", 0, 59)[:, 0], np.linspace(-1, 1, 59), atol=1e-6)
    held = place("a", json.dumps({"seconds": 0.0, "action": [0.5, 2]}) + "\n", "jsonl")
    with pytest.raises(UserError, match=r"has actions in a.actions.csv and in a.actions.jsonl: leave one of them"):
        reader_of(held)


def test_numbers_of_all_splits_have_one_range(place):
    for split, numbers in (("train", (0, 4)), ("val", (2, 10))):
        root = place(f"{split}/a", "seconds,x\n" + "\n".join(f"{s},{x}" for s, x in enumerate(numbers)))
    data = module(root)
    (train, _), (val, _) = data.splits["train"], data.splits["val"]
    assert train.column("actions", 0, 20)[[0, 19], 0] == pytest.approx([-1, -0.2])
    assert val.column("actions", 0, 20)[[0, 19], 0] == pytest.approx([-0.6, 1])
    assert data.info.action_range == [[0, 10]]


@pytest.mark.parametrize(("actions", "found"), [
    ("frame,action\n" + "\n".join(f"{n},{n % 5}" for n in range(60)), [n % 5 for n in range(0, 60, 3)]),
    ("frame,seconds,action,note\n" + "\n".join(f"{n},9,{n % 5}, x" for n in range(60)), [3 * n % 5 for n in range(20)]),
    ("\ufeffseconds, action\n0, 1\n\n1.5, 2\n", [1] * 15 + [2] * 5),
])  # fmt: skip
def test_whole_numbers_are_ids(place, actions, found):
    reader = reader_of(place("a", actions))
    assert reader.action_meanings is None and reader.column("actions", 0, 20).tolist() == found


def test_a_step_whose_action_is_not_known_is_in_no_clip(place):
    actions = [7 if 20 <= n < 30 else n % 2 for n in range(FRAMES)]
    reader = reader_of(place("a", of_frames(actions)), fps=30, none=7, count=2)
    assert [0, 21] in reader.episodes.tolist() and [30, 60] in reader.episodes.tolist()


def test_without_actions_videos_are_what_they_were(place):
    root = place("a", "nonsense")
    place("b")
    place("c")
    assert reader_of(root, {"actions": "none"}).columns == []
    old = {name: value for name, value in VIDEOS.items() if name != "actions"}  # of a run from before there were any
    with pytest.raises(UserError, match="a.actions.csv"):
        ClipDataModule(
            root=str(root), image_size=(8, 8), num_frames=2, batch_size=1, fps=10, source="videos", videos=old
        ).setup()


def lines(*others):
    return of_frames([0] * FRAMES) + "".join(f"\n{line}" for line in others)


def without(frame):
    return "\n".join(line for line in of_frames([0] * FRAMES).splitlines() if not line.startswith(f"{frame},"))


WRONG = {
    "beyond": (lines("60,1"), "csv", "a.actions.csv, line 62: there is no frame 60, the video has 60 .0 … 59."),
    "twice": (lines("59,1"), "csv", "a.actions.csv, line 62: frame 59 is there twice: frames have to rise"),
    "back": (lines("3,1"), "csv", "line 62: frame 3 comes after 59: frames have to rise"),
    "missing": (without(12), "csv", r"has no action for frame 12 \(line 14 is frame 13\): give one for each fr"),
    "too few": (of_frames([0] * 58), "csv", "has 58 actions, the last of frame 57, and the video 60 frames"),
    "not whole": (lines("60.5,1"), "csv", "line 62: frame is 60.5, and has to be a whole number from 0 on"),
    "negative": ("frame,action\n-1,0", "csv", "line 2: frame is -1, and has to be a whole number from 0 on"),
    "no number": ("seconds,action\nsoon,left", "csv", "line 2: seconds is soon, and has to be a number of at least 0"),
    "time back": ("seconds,action\n0,a\n1,b\n0.5,a", "csv", "line 4: seconds 0.5 comes after 1: seconds have to rise"),
    "late": ("seconds,action\n0.3,a\n1,b", "csv", "begins at 0.3 seconds, line 2: say in a line before it what is"),
    "after": ("seconds,action\n0,a\n2500,b", "csv", "line 3: 2500 seconds, and the video ends at 1.96667"),
    "columns": ("time,action\n0,a", "csv", "its first line has time, action: columns are frame or seconds, and action"),
    "no action": ("frame\n0", "csv", "its first line has frame: columns are frame or seconds, and action"),
    "width": ("frame,action\n0,a,b", "csv", "line 2 has 3 columns, and the first line 2"),
    "empty": ("", "csv", "its first line has nothing: columns are"),
    "only a header": ("frame,action\n", "csv", "a.actions.csv has no actions"),
    "no name": ("seconds,action\n0,a\n1,", "csv", "line 3: action is empty, and no name"),
    "not finite": ("seconds,x,y\n0,1,nan", "csv", "line 2: y is nan, and no number"),
    "text among numbers": ("seconds,x,y\n0,1,2\n1,1,b", "csv", "line 3: y is b, and no number"),
    "large": ("seconds,x,y\n0,1,1e30", "csv", "line 2: y is 1e.30, and has to be finite"),
    "no json": ('{"seconds": 0, "action": 1}\n{', "jsonl", "a.actions.jsonl, line 2 is no JSON"),
    "no object": ("[0, 1]", "jsonl", r"line 1 is \[0, 1\], and has to be like"),
    "a key less": ('{"frame": 0, "action": 1}\n{"frame": 1}', "jsonl", "line 2 has no action"),
    "two kinds": ('{"frame": 0, "action": "a"}\n{"frame": 1, "action": 3}', "jsonl", "line 2: action is 3, and no na"),
    "other lengths": (
        '{"frame": 0, "action": [1, 2]}\n{"frame": 1, "action": [3]}', "jsonl", r"line 2: action is \[3\], and not 2"
    ),
    "bytes": ("frame,action\n0,\udcff", "csv", "a.actions.csv cannot be read: .*codec can't decode byte"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(place, what, tmp_path):
    text, ending, says = WRONG[what]
    place("a")
    (tmp_path / f"a.actions.{ending}").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=says) as raised:
        reader_of(tmp_path)
    assert "\n" not in str(raised.value)


def test_videos_with_wrong_actions_are_named_and_left_out(place, capsys):
    for name in "abcd":
        place(name, HELD)
    root = place("b", "seconds,action\n0,a\n9,b")
    place("c", "x")
    place("e")
    reader = reader_of(root)
    said = capsys.readouterr().err
    assert [video.path.stem for video in reader.videos] == ["a", "d"]
    assert "b.actions.csv, line 3: 9 seconds" in said and "2 of 5 videos in" in said
    assert "1 of 3 videos in" in said and "e.mp4) and are left out: data.videos.actions=none reads all of them" in said
    with pytest.raises(UserError, match="b.actions.csv, line 3: .*; 2 of 5 videos in .* cannot be read"):
        reader_of(root, on_error="raise")


def test_videos_of_two_kinds_of_actions_are_one_line(place):
    place("a", HELD)
    root = place("b", "seconds,x\n0,0.5")
    with pytest.raises(UserError, match="actions in .*a.actions.csv are names, and in .*b.actions.csv numbers"):
        reader_of(root)
    place("a", "seconds,x,y\n0,0.5,1")
    with pytest.raises(UserError, match=r"a.actions.csv has actions of 2 numbers \(x, y\), and .*b.*of 1 number \(x\)"):
        reader_of(root)


def test_a_list_of_actions_in_json_and_in_numpy(tmp_path):
    found = read_log("a.json", "a.json", json.dumps({"fps": 3, "actions": ["a", "b"]}).encode())
    assert found.values.tolist() == ["a", "b"] and found.places.tolist() == [0, 1]
    assert read_log("a.json", "a.json", b'{"caption": "a cat"}') is None
    for array in (np.arange(5), np.eye(3), np.array(["a", "b"])):
        np.save(tmp_path / "a.npy", array)
        log = read_log("a.npy", "a.npy", (tmp_path / "a.npy").read_bytes())
        np.testing.assert_array_equal(log.values, array)
    for content, says in (
        (b"[1]", None), (b'{"actions": 3}', '"actions" is 3, and has to be a list'), (b"{", "cannot be read"),
        (b'{"actions": [1, "a"]}', r"actions\[1\]: action is a, and no number"), (b"[" * 9999, "cannot be read"),
    ):  # fmt: skip
        if says is None:
            assert read_log("a.json", "a.json", content) is None
        else:
            with pytest.raises(UserError, match=says):
                read_log("a.json", "a.json", content)
    with pytest.raises(UserError, match="a.npy cannot be read"):
        np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
        read_log("a.npy", "a.npy", (tmp_path / "a.npy").read_bytes())
