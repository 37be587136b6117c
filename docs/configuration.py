"""Reference of the configuration: every key of every command with its type, default and comment.

Made from the schema (genie/common/settings), the composed defaults and the comments of conf/; docs/hooks.py puts it
into docs/configuration.md when the site is built, `python -m docs.configuration` prints it.
"""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from pydantic import BeforeValidator

from docs.config_comments import CONF, comment
from genie.common.config_errors import group_options
from genie.common.overrides import spelled
from genie.common.settings import commands, data, kinds, training
from genie.common.settings.commands import COMMANDS
from genie.common.settings.kinds import Range, Settings
from genie.common.settings.training import TrainConfig
from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
from genie.models.attention import SelfAttention
from genie.models.quantizers import LatentHead
from genie.models.st_transformer import Backbone, STBlock, STTransformer

KINDS = {
    kinds._flag: "true or false",
    kinds._text: "text",
    kinds._word: "word",
    kinds._name: "name",
    kinds._place: "path",
    kinds._places: "path, or list of paths",
    kinds._keys: "keys and values",
    kinds._host: "address",
    kinds._size: "[height, width]",
    data._levels: "[first, number]",
    training._devices: "number, list of numbers, or auto",
    commands._episodes: "number, or list of numbers",
}
EXPLAINING = {
    one.__name__: one for one in (VideoTokenizer, STTransformer, STBlock, Backbone, SelfAttention, LatentHead)
}
MODELS = {"tokenizer": VideoTokenizer, "lam": LatentActionModel, "dynamics": DynamicsModel}
SAID = {  # of keys that no file and no docstring explains
    "model.image_size": "as the data",
    "model.tokenizer.channels": "of a frame",
    "model.lam.input": "pixels | tokens: what the model reads and predicts; null: pixels (docs/ablations.md)",
}
LONGEST = 90  # characters of a default
OTHERS = {  # choices with further keys
    "data": ("videos", "stream", "minari", "coinrun"),
    "logger": ("tensorboard", "wandb", "mlflow"),
}
ON_STAGE = ("reward", "policy", "simulator")  # groups that are there with the stage of their name
REFERENCE = re.compile(r"\$\{(?:oc\.select:)?stage\.name(?:,\w+)?\}")
SELECTED = re.compile(r"\$\{oc\.select:([^,{}]+),([^{}]*)\}")
OTHER = re.compile(r"\$\{([^{}]+)\}")


def reference() -> str:
    """The page's generated part, in Markdown."""
    parts = []
    with initialize():
        for command in COMMANDS:
            parts += [f"## genie.{command}", "", *_notes(command)]
            for title, rows in sections(command):
                parts += [f"### {title}", ""] if title else []
                parts += ["| key | type | default | |", "|---|---|---|---|", *rows, ""]
    return "\n".join(parts)


def initialize() -> Any:
    GlobalHydra.instance().clear()
    return initialize_config_module("conf", version_base="1.3")


@cache
def documented(command: str) -> set[str]:
    """The keys of a command that the reference has, here or where it leads to."""
    keys = {row.split("`")[1] for _, rows in sections(command) for row in rows}
    kind = COMMANDS[command]
    if command != "train" and "data" in kind.model_fields:
        keys |= {key for key in documented("train") if key.startswith("data.")} | {"data"}
    return keys | documented("train") if command != "train" and issubclass(kind, TrainConfig) else keys


def _notes(command: str) -> Iterator[str]:
    kind = COMMANDS[command]
    if command != "train" and issubclass(kind, TrainConfig):
        yield from ("All keys of [genie.train](#genietrain), and", "")
    elif command != "train" and "data" in kind.model_fields:
        yield from ("`data.*` as for [genie.train](#train-data), and", "")


