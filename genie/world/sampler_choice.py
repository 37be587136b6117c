"""Sampler of a command: the config group `sampler` and its keys."""

from dataclasses import replace
from importlib.resources import files
from typing import Any

import yaml

from genie.common.config_errors import group_options
from genie.common.errors import UserError
from genie.common.settings.world import Sampled
from genie.world.sampler import Sampler

KEYS = ("steps", "temperature", "order", "entropy_bound")


def with_overrides(sampler: Sampler, config: Sampled) -> Sampler:
    """`sampler` (of a run), or with `new_sampler` a default one, with the settings of `config` that are not None.
    Raises UserError for an invalid value."""
    given = {name: value for name in KEYS if (value := getattr(config, name)) is not None}
    return Samplers.changed(Sampler() if config.new_sampler else sampler, **given)


class Samplers:
    """Choices of the group `sampler` for a running world; "run" is its `own`."""

    def __init__(self, own: Sampler) -> None:
        self.own = own
        self.names = sorted(group_options("sampler"), key=lambda name: name != "run")

    def named(self, name: Any) -> Sampler:
        """The choice of that name; UserError where there is none."""
        if name not in self.names:
            raise UserError(f"there is no sampler {name!r}: choose one of {', '.join(self.names)}")
        values = yaml.safe_load(files("conf").joinpath(f"sampler/{name}.yaml").read_text())
        return with_overrides(self.own, Sampled(**values))

    @staticmethod
    def changed(sampler: Sampler, **given: Any) -> Sampler:
        """`sampler` with other settings; UserError for an invalid value."""
        try:
            return replace(sampler, **given)
        except ValueError as error:
            raise UserError(str(error)) from error
