"""Learning rates over the steps of a run, as a factor of the largest one."""

import math
from collections.abc import Callable

from genie.common.errors import UserError

SCHEDULES = ("cosine", "wsd", "constant")


def schedule_factor(
    name: str,
    max_steps: int,
    warmup_steps: int = 0,
    min_factor: float = 0.0,
    decay_steps: int | None = None,
    decay_share: float = 0.0,
) -> Callable[[int], float]:
    """Factor of the learning rate at optimiser step n (0 … max_steps).

    All rise linearly over `warmup_steps`. "cosine" then falls to `min_factor` at `max_steps`; "wsd" (warm-up,
    stable, decay; arXiv 2404.06395) stays at 1 and falls linearly over the last `decay_steps`, so that a run can be
    lengthened, or over `decay_share` of the run, at most all that the warm-up leaves, where that is None; "constant"
    stays at 1.

    Raises UserError for a name that is none of these, a warm-up and decay longer than the run, or a smallest rate
    above the largest.
    """
    if name not in SCHEDULES:
        raise UserError(f"schedule.name={name!r}: choose one of {', '.join(SCHEDULES)}")
    if decay_steps is None:
        if isinstance(decay_share, bool) or not isinstance(decay_share, int | float) or not 0 <= decay_share <= 1:
            raise UserError(f"schedule.decay_share={decay_share} must be a number from 0 to 1")
        decay_steps = min(round(decay_share * max_steps), max(0, max_steps - warmup_steps))
    elif isinstance(decay_steps, bool) or not isinstance(decay_steps, int) or decay_steps < 0:
        raise UserError(f"schedule.decay_steps={decay_steps} must be a whole number, at least 0; null: by decay_share")
    decay = {"cosine": max(0, max_steps - warmup_steps), "wsd": decay_steps, "constant": 0}[name]
    if warmup_steps + decay > max_steps:
        parts = f"schedule.warmup_steps={warmup_steps}" + (f" and schedule.decay_steps={decay}" if decay else "")
        raise UserError(f"{parts} do not fit into trainer.max_steps={max_steps}: lower them, or take more steps")
    if min_factor > 1:
        raise UserError(
            f"schedule.min_lr is {min_factor:.3g} times optimizer.lr: lower it, or give a larger optimizer.lr"
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, max(0.0, (step - (max_steps - decay)) / decay)) if decay else 0.0
        fall = 0.5 * (1 + math.cos(math.pi * done)) if name == "cosine" else 1.0 - done
        return min_factor + (1 - min_factor) * fall

    return factor
