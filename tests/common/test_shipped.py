"""Worlds that come with the package have a name that commands unpack and functions read in place."""

from pathlib import Path

import pytest

from genie.common import shipped
from genie.common.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A package with the world pretrained/tiny, seen from an empty working folder."""
    folder = tmp_path / "package"
    (folder / "tiny" / "data").mkdir(parents=True)
    (folder / "tiny" / "dynamics.safetensors").write_text("weights")
    (folder / "tiny" / "data" / "test.h5").write_text("frames")
    monkeypatch.setattr(shipped, "HOME", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_functions_read_in_place(home):
    assert shipped.located("pretrained/tiny") == home / "tiny"
    assert shipped.located("pretrained/tiny/dynamics.safetensors") == home / "tiny" / "dynamics.safetensors"
    assert shipped.located("outputs/pong") == Path("outputs/pong")


def test_a_folder_of_that_name_comes_first(home):
    Path("pretrained/tiny").mkdir(parents=True)
    assert shipped.located("pretrained/tiny") == Path("pretrained/tiny")


def test_another_name_lists_those_that_there_are(home):
    with pytest.raises(
        UserError, match="pretrained/pang: there is no such folder, and the package brings pretrained/t"
    ):
        shipped.located("pretrained/pang")


def test_commands_unpack(home):
    given = {"run": ["pretrained/tiny", "outputs/pong"], "act": {"policy": "pretrained/tiny/policy.safetensors"}}
    assert shipped.unpacked(given | {"data": {"root": "pretrained/tiny/data"}, "seed": 1}) == {
        "run": ["outputs/pretrained/tiny", "outputs/pong"],
        "act": {"policy": "outputs/pretrained/tiny/policy.safetensors"},
        "data": {"root": "outputs/pretrained/tiny/data"},
        "seed": 1,
    }
    assert Path("outputs/pretrained/tiny/data/test.h5").read_text() == "frames"


def test_what_differs_is_replaced_and_results_stay(home):
    shipped.unpacked({"run": "pretrained/tiny"})
    weights, result = Path("outputs/pretrained/tiny/dynamics.safetensors"), Path("outputs/pretrained/tiny/played.mp4")
    result.write_text("video")
    (home / "tiny" / "dynamics.safetensors").write_text("new weights")
    shipped.unpacked({"run": "pretrained/tiny"})
    assert weights.read_text() == "new weights" and result.exists()
    changed = weights.stat().st_mtime_ns
    shipped.unpacked({"run": "pretrained/tiny"})
    assert weights.stat().st_mtime_ns == changed


def test_what_was_measured_here_stays_unless_the_weights_change(home):
    shown, result = home / "tiny" / "evaluation" / "evaluation.json", Path("outputs/pretrained/tiny/evaluation")
    shown.parent.mkdir()
    shown.write_text("shipped")
    shipped.unpacked({"run": "pretrained/tiny"})
    (result / "evaluation.json").write_text("measured here")
    shipped.unpacked({"run": "pretrained/tiny"})
    assert (result / "evaluation.json").read_text() == "measured here"
    (home / "tiny" / "dynamics.safetensors").write_text("new weights")
    shipped.unpacked({"run": "pretrained/tiny"})
    assert (result / "evaluation.json").read_text() == "shipped"


def test_a_folder_that_cannot_be_written_is_one_line(home):
    Path("outputs").write_text("a file")
    with pytest.raises(UserError, match="outputs/pretrained/tiny cannot be written"):
        shipped.unpacked({"run": "pretrained/tiny"})


def test_the_name_that_was_typed_is_known_for_what_is_shown(home):
    Path("outputs/pong").mkdir(parents=True)
    folder = shipped.unpacked({"run": "pretrained/tiny"})["run"]
    assert shipped.as_typed(folder) == shipped.as_typed(Path(folder)) == "pretrained/tiny"
    assert shipped.as_typed("outputs/pong") == "outputs/pong"
