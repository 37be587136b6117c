"""The configuration of a command, held against its schema (`commands`): once, before any work, in one line.

`check_settings` finds every value of an invalid type or range, whether an override, a preset or an experiment gave it.
Relations between keys, and between keys and data, are checked by what uses them.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from genie.common.errors import UserError
from genie.common.settings.commands import COMMANDS
from genie.common.settings.kinds import TEXTS, WORDS, Range, Settings, unprintable
from genie.common.settings.training import TrainConfig

OTHER = Range(whole=False)  # of a number that no field names: finite
UNRESOLVED = ("missing", "union_tag_not_found")  # errors of keys that only the command can resolve, or does not need
NUMBER = re.compile(r"-?\d+(\.\d*)?")
Group = TypeVar("Group", bound=Settings)


def check_settings(cfg: DictConfig, config_name: str) -> None:
    """Raises `UserError` for the first invalid value of the command's configuration.

    A whole number that was written as 1e5 becomes an int, a text that was written as 2026 a str. What cannot be
    resolved here, such as a missing key or a reference to one, is left to the command.
    """
    leaves = list(_leaves(cfg))
    values = _resolved(cfg)
    try:
        COMMANDS[config_name].model_validate(values)
    except ValidationError as error:
        lines = [_line(one["loc"], one, values) for one in error.errors() if one["type"] not in UNRESOLVED]
        referring = {key for node, name, key in leaves if OmegaConf.is_interpolation(node, name)}
        lines.sort(key=lambda line: line[0] in referring)  # where a value is given, then who refers to it
        if lines:
            raise UserError("".join(lines[0])) from None
    for node, name, key in leaves:
        kind, value = kind_of(config_name, key), node[name]
        if kind is None:
            if isinstance(value, float) and not OTHER.takes(value):
                raise UserError(f"{key}={value} must be a finite number")
        elif (isinstance(kind, Range) or kind in WORDS) and isinstance(value, int | float):
            with suppress(PydanticCustomError):  # a key that another choice of its group has
                meant = kind(value)
                if type(meant) is not type(value) and not OmegaConf.is_interpolation(node, name):
                    node[name] = meant


def typed(config_name: str, values: dict[str, Any]) -> Any:
    """The resolved configuration of a command as it takes it: of its class in `COMMANDS`. A training takes the plain
    keys, which are kept in its checkpoints and read from them by later versions. Raises `UserError`."""
    kind = COMMANDS[config_name]
    return values if issubclass(kind, TrainConfig) else checked(kind, values)


def checked(kind: type[Group], values: dict[str, Any]) -> Group:
    """The settings of a class. Raises `UserError` for the first value that is missing or invalid."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            group, _ = _line(first["loc"][:-1], first, values)
            raise UserError(f"{group}{'.' * bool(group)}{first['loc'][-1]} is not given") from None
        raise UserError("".join(_line(first["loc"], first, values))) from None


def kind_of(config_name: str, key: str) -> Callable[[Any], Any] | None:
    """The kind of a key's field, of a list that of its elements. Where choices of a group have a key of the same name,
    that of one of them."""
    return _kinds(config_name).get(key)


def is_text(config_name: str, key: str) -> bool:
    """Whether a key is a path, a name or a text: what is typed is taken literally there, 123, 1e3 and true as well."""
    return kind_of(config_name, key) in TEXTS or key == "hydra.sweep.dir"


def is_list(config_name: str, key: str) -> bool:
    """Whether a key takes a list, or one value or a list."""
    if key not in (known := fields(config_name)):
        return False
    settings, field = known[key]
    return _has_list(settings.model_fields[field].annotation)


def _has_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_has_list, get_args(annotation)))


@cache
def optional_keys(config_name: str) -> dict[str, tuple[str, ...]]:
    """{group of keys: those of its keys that the configuration may leave out and that may be given all the same}."""
    found: dict[str, list[str]] = {}
    for key, (settings, field) in fields(config_name).items():
        group, _, name = key.rpartition(".")
        if group and not settings.model_fields[field].is_required():
            found.setdefault(group, []).append(name)
    return {group: tuple(keys) for group, keys in found.items()}


