"""What benchmarks are given: values of the kinds of genie's own settings, and one line for what is wrong."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.arguments import arguments, started
from genie.common.errors import RunError, UserError
from genie.common.settings.kinds import Count, Flag, NotNegative, Place, Settings

FOLDER = Path(__file__).parents[2] / "benchmarks"
TAKING = sorted(path.stem for path in FOLDER.glob("*.py") if "\nclass Arguments(" in path.read_text())


class Arguments(Settings):
    run: Place = "outputs/pong"
    clips: Count = 32
    bounds: list[NotNegative] = [0.5]
    names: list[str] = ["a"]
    groups: Flag = False
    only: str = ""


def test_values_are_of_the_type_of_their_field():
    given = ["clips=3", "bounds=1,0.5", "names=[b,c d]", "groups=true", "only=2 steps, hot", "run=2024"]
    found, rest = arguments(Arguments, given)
    assert found.model_dump() == {
        "run": "2024", "clips": 3, "bounds": [1, 0.5], "names": ["b", "c d"], "groups": True, "only": "2 steps, hot",
    }  # fmt: skip
    assert rest == [] and arguments(Arguments, ["bounds="])[0].bounds == [] and arguments(Arguments, [])[0].clips == 32


def test_the_command_line_is_read_and_what_is_for_genie_is_left(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark", "data=pong", "clips=2", "recipe.lam.moved=encoder"])
    found, rest = arguments(Arguments, others=True)
    assert found.clips == 2 and rest == ["data=pong", "recipe.lam.moved=encoder"]


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("clips=x", "clips=x must be a whole number of at least 1"),
        ("clips=0", "clips=0 must be a whole number of at least 1"),
        ("clips=1,2", "clips=1,2 must be a whole number of at least 1"),
        ("bounds=1,x", "bounds=[1,x]: each must be a number of at least 0"),
        ("groups=yes", "groups=yes must be true or false"),
        ("clip=3", "clip=3: there is run=, clips=, bounds=, names=, groups=, only=; did you mean clips?"),
        ("clips", "clips: there is run="),
    ],
)
def test_what_is_wrong_is_said_in_one_line(argument, line):
    with pytest.raises(UserError, match=re.escape(line)):
        arguments(Arguments, [argument])


@pytest.mark.parametrize(("error", "code"), [(UserError("no\n good"), 2), (RunError("no\n good"), "error: no good")])
def test_errors_are_lines_and_exit_codes(error, code, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as leaving:
        started(main)
    assert leaving.value.code == code
    assert capsys.readouterr().err == ("error: no good\n" if code == 2 else "")


def test_all_benchmarks_with_keys_are_known():
    assert {"sampling", "generation", "imagination", "scaling", "peers", "playing", "world_quality"} <= set(TAKING)


@pytest.mark.parametrize("name", TAKING)
def test_each_benchmark_says_which_value_is_wrong(name, monkeypatch):
    """Before any work: nothing of what it would need is there."""
    module = importlib.import_module(f"benchmarks.{name}")
    defaults = {key: field.default for key, field in module.Arguments.model_fields.items()}
    key = next(key for key, value in defaults.items() if isinstance(value, int | float))
    monkeypatch.setattr("sys.argv", [name, f"{key}=oops"])
    with pytest.raises(UserError, match=rf"^{key}=.*oops.* must be "):
        module.main()


@pytest.mark.slow
def test_a_wrong_number_ends_a_benchmark_in_one_line():
    command = [sys.executable, "-m", "benchmarks.sampling", "clips=many"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (2, "error: clips=many must be a whole number of at least 1\n")