def sections(command: str) -> Iterator[tuple[str, list[str]]]:
    """(heading, rows) of a command's own keys, and of each group and each choice that has keys of its own."""
    kind = COMMANDS[command]
    inherited = TrainConfig.model_fields if command != "train" and issubclass(kind, TrainConfig) else {}
    own, groups = [], []
    for field, info in kind.model_fields.items():
        if field in inherited or (field == "data" and command != "train"):
            continue
        key, inner = info.alias or field, _groups(info.annotation)
        if not inner:
            own.append(row(command, key, info.annotation, info.metadata))
        elif len(inner) == 1 and not (CONF / key).is_dir() and command != "train":
            own += rows_of(command, f"{key}.", inner[0], ())
        else:
            groups.append((key, inner))
    if own:
        yield "", own
    for key, inner in groups:
        for settings in inner:
            choices = _choices(settings) if len(inner) > 1 else ()
            title = f"{command}: {key}" + (f"={'|'.join(choices)}" if choices else "")
            yield title, rows_of(command, f"{key}.", settings, choices)


def rows_of(command: str, prefix: str, settings: type[Settings], choices: tuple[str, ...]) -> list[str]:
    """A row for each key of a group, and of the groups in it."""
    rows: dict[str, str] = {}
    for field, info in settings.model_fields.items():
        key, groups = f"{prefix}{info.alias or field}", _groups(info.annotation)
        for inner in groups:
            for one in rows_of(command, f"{key}.", inner, choices):
                rows.setdefault(one.split("`")[1], one)
        if len(groups) > 1:  # choices of a group in a group
            names = Literal[tuple(choice for inner in groups for choice in _choices(inner))]  # type: ignore[valid-type]
            rows[f"{key}.name"] = row(command, f"{key}.name", names)
        if not any(inner.model_fields for inner in groups):
            rows[key] = row(command, key, info.annotation, info.metadata, choices)
    return list(rows.values())


def row(command: str, key: str, annotation: Any, metadata: Any = (), choices: tuple[str, ...] = ()) -> str:
    cells = (
        f"`{key}`",
        type_of(annotation, *metadata),
        default(command, key, choices),
        explained(command, key, choices),
    )
    return f"| {' | '.join(cells)} |"


def type_of(annotation: Any, *metadata: Any) -> str:
    """A type in words: "whole number ≥ 1, or null"."""
    for one in metadata:
        if isinstance(one, BeforeValidator):
            return range_of(one.func) if isinstance(one.func, Range) else KINDS.get(one.func, "value")
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated:
        return type_of(*parts)
    if origin is Literal:
        return ", ".join(f"`{'null' if part is None else part}`" for part in parts)
    if origin in (Union, UnionType):
        nullable = type(None) in parts
        kinds_ = dict.fromkeys(type_of(part) for part in parts if part is not type(None))
        return ", or ".join(kinds_) + ", or null" * nullable
    if origin is list:
        return f"list of {type_of(parts[0])}"
    if origin is dict:
        return f"{{name: {type_of(parts[1])}}}"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "no keys"
    return "value" if annotation is Any else str(getattr(annotation, "__name__", annotation))


def range_of(numbers: Range) -> str:
    kind = "whole number" if numbers.whole else "number"
    low = "" if numbers.least == -float("inf") else f" {'>' if numbers.above else '≥'} {numbers.least:g}"
    high = "" if numbers.most == float("inf") else f" {'<' if numbers.below else '≤'} {numbers.most:,.15g}"
    return kind + ",".join(part for part in (low, high) if part) + "".join(f", or {word}" for word in numbers.words)


def default(command: str, key: str, choices: tuple[str, ...] = ()) -> str:
    """The default as it is in conf/; of an option of a model that presets leave out, that of the model."""
    for config in composed(command, key.partition(".")[0], choices):
        there, value = _selected(config, key)
        if there:
            return _shown(value)
    part, _, option = key.removeprefix("model.").partition(".")
    if key.startswith("model.") and part in MODELS:
        model = STTransformer if option.startswith("transformer.") else MODELS[part]
        signature = inspect.signature(model).parameters
        option = option.removeprefix("transformer.")
        if option in signature and signature[option].default is not inspect.Parameter.empty:
            return _shown(signature[option].default)
    return ""


