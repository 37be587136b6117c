"""What is known of videos is found out once for each file, and kept whole."""

import os
import signal
import threading

import numpy as np
import pytest

from data_modules.formats import video_index
from data_modules.formats.index_file import locked
from data_modules.formats.video_index import index_videos


@pytest.fixture
def folder(tmp_path, write_video, number_frames):
    frames = number_frames(8, (16, 32))
    for name in ("b.mp4", "sub/a.mkv", "c.avi"):
        write_video(tmp_path / "videos" / name, frames, codec="mpeg4" if name == "c.avi" else "libx264")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"nothing")
    return tmp_path / "videos"


def files(folder):
    return sorted(path for path in folder.rglob("*.*") if path.is_file() and not path.name.startswith("."))


def index(folder, cut_threshold=None):
    """Of all files: (entries by name, names of those that were looked at)."""
    paths = files(folder)
    entries, new = index_videos(folder, paths, cut_threshold)
    return {path.name: entry for path, entry in zip(paths, entries, strict=True)}, {paths[n].name for n in new}


def test_only_new_and_changed_files_are_looked_at(folder, write_video, number_frames):
    first, looked_at = index(folder)
    assert looked_at == {"a.mkv", "b.mp4", "c.avi", "broken.mp4"}
    again, looked_at = index(folder)
    assert looked_at == set()
    for name, entry in again.items():
        assert (entry.stamp, entry.problem) == (first[name].stamp, first[name].problem)
        for part in ("stream", "times", "cuts", "height", "width", "timed", "only_pyav"):
            np.testing.assert_array_equal(getattr(entry, part), getattr(first[name], part))
    assert "Invalid data" in again["broken.mp4"].problem and (again["b.mp4"].height, again["b.mp4"].width) == (16, 32)
    os.utime(folder / "b.mp4", ns=(1, 1))
    write_video(folder / "new.mp4", number_frames(3, (16, 32)))
    entries, looked_at = index(folder)
    assert looked_at == {"b.mp4", "new.mp4"} and len(entries["new.mp4"].times) == 3


def test_what_is_gone_is_forgotten_and_what_was_not_asked_for_is_not(folder):
    index(folder)
    away = folder.parent / "c.avi"
    (folder / "c.avi").rename(away)
    index_videos(folder, [folder / "b.mp4"], None)
    assert index(folder)[1] == set()
    away.rename(folder / "c.avi")  # with the same size and time as ever
    assert index(folder)[1] == {"c.avi"}


def test_another_way_of_looking_is_another_index(folder):
    index(folder)
    assert index(folder, 0.15)[1] == {"a.mkv", "b.mp4", "c.avi", "broken.mp4"}
    assert index(folder)[1] == index(folder, 0.15)[1] == set()
    assert index(folder, 0.2)[1]


def test_a_moved_folder_keeps_its_index(folder):
    index(folder)
    folder.rename(folder.with_name("moved"))
    assert index(folder.with_name("moved"))[1] == set()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"no index at all"])
def test_a_damaged_index_is_made_anew(folder, content):
    index(folder)
    (kept,) = folder.glob(".*.npz")
    kept.write_bytes(content)
    assert len(index(folder)[1]) == 4
    assert index(folder)[1] == set()


def test_a_folder_that_cannot_be_written_has_its_index_in_the_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "cache"))
    (folder / ".videos-2.lock").mkdir()  # what cannot be opened for writing, for root neither
    assert len(index(folder)[1]) == 4
    assert not list(folder.glob(".*.npz")) and len(list((tmp_path / "cache").rglob("*.npz"))) == 1
    assert index(folder)[1] == set()


def test_what_was_found_out_before_an_interruption_stays(folder, monkeypatch):
    whole = video_index._look_at_all

    def interrupted(tasks):
        for task, entry in zip(tasks, whole(tasks), strict=True):
            if task[0].name == "c.avi":
                raise KeyboardInterrupt
            yield entry

    monkeypatch.setattr(video_index, "_look_at_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index(folder)
    monkeypatch.setattr(video_index, "_look_at_all", whole)
    assert index(folder)[1] == {"c.avi", "a.mkv"}


def test_a_file_that_brings_the_decoder_down_is_left_out_like_others(folder, monkeypatch):
    whole = video_index.look_at

    def crashing(path, *settings):
        if path.name == "b.mp4":
            os.kill(os.getpid(), signal.SIGSEGV)
        return whole(path, *settings)

    monkeypatch.setattr(video_index, "look_at", crashing)
    entries, _ = index(folder)
    assert entries["b.mp4"].problem == "the decoder crashes"
    assert {name for name, entry in entries.items() if not entry.problem} == {"a.mkv", "c.avi"}


def test_processes_do_not_look_at_the_same_videos_at_once(folder):
    done = threading.Event()

    def other():
        index(folder)
        done.set()

    with locked(folder, "videos-2"):
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.5)
    thread.join(60)
    assert done.is_set()
