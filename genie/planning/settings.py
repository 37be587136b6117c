"""Settings of planners: the group `planner` of the configuration, whose values conf/planner/ explains."""

from dataclasses import dataclass, fields
from typing import Any

from genie.common.config_types import require_whole
from genie.common.errors import UserError

LEAST_CANDIDATES = 4  # two of them may not be drawn: the best so far and the distribution's mode


@dataclass(frozen=True)
class SearchSettings:
    """Settings of every optimiser. Raises UserError for an invalid value."""

    name: str
    horizon: int
    candidates: int
    particles: int
    common_noise: bool
    hold: float
    colour: float
    discount: float
    effort: float
    change: float
    end: float
    seconds: float | None
    batch_size: int

    def __post_init__(self) -> None:
        require_whole(vars(self), "horizon", "particles", "batch_size", prefix="planner.", null=False)
        require_whole(vars(self), "candidates", least=LEAST_CANDIDATES, prefix="planner.", null=False)
        self._number("hold", least=1)
        self._number("colour", "effort", "change", "end")
        self._number("discount", most=1)
        if self.seconds is not None:
            self._number("seconds")

    def _number(self, *names: str, least: float = 0, most: float | None = None, above: float | None = None) -> None:
        for name in names:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not value >= least or (above is not None and value <= above):
                bound = f"at least {least:g}" if above is None else f"more than {above:g}"
                raise UserError(f"planner.{name}={value} must be a number of {bound}")
            if most is not None and value > most:
                raise UserError(f"planner.{name}={value} must be at most {most:g}")


@dataclass(frozen=True)
class RefinedSettings(SearchSettings):
    """Settings of the optimisers of several iterations."""

    iterations: int
    std: float
    smoothing: float
    warm_start: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(vars(self), "iterations", prefix="planner.", null=False)
        self._number("std", above=0)
        self._number("smoothing", "warm_start", most=1)


@dataclass(frozen=True)
class CemSettings(RefinedSettings):
    elites: float
    momentum: float
    min_std: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("elites", above=0, most=1)
        self._number("momentum", most=1)
        self._number("min_std")


@dataclass(frozen=True)
class MppiSettings(RefinedSettings):
    temperature: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("temperature", above=0)


def settings_from(kind: type[SearchSettings], group: dict[str, Any]) -> SearchSettings:
    """The settings of a plain configuration. Raises UserError for an invalid value and a missing or unknown key."""
    names = [field.name for field in fields(kind)]
    for name in group:
        if name not in names:
            raise UserError(f"planner.{name}: planner={group['name']} has no such key; it has {', '.join(names)}")
    if missing := next((name for name in names if name not in group), None):
        raise UserError(f"planner.{missing} is not given")
    return kind(**group)
