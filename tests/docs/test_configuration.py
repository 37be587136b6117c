"""The reference of the configuration has every key of the schema, with its type, default and comment."""

import pytest

from docs import configuration
from docs.config_comments import CONF, comments
from docs.configuration import documented, initialize, range_of, reference, sections, type_of
from genie.common.settings.commands import COMMANDS, PlayPage
from genie.common.settings.kinds import Range
from genie.common.settings.schema import fields

NAMES = ("name", "kind")  # of a choice: they need no comment


@pytest.fixture(scope="module")
def page():
    return reference()


@pytest.fixture
def hydra():
    with initialize():
        yield


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_is_there(hydra, command):
    groups = {key.rpartition(".")[0] for key in fields(command)}
    missing = {key for key in fields(command) if key not in groups} - documented(command)
    assert not missing


def test_every_key_is_explained(hydra):
    rows = [row for command in COMMANDS for _, rows in sections(command) for row in rows]
    bare = {row.split("`")[1] for row in rows if row.endswith("|  |")}
    assert {key for key in bare if key.rpartition(".")[2] not in NAMES} == set()


def test_a_row_says_type_default_and_comment(page):
    assert "| `play.port` | whole number ≥ 0, ≤ 65,535 | `8000` | 0: a free one |" in page
    assert "| `trainer.on_nan` | `stop`, `skip`, `rollback` | `stop` |" in page
    assert "`masked`, or `recipe.dynamics.context`" in page
    assert "| `recipe.dynamics.lr` | number > 0 | `0.001` | `optimizer.lr` takes it |" in page
    assert "### train: stage=cotrain" in page and "## genie.dashboard" in page


def test_a_new_key_is_missed_until_it_is_explained(hydra, monkeypatch):
    class More(PlayPage):
        volume: int

    row = configuration.row("play", "play.volume", More.model_fields["volume"].annotation)
    assert row.startswith("| `play.volume` | int |") and row.endswith("|  |")


def test_types_in_words():
    assert type_of(PlayPage.model_fields["idle"].annotation) == "whole number ≥ 0, or null"
    assert range_of(Range(0, 1, whole=False, above=True, below=True)) == "number > 0, < 1"
    assert range_of(Range(1, words=("auto",))) == "whole number ≥ 1, or auto"


def test_comments_stand_behind_a_key_or_above_it(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "# the file\n"
        "a: 1        # of a,\n"
        "            # in two lines\n"
        "# above b\n"
        "b: '#'\n"
        "c:          # a group\n"
        "  d: {e: 1, f: 2}   # both\n"
        "  g: 3\n"
    )
    found = comments(path)
    assert found == {
        "a": "of a, in two lines", "b": "above b", "c": "a group", "c.d": "both", "c.d.e": "both", "c.d.f": "both",
        "c.g": "",
    }  # fmt: skip
    assert comments(CONF / "play.yaml")["play.port"] == "0: a free one"
