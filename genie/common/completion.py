"""Completion of the command line of `genie`: candidates for the word being typed, and the scripts that ask for them.

A command's keys are those of its configuration as composed with the words before, so groups that a choice adds are
among them. torch is not imported: a candidate takes some 0.3 seconds.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, Literal, get_args, get_origin

from genie.common.program import COMMANDS

OTHER = {"completion": ("bash", "zsh")}  # commands whose words are no overrides

# Each candidate is the whole word, and ends with a space where nothing can follow. Readline replaces only what comes
# after the last = of a word; without candidates both shells complete names of files.
SCRIPTS = {
    "bash": r"""_genie() {
    local IFS=$'\n' line="${COMP_LINE:0:COMP_POINT}" typed=""
    local word="${line##*[[:space:]]}"
    COMPREPLY=($("${COMP_WORDS[0]/#\~/$HOME}" completion query "$line" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt +o nospace 2>/dev/null
    elif [[ $COMP_WORDBREAKS == *=* ]]; then
        typed="${word%"${word##*=}"}"
        COMPREPLY=("${COMPREPLY[@]#"$typed"}")
    fi
}
complete -o nospace -o default -F _genie genie
""",
    "zsh": r"""#compdef genie
_genie() {
    local -a found
    found=("${(@f)$("${words[1]/#\~/$HOME}" completion query "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    found=(${found:#})
    if (( ! $#found )); then
        compset -P '*='
        _files
        return
    fi
    compadd -- ${${(M)found:#* }% }
    compadd -S '' -- ${found:#* }
    return 0
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _genie genie
""",
}


def complete(line: str) -> list[str]:
    """Candidates for the last word of a line that begins with `genie`, sorted; none for a word with quotes."""
    try:
        words = shlex.split(line)
    except ValueError:  # open quotes
        return []
    if not words or line[-1:].isspace():
        words.append("")
    if not line.endswith(words[-1]):
        return []
    command, *given = words[1:]
    word = given.pop() if given else command
    if len(words) == 2:
        found: Iterator[str] = (f"{name} " for name in COMMANDS)
    elif command in OTHER:
        found = (f"{name} " for name in OTHER[command] if not given)
    elif command.replace("-", "_") in COMMANDS:
        found = candidates(command.replace("-", "_"), given, word)
    else:
        found = iter(())
    return sorted({candidate for candidate in found if candidate.startswith(word) and candidate != word})


def candidates(command: str, given: Sequence[str], word: str) -> Iterator[str]:
    """Candidates for `word` after the words `given`, whether they begin with it or not."""
    from hydra import initialize_config_module
    from hydra._internal.utils import get_args_parser

    flags = {option: action for action in get_args_parser()._actions for option in action.option_strings}
    asked = flags.get(given[-1]) if given else None
    if asked is not None and asked.choices:  # --cfg job
        yield from (f"{choice} " for choice in asked.choices)
    elif word.startswith("-"):
        yield from (f"{flag} " for flag in flags if flag.startswith("--"))
    else:
        sign = re.match(r"\+{0,2}|~", word)[0]
        key, equals, value = word.removeprefix(sign).partition("=")
        with initialize_config_module("conf", version_base="1.3"):
            if equals:
                listed = value.rpartition(",")[0]  # with -m: the values before
                before = f"{sign}{key}={listed}{',' * bool(listed)}"
                yield from (f"{before}{choice} " for choice in values(command, given, key, bool(value)))
            else:
                yield from (f"{sign}{name}" for name in keys(command, given, key.rpartition(".")[0]))


def keys(command: str, given: Sequence[str], parent: str) -> Iterator[str]:
    """The keys below `parent`, those of groups of keys with a dot at the end, all others with `=`; at the top also the
    groups of choices."""
    from omegaconf import DictConfig

    from genie.common.config_errors import STAGE_GROUPS, config_groups
    from genie.common.overrides import NAMES, select
    from genie.common.settings.schema import optional_keys

    config, optional, before = configuration(command, given), optional_keys(command), f"{parent}." if parent else ""
    if not parent:
        groups = config_groups(command)
        for group in [*groups, *(STAGE_GROUPS if "stage" in groups else ())]:
            yield f"{group}="
            yield from (f"{group}/{folder.name}=" for folder in _entries(group) if folder.is_dir())
        yield from (f"{name}=" for name in NAMES.get(command, {}) if not name.endswith("."))
    node = select(config, parent) if parent else config
    names = {*(node if isinstance(node, DictConfig) else ()), *optional.get(parent, ())} - {"hydra"}
    for key in (f"{before}{name}" for name in names):
        yield f"{key}." if isinstance(select(config, key), DictConfig) or key in optional else f"{key}="


def values(command: str, given: Sequence[str], key: str, begun: bool) -> Iterator[str]:
    """The values that a key or group takes, where they can be listed; before anything is typed, the present number."""
    from genie.common.config_errors import group_options
    from genie.common.overrides import renamed, select
    from genie.common.settings.schema import fields

    key = renamed(f"{key}=", command).removesuffix("=")
    yield from group_options(key)
    if key in ("run", "act.policy"):
        yield from runs()
    if key in (known := fields(command)):
        settings, field = known[key]
        listed = list(_listed(settings.model_fields[field].annotation, settings.model_fields[field].metadata))
        yield from listed
        if not (listed or begun) and isinstance(now := select(configuration(command, given), key), int | float):
            yield str(now)


def runs() -> Iterator[str]:
    """Runs here, and worlds that come with the package."""
    from genie.common.run_folders import known_runs

    yield from (name for name in known_runs() if re.fullmatch(r"[\w./-]+", name))


def configuration(command: str, given: Sequence[str]) -> Any:
    """The configuration of a command with the overrides before; without them where it does not compose."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from genie.common.overrides import OVERRIDE, spelled, split

    matches = [match for word in given if (match := OVERRIDE.fullmatch(word))]
    words = [f"{sign}{key}={split(value)[0]}" for sign, key, value in (match.groups() for match in matches)]
    try:
        return compose(command, spelled(words, command))
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError):
        return compose(command)


def _listed(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[str]:
    """Values that a type names: those of Literal, true and false, words beside numbers; null beside any of them."""
    yield from (word for one in metadata for word in getattr(getattr(one, "func", None), "words", ()))
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from ("null" if value is None else str(value) for value in get_args(annotation))
    elif get_origin(annotation) is not list:
        for part in get_args(annotation):
            yield from _listed(part, getattr(annotation, "__metadata__", ()))


def _entries(group: str) -> Iterator[Any]:
    folder = files("conf").joinpath(group)
    return folder.iterdir() if folder.is_dir() else iter(())