@cache
def _kinds(config_name: str) -> dict[str, Callable[[Any], Any]]:
    kinds = {}
    for key, (settings, field) in fields(config_name).items():
        info = settings.model_fields[field]
        found = list(_validators(info.annotation, *info.metadata))
        if found:
            kinds[key] = next((kind for kind in found if isinstance(kind, Range)), found[0])
    return kinds


@cache
def fields(config_name: str) -> dict[str, tuple[type[Settings], str]]:
    """{key: (its group of settings, its field there)}, groups of keys among them."""
    return dict(_walk(COMMANDS[config_name], ""))


def _walk(settings: type[Settings], prefix: str) -> Iterator[tuple[str, tuple[type[Settings], str]]]:
    for field, info in settings.model_fields.items():
        key = f"{prefix}{info.alias or field}"
        yield key, (settings, field)
        for inner in _groups(info.annotation):
            yield from _walk(inner, f"{key}.")


def _groups(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _groups(part)


def _validators(annotation: Any, *metadata: Any) -> Iterator[Callable[[Any], Any]]:
    yield from (one.func for one in metadata if isinstance(one, BeforeValidator))
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        yield from _validators(*parts)
    else:
        for part in parts:
            yield from _validators(part)


def _line(location: tuple[int | str, ...], error: Any, values: Any) -> tuple[str, str]:
    """(key, "=value" and what it must be)"""
    keys, node, each = [], values, ""
    for part in location:  # the parts that are no keys name a type
        if isinstance(node, list) and isinstance(part, int):
            each = ": each"
            break
        if isinstance(node, dict) and part in node:
            keys.append(str(part))
            node = node[part]
    if error["type"] == "union_tag_invalid":
        keys.append(error["ctx"]["discriminator"].strip("'"))
        node = node[keys[-1]]
    return ".".join(keys), f"={_shown(node)}{each} {_problem(error)}"


def _problem(error: Any) -> str:
    match error["type"]:
        case "kind":
            return error["msg"]
        case "list_type":
            return "must be a list in brackets, as in [a,b]"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be keys and values in braces, as in {a: 1}"
        case "literal_error" | "union_tag_invalid":
            choices = error["ctx"].get("expected") or error["ctx"]["expected_tags"]
            return f"must be one of {choices.replace(chr(39), '').replace(' or ', ', ').replace('None', 'null')}"
        case "too_short":
            least = error["ctx"]["min_length"]
            return "must not be empty" if least == 1 else f"must have at least {least} values"
        case _:
            return f"is invalid: {error['msg']}"


def _resolved(node: Any) -> Any:
    """Plain containers with every value that can be resolved here."""
    if isinstance(node, ListConfig):
        return [_value(node, index)[1] for index in range(len(node))]
    return {str(name): value for name in node if name != "hydra" for there, value in [_value(node, name)] if there}


def _value(node: DictConfig | ListConfig, name: str | int) -> tuple[bool, Any]:
    try:
        if OmegaConf.is_missing(node, name):
            return False, None
        value = node[name]
        if isinstance(value, ListConfig):
            list(value)  # all of its elements, or none
    except OmegaConfBaseException:
        return False, None
    return True, _resolved(value) if OmegaConf.is_config(value) else value


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[DictConfig | ListConfig, str | int, str]]:
    """(container, key or index in it, dotted key) of every value that can be resolved here."""
    for name in node if isinstance(node, DictConfig) else range(len(node)):
        key = prefix if isinstance(node, ListConfig) else f"{prefix}.{name}" if prefix else str(name)
        there, value = (False, None) if key == "hydra" else _value(node, name)
        if there and OmegaConf.is_config(child := node[name]):
            yield from _leaves(child, key)
        elif there:
            yield node, name, key


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        text = f"[{','.join(_shown(one) for one in value)}]"
    else:
        odd = isinstance(value, str) and (unprintable(value) or value != value.strip() or NUMBER.fullmatch(value))
        text = repr(value) if odd else str(value)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-10:]}"
