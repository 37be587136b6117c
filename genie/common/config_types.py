"""Validation of overrides: value types that differ from the defaults, and numbers of single commands.

`check_overrides` finds overrides of the wrong type (`optimizer.lr=fast`, `resume=yes`) before any work, with one line
that names the key; ranges are in `config_values`.
"""

from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genie.common.config_errors import explain
from genie.common.config_values import NAMES, PLACES, check_values, select
from genie.common.errors import UserError
from genie.common.overrides import spelled, unquoted

SEVERAL = ("trainer.devices", "actions")  # one, or a list of them


def check_step(key: str, config_name: str, overrides: list[str]) -> None:
    """Raises `UserError` where `overrides` are wrong for the command `config_name` that a later step will run.

    `key`: of this command's configuration, under which they were given.
    """
    try:
        cfg = compose(config_name, spelled(overrides, config_name), return_hydra_config=True)
        check_overrides(cfg, cfg.hydra)
        check_values(cfg)
    except (HydraException, OmegaConfBaseException, UserError) as error:
        reason = error if isinstance(error, UserError) else explain(error, config_name)
        raise UserError(f"{key}: {reason}") from error


def check_overrides(cfg: DictConfig, hydra_config: DictConfig) -> None:
    """Raises `UserError` for the first override whose type differs from that of the value it replaces.

    Numbers may be "auto" (Lightning's word for the best choice), and anything may be null except names and places that
    the defaults give. No value may be empty: the shell turns key=$variable without the variable into `key=`.
    `hydra_config`: Hydra's own part of the configuration, which holds the overrides.
    """
    overrides = OverridesParser.create().parse_overrides(list(hydra_config.overrides.task))
    for override in overrides:
        if override.type.name in ("CHANGE", "ADD", "FORCE_ADD") and override.value() == "":
            raise UserError(f"{override.input_line} gives no value: was a variable of the shell not set?")
    choices = [override for override in overrides if override.key_or_group in hydra_config.runtime.choices]
    values = [override for override in overrides if override not in choices and not override.is_delete()]
    if not values:
        return
    defaults = compose(hydra_config.job.config_name, [override.input_line for override in choices])
    for override in values:
        key = override.key_or_group
        if key in (*NAMES, *PLACES) and override.value() is None and _is_given(defaults, key):
            raise UserError(f"{override.input_line}: {key} cannot be null")
        if key in NAMES and isinstance(override.value(), int | float):  # name=007 is no number
            OmegaConf.update(cfg, key, override.input_line.partition("=")[2])
        default, value = select(defaults, key), select(cfg, key)
        expected = None if key in SEVERAL and isinstance(value, ListConfig) else wrong_kind(default, value)
        if expected:
            given = unquoted(override.input_line.partition("=")[2])
            raise UserError(f"{key}={given}: {key} takes {expected}, as in {key}={_shown(defaults, key)}")


def unusual_overrides(hydra_config: DictConfig) -> list[str]:
    """The overrides that no check could validate and that may have caused a failure, each with its default: null or
    empty in place of a value, anything but a text where the default is null, a number beyond 2^53."""
    overrides = OverridesParser.create().parse_overrides(list(hydra_config.overrides.task))
    choices = [override for override in overrides if override.key_or_group in hydra_config.runtime.choices]
    defaults = compose(hydra_config.job.config_name, [one.input_line for one in choices if not one.is_delete()])
    found = []
    for override in overrides:
        value = None if override.is_delete() else override.value()
        default = select(defaults, override.key_or_group)
        if override.is_delete():
            found.append(f"{override.input_line}, which takes away a part of the configuration")
        elif value in (None, [], {}) and default not in (None, [], {}):
            shown = "" if override in choices else f" (default {_shown(defaults, override.key_or_group)})"
            found.append(f"{override.input_line}{shown}")
        elif default is None and not isinstance(value, str | None):
            found.append(f"{override.input_line} (default null)")
        elif isinstance(value, int | float) and abs(value) > 2**53:
            found.append(override.input_line)
    return found


def wrong_kind(default: Any, value: Any) -> str | None:
    """The expected type where `value` cannot replace `default`, None where it can."""
    if default is None or value is None:
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float):
        wrong = isinstance(value, bool | DictConfig | ListConfig) or (isinstance(value, str) and value != "auto")
        return "a number" if wrong else None
    if isinstance(default, ListConfig):
        return None if isinstance(value, ListConfig) else "a list"
    if isinstance(default, DictConfig):
        return None if isinstance(value, DictConfig) else "keys and values"
    several = isinstance(value, DictConfig | ListConfig) and default != "auto"  # token=auto, or [row,column]
    return "one word or text" if several else None


def _is_given(cfg: DictConfig, key: str) -> bool:
    """Whether a key has a value other than null, or must be given one."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name) or node[name] is not None


def _shown(cfg: DictConfig, key: str) -> str:
    value = select(cfg, key)
    if isinstance(value, bool):
        return str(value).lower()
    return str(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value).replace(" ", "")


LARGEST = 2**63 - 1  # what a tensor and an array hold


def require_whole(
    config: dict[str, Any], *names: str, least: int = 1, most: int = LARGEST, prefix: str = "", null: bool = True
) -> None:
    """Raises UserError where one of the keys is not a whole number in [least, most]; with `null` it may be None."""
    for name in names:
        value = config[name]
        if value is None and null:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{prefix}{name}={value} must be a whole number of at least {least}")
        if value > most:
            raise UserError(f"{prefix}{name}={value} must be at most {most}")


def require_number(config: dict[str, Any], *names: str, above: float | None = None, most: float | None = None) -> None:
    """Raises UserError where one of the keys is neither None nor a number in (above, most]."""
    for name in names:
        value = config[name]
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            raise UserError(f"{name}={value} must be a number")
        if above is not None and value <= above or most is not None and value > most:
            raise UserError(f"{name}={value} must be more than {above:g} and at most {most:g}")
