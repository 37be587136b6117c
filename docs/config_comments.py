"""Comments of the files in conf/, by key: what stands behind a key, or in lines of their own above it."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

CONF = Path("conf")
DEFAULTS = ("pong", "auto", "recipe", "default", "adaptive", "cem", "h100")  # choices that explain their group's keys


def comment(key: str, command: str, choice: str | None = None) -> str:
    """What conf/ says of a dotted key of a command; of a key of a group the files of `choice`, where there is one. ""
    for nothing."""
    for path, name in places(key, command, choice):
        if found := comments(path).get(name):
            return found
    return ""


def places(key: str, command: str, choice: str | None) -> Iterator[tuple[Path, str]]:
    """(file, key in it) wherever a key may be explained, the likeliest first."""
    for main in (*included(CONF / f"{command}.yaml"), CONF / "experiment" / "ablation.yaml"):
        yield main, key
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        folder, name = CONF.joinpath(*parts[:length]), ".".join(parts[length:])
        if folder.is_dir():
            yield from ((path, one) for path in files(folder, choice) for one in (name, key))  # key: @package _global_
    if len(parts) > 2:  # one choice within another: stage.lam of stage=cotrain
        yield CONF / parts[0] / f"{parts[1]}.yaml", ".".join(parts[2:])
        yield from ((path, parts[-1]) for path in files(CONF / parts[0], None))
    for group in (
        parts[-2] if len(parts) > 1 else "sampler",
        "sampler",
    ):  # a group in another's place: rollouts.sampler
        yield CONF / group / "run.yaml", parts[-1]


@cache
def files(folder: Path, choice: str | None) -> list[Path]:
    """The files of a group: of a choice those that it is made of; without one the default, and all others."""
    if choice:
        return [*included(folder / f"{choice}.yaml")]
    first = [path for name in DEFAULTS for path in included(folder / f"{name}.yaml")]
    return [*first, *(path for path in sorted(folder.glob("*.yaml")) if path not in first)]


def included(path: Path) -> Iterator[Path]:
    """A file and those of the same folder that its defaults list names."""
    if path.is_file():
        yield path
        for entry in (yaml.safe_load(path.read_text()) or {}).get("defaults", []):
            if isinstance(entry, str) and entry != "_self_":
                yield from included(path.parent / f"{entry.partition('@')[0]}.yaml")


@cache
def comments(path: Path) -> dict[str, str]:
    """{dotted key: its comment} of a YAML file; keys of one line share it."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    lines, root = text.splitlines(), yaml.compose(text)
    return dict(_walk(root, "", lines)) if isinstance(root, yaml.MappingNode) else {}


def _walk(node: yaml.MappingNode, prefix: str, lines: list[str], shared: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, (said := shared or _comment(key, value, lines))
        if isinstance(value, yaml.MappingNode):
            yield from _walk(value, f"{name}.", lines, said if value.flow_style else "")


def _comment(key: yaml.Node, value: yaml.Node, lines: list[str]) -> str:
    line = key.start_mark.line
    same = value.end_mark.line == line
    start = value.end_mark.column if same else key.end_mark.column
    found = re.search(r"(?:^|\s)# ?(.*)", lines[line][start:])
    said = []
    above = line - 1
    while above >= 0 and _alone(lines[above]) == key.start_mark.column:
        above -= 1
    if above >= 0:  # else it is the head of the file
        said += [text.strip()[1:].strip() for text in lines[above + 1 : line]]
    if found:
        said[-1:] = [f"{said[-1]};"] if said else []
        said.append(found[1].strip())
        column = start + lines[line][start:].index("#", found.start())
        for text in lines[line + 1 :]:
            if _alone(text) != column:
                break
            said.append(text.strip()[1:].strip())
    return " ".join(said)


def _alone(line: str) -> int | None:
    """The column of a comment that stands alone on its line."""
    return len(line) - len(line.lstrip()) if line.lstrip().startswith("#") else None
