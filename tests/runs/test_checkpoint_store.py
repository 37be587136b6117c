"""A checkpoint is whole or it is noticed, whatever happens while one is written."""

import os
import random
import shutil
import zipfile

import pytest
import torch

from genie.common.errors import UserError
from genie.runs import checkpoint_store as store


def write(folder, step, shards=0):
    """A checkpoint as it is written: under a temporary name, then published, kept as the last one of two."""
    publish(folder, step, shards, store.step_path(folder, step))
    store.keep_as_last(store.step_path(folder, step), keep=2)


def publish(folder, step, shards, path):
    temporary = folder / f".{step}.tmp-1"
    contents = {"step": step, "weights": torch.arange(100.0) + step}
    if shards:
        (temporary / "deep").mkdir(parents=True)
        for shard in range(shards):
            torch.save(contents, temporary / "deep" / f"{shard}.pt")
        store.write_manifest(temporary)
    else:
        torch.save(contents, temporary)
    store.publish(temporary, path)


def read(path):
    path = path / "deep" / "0.pt" if path.is_dir() else path
    return torch.load(path, weights_only=True)["step"]


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


KINDS = pytest.mark.parametrize("shards", [pytest.param(0, id="file"), pytest.param(2, id="folder")])


@KINDS
def test_the_newest_stay_and_nothing_is_stored_twice(tmp_path, shards):
    for step in (5, 10, 15, 15, 1000000000):
        write(tmp_path, step, shards)
        assert read(tmp_path / "last.ckpt") == step
    assert names(tmp_path) == ["last.ckpt", "step-000000015.ckpt", "step-1000000000.ckpt"]
    assert (tmp_path / "last.ckpt").samefile(tmp_path / "step-1000000000.ckpt")
    homes = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(homes) == (2 if shards else 0)  # the folders that the names point to, and no other ones


@KINDS
@pytest.mark.parametrize("then", [pytest.param(0, id="after a file"), pytest.param(2, id="after a folder")])
def test_a_copied_run_goes_on_in_either_form(tmp_path, shards, then):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", 5, then)
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # with what its links point to
    for step in (5, 10, 15):
        write(tmp_path / "b", step, shards)
        assert read(tmp_path / "b" / "last.ckpt") == read(store.step_path(tmp_path / "b", step)) == step
    assert names(tmp_path / "b") == ["last.ckpt", "step-000000010.ckpt", "step-000000015.ckpt"]
    assert not list((tmp_path / "b").glob(".*.tmp-*"))


@KINDS
def test_a_crash_between_any_two_operations_leaves_a_whole_one_under_the_name(tmp_path, shards, monkeypatch):
    class Crash(BaseException):
        pass

    def crashing(function, left):
        def call(*arguments, **options):
            if next(left, None) is None:
                raise Crash
            return function(*arguments, **options)

        return call

    calls, done = 0, False
    while not done:
        folder = tmp_path / str(calls)
        folder.mkdir()
        write(folder, 1, shards)
        write(folder, 2, shards)
        publish(folder, 2, shards, folder / "best.ckpt")
        with monkeypatch.context() as patched:
            left = iter(range(calls))
            for name in ("replace", "link", "symlink", "unlink", "fsync", "rmdir"):
                patched.setattr(os, name, crashing(getattr(os, name), left))
            try:
                write(folder, 3, shards)
                publish(folder, 3, shards, folder / "best.ckpt")
                done = True
            except Crash:
                pass
        last = store.newest_whole(folder)
        assert last == folder / "last.ckpt" and read(last) in (2, 3)
        store.remove_orphans(folder)
        for name in ("last.ckpt", "best.ckpt"):
            store.verify(folder / name)
            assert read(folder / name) in (2, 3)
        write(folder, 4, shards)
        assert read(folder / "last.ckpt") == 4 and len(store.kept(folder)) == 2
        calls += 1
    assert calls > 6


@pytest.mark.parametrize("missing", [("link",), ("link", "symlink")])
def test_a_file_system_without_links_holds_a_copy(tmp_path, monkeypatch, missing):
    def refuse(*arguments, **options):
        raise PermissionError("no links here")

    for name in missing:
        monkeypatch.setattr(os, name, refuse)
    for step in (1, 2, 3):
        write(tmp_path, step)
    assert read(tmp_path / "last.ckpt") == 3 and names(tmp_path)[1:] == ["step-000000002.ckpt", "step-000000003.ckpt"]


def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    write(tmp_path, 7)
    path, chance = tmp_path / "last.ckpt", random.Random(0)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = [entry.header_offset + 64 for entry in archive.infolist()]
    noticed = 0
    for place in [*places, *(chance.randrange(len(whole)) for _ in range(300))]:
        broken = bytearray(whole)
        broken[place] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            store.verify(path)
        except UserError as error:
            noticed += 1
            assert "damaged" in str(error) and "\n" not in str(error)
        else:
            assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.arange(100.0) + 7)
    assert noticed > 50


def test_torch_alone_does_not_notice(tmp_path):
    """Why the store reads the check sums itself: where this fails, torch has learned to."""
    write(tmp_path, 7)
    path = tmp_path / "last.ckpt"
    whole = path.read_bytes()
    value = torch.tensor([57.0]).numpy().tobytes()  # one of the weights
    path.write_bytes(whole.replace(value, bytes(4), 1))
    assert torch.load(path, weights_only=True)["weights"].sum() != (torch.arange(100.0) + 7).sum()
    with pytest.raises(UserError, match="damaged"):
        store.verify(path)


def test_what_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(UserError, match="compressed"):
        store.verify(path)


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "no manifest", "no json", "odd manifest"])
def test_a_damaged_folder_is_noticed(tmp_path, harm):
    write(tmp_path, 1, shards=2)
    path = tmp_path / "last.ckpt"
    store.verify(path)
    shard, manifest = path / "deep" / "1.pt", path / "manifest.json"
    raw = shard.read_bytes()
    if harm == "cut":
        shard.write_bytes(raw[:-1])
    elif harm == "changed":
        shard.write_bytes(raw[:-1] + b"x")
    elif harm == "missing":
        shard.unlink()
    elif harm == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text("{" if harm == "no json" else '{"deep/1.pt": 3}')
    with pytest.raises(UserError, match="damaged") as raised:
        store.verify(path)
    assert "\n" not in str(raised.value)


@KINDS
def test_the_one_before_a_damaged_one_is_taken(tmp_path, shards):
    write(tmp_path, 1, shards)
    write(tmp_path, 2, shards)
    harmed = tmp_path / "last.ckpt"
    harmed = harmed / "deep" / "0.pt" if shards else harmed
    harmed.write_bytes(harmed.read_bytes()[:-40])
    said = []
    assert read(store.newest_whole(tmp_path, lambda path, message: said.append((path.name, message)))) == 1
    assert [name for name, _ in said] == ["last.ckpt"]  # under its second name it is not looked at again
    assert "last.ckpt" in said[0][1] and "damaged" in said[0][1]
    store.remove(store.step_path(tmp_path, 1))
    assert store.newest_whole(tmp_path) is None
    assert store.newest_whole(tmp_path / "nothing") is None
