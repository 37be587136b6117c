"""Folders that a second process must not write into, with real processes."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from genie.common.errors import UserError
from genie.common.files import TEMPORARY
from genie.common.folder_lock import LOCK, empty, one_writer, require_writable

# holds the lock of a folder, and has a child that outlives it
HOLDER = """
import os, sys, time
from genie.common.folder_lock import one_writer
with one_writer(sys.argv[1], "output=", beside=sys.argv[2] == "beside"):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(place, beside=False):
    """The process that writes into a place; afterwards it is killed, and only then its child."""
    command = [sys.executable, "-c", HOLDER, str(place), "beside" if beside else "inside"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("beside", [False, True])
def test_a_second_process_is_told_who_writes_and_a_killed_one_is_in_nobodys_way(tmp_path, beside):
    place = tmp_path / "run"
    with holder(place, beside) as process:
        with pytest.raises(UserError) as error, one_writer(place, "name=", beside=beside):
            pass
        for words in (f"process {process.pid}", socket.gethostname(), "since 20", "another name="):
            assert words in str(error.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with one_writer(place, "name=", beside=beside):  # at once, and while the child of the killed one lives
            pass


def test_a_command_that_waits_goes_on_when_the_other_one_ends(tmp_path, capfd):
    with holder(tmp_path) as process:
        waiting = subprocess.Popen(
            [sys.executable, "-c", "from genie.common.folder_lock import one_writer; import sys\n"
             "with one_writer(sys.argv[1], 'data.root=', wait=True): print('mine')", str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = waiting.stderr.readline()
        assert f"process {process.pid}" in line and "waiting" in line
        process.kill()
        assert waiting.communicate()[0] == "mine\n" and waiting.returncode == 0


def test_what_the_lock_made_goes_with_it_and_what_was_written_stays(tmp_path):
    with one_writer(tmp_path / "a" / "b", "output="), one_writer(tmp_path / "a" / "b", "output="):
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    with one_writer(tmp_path / "a" / "b", "output=") as folder:
        (folder / "figure.png").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "figure.png"]
    with one_writer(folder, "output="):
        empty(folder)
        assert [path.name for path in folder.iterdir()] == [LOCK]


def test_a_lock_whose_file_its_last_holder_has_deleted_is_not_taken_for_one(tmp_path, monkeypatch):
    lock, calls = fcntl.flock, []

    def deleted_before(file, flags):
        calls.append(file)
        if len(calls) == 1:
            os.unlink(file.name)
        lock(file, flags)

    monkeypatch.setattr("fcntl.flock", deleted_before)
    with one_writer(tmp_path, "output="):
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(calls[1].fileno()), os.stat(tmp_path / LOCK))


@pytest.mark.parametrize("place", ["/proc/nope", "/sys/nope/deeper", "file", "file/below"])
def test_places_that_cannot_be_written_are_one_line_and_leave_nothing(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    place = tmp_path / place
    for write in (lambda: one_writer(place, "output=").__enter__(), lambda: require_writable(place / "x", "output=")):
        with pytest.raises(UserError, match=r"cannot write into .*: give another output=") as error:
            write()
        assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "kept"


def test_a_file_may_be_written_where_its_folder_can_be_made(tmp_path):
    require_writable(tmp_path / "new" / "video.mp4", "output=")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="folder"):
        require_writable(tmp_path, "output=")


def test_a_file_system_without_locks_is_said_and_written_to(tmp_path, monkeypatch, capsys):
    def no_locks(file, flags):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with one_writer(tmp_path, "output="):
        pass
    assert "has no locks" in capsys.readouterr().err


def test_a_training_into_the_folder_of_another_is_refused_before_it_touches_anything(configure, tmp_path):
    from genie.training.train import train

    config = configure("tokenizer")
    folder = tmp_path / "run"
    config["run_dir"] = str(folder)
    with holder(folder):
        (folder / f".last.ckpt{TEMPORARY}1").touch()
        (folder / "config.yaml").write_text("a: 1")
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        with pytest.raises(UserError, match="is being written by process"):
            train(config | {"overwrite": True})
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
