"""Weights of other people's networks: only the right file is taken, and only once; nothing in it is run."""

import hashlib
import os
import pickle
import re
import shutil
import subprocess
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genie.common.errors import UserError
from genie.metrics import pretrained
from genie.metrics.pretrained import Weights, digest, load, read_arrays

ARRAY = np.arange(6, dtype="<f4").reshape(2, 3)


def pickled(tree):
    """As numpy 1 wrote it: protocol 3, with the module's old name."""
    return pickle.dumps(tree, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def convert(data):
    return {name: torch.tensor(value).T for name, value in read_arrays(data).items()}


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """(Weights, archive): weights in the archive of a package that is not installed, and an empty cache."""
    data = pickled({"params": {"a/b": ARRAY}})
    source = tmp_path / "fake_weights-1.0" / "fake_weights"
    source.mkdir(parents=True)
    (source / "file.ckpt").write_bytes(data)
    path = tmp_path / "fake_weights-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source.parent, arcname="fake_weights-1.0")
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "cache"))
    weights = Weights(
        name="fake",
        purpose="tests",
        package="fake-weights",
        version="1.0",
        archive=path.name,
        archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        megabytes=1,
        member="fake_weights/file.ckpt",
        sha256=hashlib.sha256(data).hexdigest(),
        convert=convert,
        tensors_sha256=digest(convert(data)),
    )
    return weights, path


@pytest.fixture
def pip(archive, monkeypatch):
    """Instead of pip: a list of its command lines, and a function that says what it does."""
    calls = []

    def run(command, **options):
        calls.append(command)
        return pip.answer(command)

    def fetch(command):
        shutil.copy(archive[1], command[command.index("--dest") + 1])
        return SimpleNamespace(returncode=0)

    pip = SimpleNamespace(calls=calls, answer=fetch)
    monkeypatch.setattr(subprocess, "run", run)
    return pip


def test_weights_are_fetched_once_and_then_come_from_the_cache(archive, pip, capsys):
    first = load(archive[0])
    assert torch.equal(first["params/a/b"], torch.from_numpy(ARRAY).T)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "fake-weights==1.0" in said and "1 MB" in said and "tests" in said
    assert torch.equal(load(archive[0])["params/a/b"], first["params/a/b"])
    assert len(pip.calls) == 1 and not capsys.readouterr().out


def test_of_several_processes_one_fetches(archive, pip):
    """Threads stand for processes: a lock is of the opened file."""
    fetch, both = pip.answer, threading.Barrier(2)

    def slow(command):
        time.sleep(0.3)
        return fetch(command)

    def start():
        both.wait()
        return load(archive[0])

    pip.answer = slow
    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(start) for _ in range(2)])
    assert len(pip.calls) == 1 and torch.equal(first["params/a/b"], second["params/a/b"])


def test_pip_is_told_the_checksum_and_takes_no_dependencies(archive, pip):
    def look(command):
        requirements = Path(command[command.index("-r") + 1])
        assert requirements.read_text() == f"fake-weights==1.0 --hash=sha256:{archive[0].archive_sha256}\n"
        assert {"--require-hashes", "--no-deps"} <= set(command)
        shutil.copy(archive[1], command[command.index("--dest") + 1])
        return SimpleNamespace(returncode=0)

    pip.answer = look
    load(archive[0])


@pytest.mark.parametrize("damage", ["other bytes", "cut short", "other weights"])
def test_a_corrupt_cache_is_made_anew(archive, pip, tmp_path, damage):
    expected = load(archive[0])["params/a/b"]
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "other weights":
        data[-1] ^= 1
    path.write_bytes({"other bytes": b"nothing", "cut short": data[:-3]}.get(damage, data))
    assert torch.equal(load(archive[0])["params/a/b"], expected)
    assert len(pip.calls) == 2
    load(archive[0])
    assert len(pip.calls) == 2


def test_an_archive_that_was_put_into_the_cache_folder_is_taken(archive, pip, tmp_path):
    (tmp_path / "cache").mkdir()
    shutil.copy(archive[1], tmp_path / "cache")
    load(archive[0])
    assert not pip.calls


def install(folder, data):
    """The package as pip would install it; who imports it is told so."""
    (folder / "fake_weights").mkdir(parents=True)
    (folder / "fake_weights" / "__init__.py").write_text("raise AssertionError('imported')")
    (folder / "fake_weights" / "file.ckpt").write_bytes(data)
    info = folder / "fake_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("fake_weights/__init__.py,,\nfake_weights/file.ckpt,,\n")


def test_an_installed_package_is_read_without_importing_it(archive, pip, tmp_path, monkeypatch):
    install(tmp_path / "site", pickled({"params": {"a/b": ARRAY}}))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    load(archive[0])
    assert not pip.calls


def test_a_wrong_checksum_is_refused(archive, pip, tmp_path, monkeypatch):
    weights, path = archive
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="fake_weights-1.0.tar.gz is not the file expected"):
        load(weights)
    install(tmp_path / "site", pickled({"params": {"a/b": ARRAY + 1}}))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(UserError, match=r"file.ckpt is not the file expected: its SHA-256 is \w{64}, not \w{64}"):
        load(weights)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_without_network_or_pip_one_line_says_what_to_do(archive, pip, tmp_path, monkeypatch):
    pip.answer = lambda _: SimpleNamespace(
        returncode=1, stderr="WARNING: retry\nERROR: No matching distribution\nERROR: x"
    )
    advice = re.escape(f"fake_weights-1.0.tar.gz: put it into {tmp_path / 'cache'}")
    with pytest.raises(UserError, match=rf"\(No matching distribution\).*{advice}") as raised:
        load(archive[0])
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"no pip to fetch them.*{advice}"):
        load(archive[0])


def test_a_folder_that_cannot_be_written_is_named(archive, pip, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="GENIE_CACHE"):
        load(archive[0])


class Command:
    """What pickles are feared for."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_names_anything_but_arrays_is_refused_and_not_run(tmp_path):
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        read_arrays(pickled({"a": ARRAY, "b": Command(tmp_path / "made")}))
    assert not (tmp_path / "made").exists()
    with pytest.raises(pickle.UnpicklingError, match="numpy"):
        read_arrays(pickle.dumps({"a": ARRAY}, protocol=5))


def test_a_pickle_of_other_things_than_float32_arrays_is_refused():
    assert read_arrays(pickled({"a": {"b": ARRAY}}))["a/b"].tolist() == ARRAY.tolist()
    for tree in (
        {"a": ARRAY.astype("<f8")},
        {"a": ARRAY.astype(">f4")},
        {"a": np.asfortranarray(ARRAY)},
        {"a": [ARRAY]},
        {"a": 1},
        {"a": np.dtype("f4")},
    ):
        with pytest.raises(pickle.UnpicklingError):
            read_arrays(pickled(tree))
    for damaged in (b"", b"nothing", pickled({"a": ARRAY})[:-9]):
        with pytest.raises(pickle.UnpicklingError):
            read_arrays(damaged)
