"""One-line messages for configuration errors, with the valid keys and choices."""

import difflib
import re
from importlib.resources import files
from typing import Any

import yaml
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from genie.common.settings.schema import is_list, optional_keys

STAGE_GROUPS = ("policy", "reward", "simulator")  # groups that the stage of that name adds, in conf/stage/


def group_options(group: str) -> list[str]:
    """Sorted names of the choices of a group in conf/ ("": the main configurations)."""
    folder = files("conf").joinpath(group) if group else files("conf")
    entries = folder.iterdir() if folder.is_dir() else []
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def config_groups(config_name: str) -> list[str]:
    """Groups in the defaults lists of a main configuration and of those it includes."""
    groups = []
    for entry in _main_config(config_name).get("defaults", []):
        if isinstance(entry, dict):
            group = str(next(iter(entry))).split()[-1].lstrip("/")
            groups += [] if group.startswith("hydra/") else [group]
        elif entry != "_self_":
            groups += config_groups(entry)
    return groups


def explain(error: Exception, config_name: str) -> str:
    """One line for the user about an error that Hydra or OmegaConf raised while composing `config_name`."""
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        key, equals, _ = error.override.partition("=")
        if equals and not re.fullmatch(r"[\w@/.:+~-]+", key, re.ASCII):
            return f"cannot read the override {error.override!r}: {key!r} is no key, which has letters, digits, _ and ."
        reason = one_line(error.message.split("See https://")[0])
        return f"cannot read the override {error.override!r} ({reason}); it must be key=value or group=choice"
    if isinstance(error, ConfigCompositionException) and "No match in the defaults list" in str(error):
        return _group_of_others(error, config_name)
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if several := re.match(r"Ambiguous value for argument '(.*)'$", str(error), re.MULTILINE):
        return _several_values(*several[1].split("=", 1), config_name)
    unknown = isinstance(cause, ConfigAttributeError | ConfigKeyError)
    if unknown and cause.full_key and isinstance(cause.parent_node, DictConfig):
        return _unknown_key(cause, config_name, re.search(r"Could not override '([^'@]*)'|$", str(error))[1])
    if isinstance(error, AssertionError):  # Hydra's, of +=x
        return "an override has no key: it must be key=value or group=choice"
    if isinstance(error, TypeError):  # Hydra's, of a list of choices with something else in it
        return f"a group takes the name of a choice, as in data=pong, or a list of them ({one_line(error)})"
    if isinstance(error, ValueError) and "group override" in str(error):  # Hydra's, of data=null
        return "a group takes the name of a choice, as in data=pong, and cannot be null: leave it out"
    if isinstance(error, ValueError) and "invalid literal for int()" in str(error):  # OmegaConf's, of list.name=1
        return f"an override names a key of a list, which has none: give all of it, as in key=[1,2] ({one_line(error)})"
    return explain_value(error) if isinstance(error, OmegaConfBaseException) else one_line(error)


def explain_value(error: OmegaConfBaseException) -> str:
    """One line about a value of the composed configuration that cannot be resolved."""
    if isinstance(error, MissingMandatoryValue):
        return f"'{error.full_key}' is not given: add {error.full_key}=..."
    if isinstance(error, InterpolationKeyError):
        reason = str(error).splitlines()[0]
        what = f"'{error.full_key}'" if error.full_key else "a value"  # unknown below another reference
        return f"{what} is taken from a key that is not there: {reason}"
    return one_line(error)


def one_line(error: Exception | str) -> str:
    """The message with every run of white space, line breaks included, as one space."""
    return " ".join(str(error).split())


def did_you_mean(word: str, options: list[str], prefix: str = "") -> str:
    """How a line about an unknown word ends: "; did you mean …?", or a full stop."""
    close = difflib.get_close_matches(word, options, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(prefix + option for option in close)}?" if close else "."