def composed(command: str, group: str, choices: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Configurations that may hold a key of a group: of the defaults, of the choice, and of each choice of data."""
    stage = [f"stage={group}"] if group in ON_STAGE and "stage" in COMMANDS[command].model_fields else []
    options = [choice for choice in choices[:1] if choice in group_options(group)]
    yield _plain(command, (*stage, *(f"{group}={choice}" for choice in options)))
    for choice in OTHERS.get(group, ()):
        yield _plain(command, (f"{group}={choice}",))


@cache
def _plain(command: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    return OmegaConf.to_container(compose(command, spelled(list(overrides), command)), resolve=False)


def _selected(config: Any, key: str) -> tuple[bool, Any]:
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False, None
        config = config[part]
    return True, config


def _shown(value: Any) -> str:
    if value == "???":
        return "*to be given*"
    text = _text(value)
    text = REFERENCE.sub("‹stage›", text)
    if found := SELECTED.fullmatch(text):
        return f"`{found[2]}`, or `{found[1]}`"
    text = OTHER.sub(r"‹\1›", SELECTED.sub(r"\2", text))
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    return f"`{text}`" if text else "empty"


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_text(one)}' for name, one in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def explained(command: str, key: str, choices: tuple[str, ...] = ()) -> str:
    """The comment of a key: from conf/, of a model's options from its docstring, of a recipe's keys from the key that
    takes its value."""
    group, _, rest = key.partition(".")
    if group == "model" and "." in rest:
        part, _, option = rest.partition(".")
        name = option.removeprefix("transformer.")
        text = _argument(MODELS[part] if name == option else STTransformer, name)
    elif group == "recipe" or rest.startswith("recipe."):
        taker = _taker(rest if group == "recipe" else f"{group}.{rest.removeprefix('recipe.')}")
        text = f"`{taker}` takes it" if taker else ""
    else:
        text = comment(key, command, choices[0] if choices else None)
    return _linked(text or SAID.get(key, ""))


def _argument(model: type, name: str) -> str:
    """What the docstring of a class says of an argument: itself, or by "see `Other`", or in the text of another."""
    found = _arguments(model)
    text = found.get(name) or next((text for text in found.values() if f"`{name}`" in text), "")
    if other := re.match(r"see `(\w+)`(.*)", text):
        return _argument(EXPLAINING[other[1]], name) + other[2]
    return text.removesuffix(".")


@cache
def _arguments(model: type) -> dict[str, str]:
    """{argument: what the docstring of a class says of it}, `name, other: text` being of both."""
    found = {}
    for block in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", inspect.getdoc(model) or "", re.MULTILINE):
        found |= {name.strip(): " ".join(block[1].split()) for name in block[0].split(",")}
    return found


@cache
def _taker(rest: str) -> str:
    """The key whose value is recipe.<rest> where the preset gives one."""
    stage, _, name = rest.partition(".")
    reference = re.compile(rf"recipe\.(?:{stage}|\$\{{(?:oc\.select:)?stage\.name(?:,none)?\}})\.{name}\b")
    for group in ("trainer", "data", "optimizer", "schedule", "stage", "simulator"):
        for path in sorted((CONF / group).glob("*.yaml")):
            for line in path.read_text().splitlines():
                if (key := re.match(r"\s*(\w+):", line)) and reference.search(line):
                    return f"{group}.{key[1]}"
    return ""


def _linked(text: str) -> str:
    """A comment for a cell: links to pages, no marks that Markdown or a table would take for its own."""
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text)


def _groups(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [group for part in get_args(annotation) for group in _groups(part)]
    return []


def _choices(settings: type[Settings]) -> tuple[str, ...]:
    """The names of the choices of a group whose keys these are."""
    info = settings.model_fields.get("name") or settings.model_fields.get("kind")
    return get_args(info.annotation) if info is not None and get_origin(info.annotation) is Literal else ()


if __name__ == "__main__":
    print(reference())
