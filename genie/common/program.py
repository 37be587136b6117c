"""Program `genie`: the list of its commands, the start of one of them, and the name of commands in messages.

`genie train ...` and `python -m genie.train ...` run the same function. Messages and help texts are written with
`python -m genie.<command>`; where `genie` was started, `as_started` prints them as `genie <command>`.
Imports nothing but the standard library: the list is there at once.
"""

import ast
import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import genie

GROUPS = {
    "Make data": ("record", "convert", "inspect", "replay", "curate"),
    "Train": ("train", "pipeline", "ablate", "plan_memory"),
    "Measure": ("evaluate",),
    "Play": ("play", "generate"),
    "Agents and rewards": ("act", "agent", "label_curve", "rate"),
    "Publish": ("export", "dashboard"),
    "Installation": ("doctor", "completion"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)
STARTED_AS = "GENIE_STARTED_AS"  # environment variable of `genie` and of the processes that it starts
OTHER_PACKAGES = ("conf", "callbacks", "data_modules", "hydra_plugins")  # installed beside genie, of common names
NAMED = re.compile(r"python -m genie\.(\w+)\b(?!\.\w)")
HOME = Path(genie.__file__).resolve().parents[1]  # the folder of all packages


def main() -> None:
    """Starts the command that the command line names; exits with code 2 where there is none of that name."""
    name, *arguments = sys.argv[1:] or ["help"]
    if name in ("help", "--help", "-h"):
        if not arguments:
            print(listing())
            return
        name, arguments = arguments[0], ["--help"]
    if name == "--version":
        print(version_line())
        return
    command = name.replace("-", "_")
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean genie {near[0]}?" if near else f"there is: {', '.join(COMMANDS)}."
        fail(f"there is no command {name!r}; {hint} `genie --help` lists all commands")
    os.environ[STARTED_AS] = "genie"
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # the processes of a command import from where it does
    sys.argv = [f"genie {command}", *arguments]
    try:
        module = import_module(f"genie.{command}")
    except ImportError as error:
        fail(f"genie-world is not installed completely ({error}): pip install --force-reinstall genie-world")
    module.main()


def listing() -> str:
    """All commands by group, a line each."""
    width = max(map(len, COMMANDS))
    lines = ["genie <command> [key=value] ...", ""]
    for group, names in GROUPS.items():
        lines += [group, *(f"  {name:{width}}  {summary(name)}" for name in names), ""]
    lines.append("`genie <command> --help` names keys and groups of a command; `genie --version` the version.")
    return "\n".join(lines)


@cache
def summary(command: str) -> str:
    """What a command is, from the first line of its module, which is not imported."""
    spec = find_spec(f"genie.{command}")
    assert spec is not None and spec.origin is not None
    document = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return document.splitlines()[0].partition(": `")[0]


def version_line() -> str:
    return f"genie-world {genie.__version__}"


def as_started(text: str) -> str:
    """A message with its commands as this one was started: `genie train` for `python -m genie.train` under `genie`."""
    return NAMED.sub(r"genie \1", text) if STARTED_AS in os.environ else text


class CurrentFolder:
    """Finder of modules in the current folder, for `sys.meta_path`, where it is asked after all others: `env.id=` and
    `_target_` may name a module of the user's own, and none of them takes the place of an installed one."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, [""]) if path is None else None
        return spec if spec is not None and spec.loader is not None else None  # a mere folder is no package


def import_path() -> str | None:
    """Adds `CurrentFolder` in a process of `genie`; `python -m` has that folder before all others. Returns an error
    message where a package of this project would be imported from elsewhere."""
    if STARTED_AS in os.environ and CurrentFolder not in sys.meta_path:
        sys.meta_path.append(CurrentFolder)  # type: ignore[arg-type]
    for name, where in misplaced():
        if where is None:
            return f"the package {name} is missing in {HOME}: install genie-world again"
        if where.parent == Path.cwd():
            advice = "`python -m` imports from the current folder first: rename it, or start with `genie`"
        else:
            advice = "take its folder out of PYTHONPATH, or uninstall what brought it"
        return f"the package {name} would be imported from {where}, not from genie-world in {HOME}; {advice}"
    return None


def misplaced() -> Iterator[tuple[str, Path | None]]:
    """(name, file or folder) of the packages of this project in whose place another one would be imported; None: there
    is none at all."""
    for name in OTHER_PACKAGES:
        try:
            spec = find_spec(name)
        except ValueError:  # a module without one, which a program has made
            continue
        places = [] if spec is None else [Path(place).resolve() for place in spec.submodule_search_locations or ()]
        if HOME / name not in places:
            found = places[0] if places else spec and spec.origin and Path(spec.origin).resolve()
            yield name, found or None


def fail(message: str) -> NoReturn:
    """Prints `error: <message>` and exits with code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