def _several_values(key: str, value: str, config_name: str) -> str:
    # Hydra's syntax of a sweep, in a command that is none
    sweep = "--multirun runs the command for each of them"
    if is_list(config_name, key):
        return f"{key}={value} is a list without brackets: write {key}=[{value}] ({sweep})"
    return f"{key}={value} gives several values for one: {sweep}; a text with commas needs quotes of its own"


def _group_of_others(error: ConfigCompositionException, config_name: str) -> str:
    # a group that only other commands have, as in `python -m genie.generate stage=lam`
    found = re.search(r"Could not (?:override|delete) '([^'@]*)", str(error))
    if found is None:
        return one_line(error)
    group = found[1]
    names = sorted({*config_groups(config_name), *_own_keys(config_name)})
    trace = "; GENIE_TRACE=1 gives full tracebacks" if group == "debug" else ""
    return f"there is no key or group '{group}'{trace}{did_you_mean(group, names)} There is: {', '.join(names)}"


def _own_keys(config_name: str) -> list[str]:
    """The keys of a main configuration and of those it includes that are not groups."""
    content = _main_config(config_name)
    included = [name for name in content.get("defaults", []) if isinstance(name, str) and name != "_self_"]
    keys = [key for key in content if key not in ("defaults", "hydra")]
    return keys + [key for name in included for key in _own_keys(name)]


def _main_config(name: str) -> dict[str, Any]:
    return yaml.safe_load(files("conf").joinpath(f"{name}.yaml").read_text())


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    options = list(error.options or group_options(group))
    hint = did_you_mean(choice, options)
    if not group:
        return f"there is no configuration {choice}{hint} There is: {', '.join(options)}"
    return f"there is no {group}={choice}{hint} There is: {', '.join(options)}"


def _unknown_key(error: OmegaConfBaseException, config_name: str, given: str | None) -> str:
    # `given`: the whole key of the override; the error may contain only the part of it that exists
    optional = optional_keys(config_name)
    full_key = given if given and given.rpartition(".")[0] in optional else error.full_key
    parent, _, key = full_key.rpartition(".")
    there = error.parent_node if full_key == error.full_key else ()
    below = {group.rpartition(".")[2] for group in optional if group.rpartition(".")[0] == parent}
    keys = sorted({*(str(name) for name in there if name != "hydra"), *optional.get(parent, ()), *below})
    if parent and not keys:
        return (
            f"there is no key '{full_key}': {parent} is a value, not a group of keys, or has none so far: "
            f"+{full_key}=... adds one"
        )
    if parent in config_groups(config_name) and key in group_options(parent):
        several = f", or several, {parent}=[{','.join([*map(str, there), key])}]" if parent == "logger" else ""
        return f"'{given or full_key}': {key} is not chosen: give {parent}={key}{several}"
    if parent:
        hint = did_you_mean(key, keys, f"{parent}.")
        new = f"(+{full_key}=... adds one)"
        return f"there is no key '{full_key}'{hint} Keys of {parent}: {', '.join(keys)} {new}"
    groups = config_groups(config_name)
    if key in groups:
        return f"'{key}' is a group of which nothing is chosen: add {key}={'|'.join(group_options(key))}"
    if key in STAGE_GROUPS and "stage" in groups:
        return (
            f"there is no key or group '{key}' here: stage={key} brings it, with {key}={'|'.join(group_options(key))}"
        )
    names = sorted({*keys, *groups})
    root = error.parent_node  # `lr=1e-3` was meant as `optimizer.lr=1e-3`
    meant = [f"{name}.{key}" for name in root if name != "hydra" and _has(root, name, key)]
    hint = f"; did you mean {' or '.join(meant)}?" if meant else did_you_mean(key, names)
    new = f"(+{key}=... adds one, to which others may refer as ${{{key}}})"
    return f"there is no key or group '{key}'{hint} There is: {', '.join(names)} {new}"


def _has(root: DictConfig, name: str, key: str) -> bool:
    if OmegaConf.is_interpolation(root, name) or OmegaConf.is_missing(root, name):
        return False
    return isinstance(root[name], DictConfig) and key in list(root[name])
