"""The sampler that a command asks for: the group `sampler` and its keys."""

from dataclasses import replace
from typing import Any

from genie.checks import require_number, require_whole
from genie.errors import UserError
from genie.world.sampler import Sampler

KEYS = ("steps", "temperature", "order", "entropy_bound")


def with_overrides(sampler: Sampler, config: dict[str, Any]) -> Sampler:
    """`sampler` (that of a run) with those of its settings that `config` gives (not None), or a new one of these
    where `new_sampler` is true.

    Raises UserError for a value that cannot be.
    """
    require_whole(config, "steps")
    require_number(config, "temperature", "entropy_bound")
    given = {name: config[name] for name in KEYS if config[name] is not None}
    try:
        return replace(Sampler() if config["new_sampler"] else sampler, **given)
    except ValueError as error:
        raise UserError(str(error)) from error
