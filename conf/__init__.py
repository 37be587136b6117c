"""The configuration of all commands: groups, presets and their defaults. Hydra reads it from here."""

from typing import Any

from omegaconf import OmegaConf


def half_at_most(steps: Any, whole: Any) -> Any:
    """The preset's `steps`, but no more than half of a run of `whole` steps, which may be short: one to try."""
    counts = all(isinstance(value, int) and not isinstance(value, bool) for value in (steps, whole))
    return min(steps, max(0, whole) // 2) if counts else steps  # anything else is judged where it is used


OmegaConf.register_new_resolver("half_at_most", half_at_most, replace=True)
