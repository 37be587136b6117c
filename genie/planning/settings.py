"""The group `planner` of the configuration (conf/planner/ says what the values mean and why they are so)."""

from dataclasses import dataclass, fields
from typing import Any

from genie.common.errors import UserError

LEAST_CANDIDATES = 4  # two may be known ones: the best so far and the distribution's mode


@dataclass(frozen=True)
class SearchSettings:
    """Of every optimiser. Raises UserError for a value that cannot be."""

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
        self._whole("horizon", "particles", "batch_size")
        self._whole("candidates", least=LEAST_CANDIDATES)
        self._number("hold", least=1)
        self._number("colour", "effort", "change", "end")
        self._number("discount", most=1)
        if self.seconds is not None:
            self._number("seconds")

    def _whole(self, *names: str, least: int = 1) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"planner.{name}={value} must be a whole number of at least {least}")

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
    """Of the optimisers that draw again, from what was good."""

    iterations: int
    std: float
    smoothing: float
    warm_start: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("iterations")
        self._number("std", above=0)
        self._number("smoothing", "warm_start", most=1)


@dataclass(frozen=True)
class CemSettings(RefinedSettings):
    """Of the cross-entropy method."""

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
    """Of model predictive path integral control."""

    temperature: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("temperature", above=0)


def settings_from(kind: type[SearchSettings], group: dict[str, Any]) -> SearchSettings:
    """The settings of a plain configuration. Raises UserError for a value that cannot be, a key that is missing or
    one that this planner does not have."""
    names = [field.name for field in fields(kind)]
    for name in group:
        if name not in names:
            raise UserError(f"planner.{name}: planner={group['name']} has no such key; it has {', '.join(names)}")
    for name in names:
        if name not in group:
            raise UserError(f"planner.{name} is not given")
    return kind(**group)
