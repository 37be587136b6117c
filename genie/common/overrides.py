"""Override syntax: command-line values quoted for Hydra's parser.

Hydra's parser cannot read 日本, #, ( or = in a value; `a,b` is a sweep and 1e3 a number. Paths, names and texts are
literal, so they are quoted before Hydra parses them. Quoted values, null, `${...}` and Hydra's functions are unchanged.
"""

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genie.common.config_errors import explain, group_options
from genie.common.errors import UserError
from genie.common.settings.schema import check_settings, is_text, optional_keys
from genie.common.settings.training import WandbLogger

# Aliases of keys by command: the names in other commands, and former names. Names of groups are keys here: Hydra would
# read them as choices.
LOGGER = {f"logger.{key}": f"logger.wandb.{key}" for key in WandbLogger.model_fields}
NAMES = {
    **dict.fromkeys(("train", "pipeline", "ablate", "agent"), LOGGER),
    "act": {"policy": "act.policy", "env": "env.id"},
    "export": {"hub": "hub.repo"},
    "generate": {"prompt.": "prompt_"},
    "label_curve": {"policy": "act.policy", "checkpoint": "act.policy"},
    "play": {"prompt.": "prompt_"},
}
OPEN_KEYS = ("data.recorder.env.kwargs.", "data.recorder.env.options.")  # take any key of the environment below them
OVERRIDE = re.compile(r"(\+{0,2})([^\s=~+'\"-][^\s='\"]*)=(.*)", re.DOTALL)
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool|json_str|extend_list)\(.*\)")
ESCAPED = re.compile(r"\\[,()\[\]{}:=]")  # as Hydra documents it


def spelled(words: Sequence[str], config_name: str, sweep: bool | None = False) -> list[str]:
    """Overrides of the command `config_name` in Hydra's syntax; other words stay as they are.

    `sweep`: whether values may be alternatives, a,b; None: detected from `words`, a whole command line.
    """
    named = [renamed(word, config_name) for word in words]
    found = [(word, OVERRIDE.fullmatch(word)) for word in named]
    if sweep is None and any(match and len(split(match[3])) > 1 for _, match in found):
        sweep = is_sweep(named, config_name)
    optional, spelled_words = optional_keys(config_name), []
    for word, match in found:
        if match:
            sign, key, value = match.groups()
            group, _, name = key.rpartition(".")
            sign = sign or "++" * (name in optional.get(group, ""))
            several = key == "run"  # some commands take several runs: [a,b] is a list
            word = f"{sign}{key}={_value(value, is_text(config_name, key), several, bool(sweep))}"
        spelled_words.append(word)
    return spelled_words


def check_step(key: str, config_name: str, overrides: list[str]) -> DictConfig:
    """The configuration of the command `config_name` that a later step will run. Raises `UserError` where `overrides`
    are wrong for it.

    `key`: of this command's configuration, under which they were given.
    """
    try:
        check_given(spelled(overrides, config_name))
        return composed(config_name, overrides)
    except (HydraException, OmegaConfBaseException, UserError) as error:
        why = error if isinstance(error, UserError) else explain(error, config_name)
        raise UserError(f"{key}: {why}") from error


def check_given(overrides: Sequence[str]) -> None:
    """Raises `UserError` for an override without a value: `key=$variable` where the shell has no such variable."""
    for given in _parser().parse_overrides(list(overrides)):
        if given.type.name in ("CHANGE", "ADD", "FORCE_ADD") and given.value() == "":
            raise UserError(f"{given.input_line} gives no value: was a variable of the shell not set?")


def unusual_overrides(hydra_config: DictConfig) -> list[str]:
    """The overrides that no schema could validate and that may have caused a failure, each with its default: null or
    empty in place of a value, anything but a text where the default is null, a number beyond 2^53."""
    overrides = _parser().parse_overrides(list(hydra_config.overrides.task))
    choices = [given for given in overrides if given.key_or_group in hydra_config.runtime.choices]
    defaults = compose(hydra_config.job.config_name, [one.input_line for one in choices if not one.is_delete()])
    found = []
    for given in overrides:
        value = None if given.is_delete() else given.value()
        default = select(defaults, given.key_or_group)
        if given.is_delete():
            found.append(f"{given.input_line}, which takes away a part of the configuration")
        elif value in (None, [], {}) and default not in (None, [], {}):
            found.append(given.input_line if given in choices else f"{given.input_line} (default {default})")
        elif default is None and not isinstance(value, str | None):
            found.append(f"{given.input_line} (default null)")
        elif isinstance(value, int | float) and abs(value) > 2**53:
            found.append(given.input_line)
    return found


def select(cfg: DictConfig, key: str) -> Any:
    """The value of a key; None where it is a reference that only another command can resolve."""
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None


