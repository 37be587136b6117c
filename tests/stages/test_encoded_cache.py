"""Codes that are kept on disk are those of this data and these models, or are made anew."""

import os
import shutil

import pytest
import torch

from data_modules.clip_data_module import ClipDataModule
from genie.stages import encoded_cache
from genie.stages.encoded import encode

CPU = torch.device("cpu")
ALONE = ["++model.tokenizer.encoder=patch_mlp", "++model.tokenizer.decoder=vit", "++model.lam.antisymmetric=true"]


@pytest.fixture
def root(pong_root, tmp_path):
    return shutil.copytree(pong_root, tmp_path / "data")


@pytest.fixture
def case(root, build, monkeypatch, tmp_path):
    """The data set, the frozen models, and the path of their codes."""
    monkeypatch.setattr(encoded_cache, "cache_folder", lambda: tmp_path / "cache")

    class Case:
        def __init__(self):
            self.parts = list(build("dynamics", *ALONE).frozen.values())
            self.open()

        def open(self, **options):
            data = ClipDataModule(str(root), (16, 16), num_frames=5, batch_size=4, **options)
            data.setup("fit")
            self.dataset = data.train_dataset

        def path(self, precision="32-true"):
            return encoded_cache.cache_file(self.dataset, root, self.parts, precision, CPU)

        def encode(self):
            return encode(self.dataset, *self.parts, CPU)

    return Case()


def test_what_was_written_is_read(case):
    assert encoded_cache.read(case.path(), case.dataset, CPU) is None
    made = case.encode()
    encoded_cache.write(case.path(), made)
    found = encoded_cache.read(case.path(), case.dataset, CPU)
    assert torch.equal(found.tokens, made.tokens) and torch.equal(found.actions, made.actions)
    assert found.stride == made.stride and found.tokens.dtype == torch.int32


def test_the_name_follows_from_data_models_and_precision(case, root):
    names = {case.path()}
    assert case.path() in names
    names.add(case.path("bf16-mixed"))
    case.open(stride=2)
    names.add(case.path())
    case.open()
    with torch.no_grad():
        next(case.parts[0].parameters()).add_(1e-3)
    names.add(case.path())
    train = next(root.glob("train*"))
    os.utime(train, ns=(1, 1))  # written again
    names.add(case.path())
    assert len(names) == 5


def test_hidden_indices_beside_the_data_do_not_matter(case, root):
    before = case.path()
    (root / ".videos-2.lock").write_text("")
    assert case.path() == before


def test_a_damaged_file_and_one_of_another_length_are_made_anew(case):
    path, made = case.path(), case.encode()
    encoded_cache.write(path, made)
    path.write_bytes(path.read_bytes()[:-100])
    assert encoded_cache.read(path, case.dataset, CPU) is None
    made.tokens.resize_(len(made.tokens) - 1, made.tokens.shape[1])
    encoded_cache.write(path, made)
    assert encoded_cache.read(path, case.dataset, CPU) is None


def test_the_newest_files_stay(case, monkeypatch):
    monkeypatch.setattr(encoded_cache, "KEPT", 2)
    made, paths = case.encode(), [case.path(), case.path("16-mixed"), case.path("bf16-mixed")]
    for number, path in enumerate(paths):
        encoded_cache.write(path, made)
        os.utime(path, (number, number))
    assert sorted(paths[0].parent.iterdir()) == sorted(paths[1:])


def test_a_disk_that_takes_nothing_only_costs_time(case, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(encoded_cache, "cache_folder", lambda: tmp_path / "file")
    encoded_cache.write(case.path(), case.encode())
    assert "encoded frames are not kept on disk" in capsys.readouterr().out


def test_data_of_no_files_have_no_place(case):
    assert encoded_cache.cache_file(case.dataset, "https://example.org/data", case.parts, "32-true", CPU) is None
