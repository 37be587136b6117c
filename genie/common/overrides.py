"""Override syntax: what people type, quoted for Hydra's parser.

Overrides as people type them, in the spelling that Hydra reads.

For Hydra a value is a word of its own language: it cannot read 日本, #, ( or =, `a,b` is a sweep and 1e3 a number. A
path, a name or a text is meant as it is typed, so it is quoted here, before Hydra sees it. What is quoted already,
null, `${...}` and Hydra's functions stay as they are.
"""

import os
import re
from contextlib import nullcontext
from functools import cache
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genie.common.config_errors import OPTIONAL_KEYS, group_options

# Keys whose value is a path, a name or a text: 123, 1e3 and true are texts there, and so is a,b but in a sweep. With
# the command, where another one has something else of that name.
TEXTS = """
    name output_dir run_dir tokenizer_ckpt lam_ckpt stage.world reward.ratings
    data.name data.root data.quality data.minari.key data.stream.cache data.recorder.env.id env.id
    run output checkpoint data_root expert head json curate:labels ratings replay videos planning.played resnet
    act.policy act.name prompt text_model text_to_image.model
    title project entity logger.project logger.entity logger.group logger.job_type
    ablation.name ablation.title model.name hydra.sweep.dir
"""
TEXT_KEYS = frozenset(TEXTS.split())
LISTS = ("run",)  # which some commands take several of: [a,b] is a list
# Other names of keys, by command: the names that other commands have for the same, and former ones. Those of groups are
# names of keys here: Hydra would take them for choices.
NAMES = {
    "act": {"policy": "act.policy", "env": "env.id"},
    "generate": {"prompt.": "prompt_"},
    "label_curve": {"policy": "act.policy", "checkpoint": "act.policy"},
    "play": {"prompt.": "prompt_"},
}
OPEN_KEYS = ("data.recorder.env.kwargs.", "data.recorder.env.options.")  # the environment's own are below: any key
OVERRIDE = re.compile(r"(\+{0,2})([^\s=~+'\"-][^\s='\"]*)=(.*)", re.DOTALL)
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool|json_str|extend_list)\(.*\)")
ESCAPED = re.compile(r"\\[,()\[\]{}:=]")  # as Hydra documents it


def spelled(words: list[str], config_name: str, sweep: bool | None = False) -> list[str]:
    """Overrides of the command `config_name` as Hydra reads them; what are none stay as they are.

    `sweep`: whether values may be lists of several, a,b; None: as the words themselves say, where they are those of a
    command line.
    """
    named = [renamed(word, config_name) for word in words]
    found = [(word, OVERRIDE.fullmatch(word)) for word in named]
    if sweep is None and any(match and len(split(match[3])) > 1 for _, match in found):
        sweep = is_sweep(named, config_name)
    spelled_words = []
    for word, match in found:
        if match:
            sign, key, value = match.groups()
            group, _, name = key.rpartition(".")
            sign = sign or "++" * (name in OPTIONAL_KEYS.get(group, ""))
            text = key in TEXT_KEYS or f"{config_name}:{key}" in TEXT_KEYS
            word = f"{sign}{key}={_value(value, text, key in LISTS, bool(sweep))}"
        spelled_words.append(word)
    return spelled_words


def renamed(word: str, config_name: str) -> str:
    """A word with the key that its name stands for (`NAMES`); it may be a new one below `OPEN_KEYS`."""
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
    """`key` with a text that a program has, whatever is in it: null, quotes and `${` are letters here."""
    text = str(text).replace("${", "\\${")
    return f"{key}={text if parsed(text) == text else quoted(text)}"


def composed(config_name: str, overrides: list[str]) -> DictConfig:
    """The configuration of another command with overrides as people type them, within one that Hydra has started."""
    return compose(config_name, spelled(overrides, config_name))


def unquoted(value: str) -> str:
    """What `quoted` was given; any other value as it is."""
    inner = parsed(value) if value[:1] in ("'", '"') else None
    return inner if isinstance(inner, str) else value


def parsed(value: str) -> Any:
    """The value that Hydra reads, a sweep as Hydra's object, None where it cannot read it (and for null)."""
    try:
        return _parser().parse_override(f"key={value}").value()
    except HydraException:
        return None


def split(value: str) -> list[str]:
    """The parts between commas, but not those within quotes or brackets; one part where these are not closed."""
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
    """Whether these words of a command line start several jobs: by -m, or by a choice that does (a search)."""
    if any(len(word) > 2 and "--multirun".startswith(word) or word == "-m" for word in words):
        return True
    keys = {word: match[2] for word in words if (match := OVERRIDE.fullmatch(word))}
    chosen = [word for word, key in keys.items() if group_options(key) or key == "hydra.mode"]
    started = GlobalHydra.instance().is_initialized()
    try:
        with nullcontext() if started else initialize_config_module("conf", version_base="1.3"):
            return compose(config_name, chosen, return_hydra_config=True).hydra.mode == RunMode.MULTIRUN
    except (HydraException, OmegaConfBaseException, ValueError):  # which is said when the command is composed
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
    """[a,b] or {a: b} with the elements quoted that need it, with `text` all that are none; None for anything else."""
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