def renamed(word: str, config_name: str) -> str:
    """A word with an alias (`NAMES`) replaced by its key, and `++` before a key below `OPEN_KEYS`."""
    for name, key in NAMES.get(config_name, {}).items():
        if name.endswith("."):
            word = re.sub(rf"^{re.escape(name)}(\w+=)", rf"{key}\1", word)
        else:
            word = re.sub(rf"^{name}=", f"{key}=", word)
    return f"++{word}" if word.startswith(OPEN_KEYS) else word


def quoted(text: str) -> str:
    """A text in Hydra's quotes."""
    try:
        OmegaConf.create({"text": text})
    except OmegaConfBaseException:  # ${ that is no reference
        text = text.replace("${", "\\${")
    return "'" + re.sub(r"(\\*)('|\Z)", lambda end: 2 * end[1] + ("\\'" if end[2] else ""), text) + "'"


def override(key: str, text: Any) -> str:
    """`key=` a text from a program, taken literally: null, quotes and `${` have no meaning in it."""
    text = str(text).replace("${", "\\${")
    return f"{key}={text if parsed(text) == text else quoted(text)}"


def composed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of another command with overrides as typed on its command line, checked; needs an initialized
    Hydra."""
    cfg = compose(config_name, spelled(overrides, config_name))
    check_settings(cfg, config_name)
    return cfg


def given_overrides() -> list[str]:
    """The overrides of the running command, with `hydra.searchpath=` for its subprocesses."""
    given = HydraConfig.get().overrides
    return [*given.task, *(word for word in given.hydra if word.startswith("hydra.searchpath="))]


def unquoted(value: str) -> str:
    """The inverse of `quoted`; any other value as it is."""
    inner = parsed(value) if value[:1] in ("'", '"') else None
    return inner if isinstance(inner, str) else value


def parsed(value: str) -> Any:
    """The value that Hydra parses, a sweep as Hydra's object, None where it cannot parse it (and for null)."""
    try:
        return _parser().parse_override(f"key={value}").value()
    except HydraException:
        return None


def split(value: str) -> list[str]:
    """The parts between commas outside quotes and brackets; one part where these are not closed."""
    parts, depth, quote, before = [""], 0, None, ""
    for letter in value:
        if quote:
            quote = None if letter == quote and before != "\\" else quote
        elif letter in "'\"" and not parts[-1].strip():  # elsewhere it is a letter: it's
            quote = letter
        depth += 0 if quote else (letter in "([{") - (letter in ")]}")
        if letter == "," and not quote and depth == 0 and before != "\\":
            parts.append("")
        else:
            parts[-1] += letter
        before = letter
    return [value] if quote or depth else parts


def is_sweep(words: list[str], config_name: str) -> bool:
    """Whether the words of a command line start several jobs: by -m, or by a choice that sets the mode (a search)."""
    if any(len(word) > 2 and "--multirun".startswith(word) or word == "-m" for word in words):
        return True
    keys = {word: match[2] for word in words if (match := OVERRIDE.fullmatch(word))}
    chosen = [word for word, key in keys.items() if group_options(key) or key == "hydra.mode"]
    started = GlobalHydra.instance().is_initialized()
    try:
        with nullcontext() if started else initialize_config_module("conf", version_base="1.3"):
            return compose(config_name, chosen, return_hydra_config=True).hydra.mode == RunMode.MULTIRUN
    except (HydraException, OmegaConfBaseException, ValueError):  # reported when the command is composed
        return False


def _value(value: str, text: bool, several: bool, sweep: bool) -> str:
    stripped = value.strip()
    if not stripped or stripped.lower() == "null" or FUNCTION.fullmatch(stripped):
        return value
    read = parsed(value)
    if stripped[0] in "'\"" and read is not None:
        return value
    parts = split(value) if sweep else [value]
    if len(parts) > 1:
        return ",".join(_value(part.strip(), text, several, False) for part in parts)
    if not text:
        return value if read is not None else _collection(stripped, text=False) or quoted(value)
    if several and (collection := _collection(stripped, text=True)):
        return collection
    if value.startswith("~/"):  # the home folder, which some shells leave to the command
        return _value(os.path.expanduser(value), text, several, sweep)
    return value if read == value or isinstance(read, str) and ESCAPED.search(value) else quoted(value)


def _collection(value: str, text: bool) -> str | None:
    """[a,b] or {a: b} with quotes around elements that need them, with `text` around all; None for anything else."""
    if value[:1] + value[-1:] not in ("[]", "{}"):
        return None
    elements = []
    for element in split(value[1:-1]):
        name, colon, rest = element.partition(":") if value[0] == "{" else ("", "", element)
        elements.append(name + colon + _element(rest, text))  # Hydra has no quotes for names
    whole = f"{value[0]}{','.join(elements)}{value[-1]}"
    return whole if parsed(whole) is not None else None


def _element(element: str, text: bool) -> str:
    stripped = element.strip()
    if not stripped or stripped[0] in "'\"":
        return element
    read = parsed(stripped)
    if read is None and stripped.lower() != "null":
        return _collection(stripped, text) or quoted(stripped)
    return quoted(stripped) if text and not isinstance(read, str) else element


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
