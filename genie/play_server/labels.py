"""Names and keys of a world's actions.

Latent actions have no names. They get the names of the true actions that they stand for, where the evaluation has
counted these; names given by the user come first.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genie.common.errors import UserError

IDLE_LABELS = ("stay", "noop", "idle", "none", "wait", "nothing")
ARROWS = {"up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"}
DIGITS = "1234567890"
LONGEST_LABEL = 24


@dataclass(frozen=True)
class Action:
    """A button: `keys` are names of keys as in a browser ("1", "ArrowUp")."""

    index: int
    label: str
    keys: tuple[str, ...]


def make_actions(labels: list[str]) -> list[Action]:
    """An action for each label: digits for the first ten, an arrow for the first label of each direction."""
    actions, free = [], dict(ARROWS)
    for index, label in enumerate(labels):
        keys = (DIGITS[index],) if index < len(DIGITS) else ()
        arrow = free.pop(label.lower(), None)
        actions.append(Action(index, label, keys + ((arrow,) if arrow else ())))
    return actions


def action_labels(given: Any, suggested: list[str | None]) -> list[str]:
    """A label for every action: the user's (`given`, {action: label} or a list), the suggested one, or "action i".

    Raises UserError for another `given`, for actions out of range, and for labels that are no short text.
    """
    num_actions = len(suggested)
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not isinstance(given, dict | None):
        raise UserError(f"play.actions={given}: give a label for each action, as in play.actions={{0: stay, 1: up}}")
    labels = list(suggested)
    for action, label in (given or {}).items():
        if isinstance(action, bool) or not isinstance(action, int) or not 0 <= action < num_actions:
            raise UserError(f"play.actions: there is no action {action}; this world has 0 … {num_actions - 1}")
        if isinstance(label, dict | list | None) or not 0 < len(str(label).strip()) <= LONGEST_LABEL:
            raise UserError(f"play.actions: the label {label!r} must be a text of 1 to {LONGEST_LABEL} letters")
        labels[action] = str(label).strip()
    return [label or f"action {index}" for index, label in enumerate(labels)]


def suggest(run: Path, num_actions: int, true_actions: bool, names: list[str] | None) -> list[str | None]:
    """A name for each action, None where it is unknown.

    `names`: of the true actions of the data. For a world trained on them (`true_actions`) they are its own; a latent
    action takes the true one of more than half of its uses in `<run>/evaluation/evaluation.json`.
    """
    if not names:
        return [None] * num_actions
    if true_actions:
        return [*names, *[None] * num_actions][:num_actions]
    try:
        confusion = json.loads((run / "evaluation" / "evaluation.json").read_text())["lam"]["confusion"]
    except (OSError, ValueError, KeyError, TypeError):
        confusion = None  # not evaluated, or without true actions: no names, but playable
    if not isinstance(confusion, list) or len(confusion) != num_actions:  # of another run
        return [None] * num_actions
    return _aligned(confusion, names)


def _aligned(confusion: list, names: list[str]) -> list[str | None]:
    """Names from a table of counts, whose rows are latent actions; rows may have another run's shape."""
    best: list[tuple[float, str] | None] = []
    for row in confusion:
        fits = isinstance(row, list) and len(row) == len(names) and all(_is_count(cell) for cell in row) and any(row)
        share = max(row) / sum(row) if fits else 0
        best.append((share, names[row.index(max(row))]) if share > 0.5 else None)
    labels: list[str | None] = [None] * len(best)
    count = Counter()
    for index in sorted(range(len(best)), key=lambda index: -(best[index] or (0, ""))[0]):
        if best[index]:
            name = best[index][1]
            count[name] += 1  # several codes may stand for one action; the surest gets the plain name
            labels[index] = name if count[name] == 1 else f"{name} ({count[name]})"
    return labels


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def idle_action(given: int | None, labels: list[str]) -> int | None:
    """The action when no key is held: the user's, else the first with an idle label; None where there is none
    (`calmest_action`). Raises UserError."""
    if given is not None:
        if not 0 <= given < len(labels):
            raise UserError(f"play.idle={given}: there is no such action; this world has 0 … {len(labels) - 1}")
        return given
    return next((index for index, label in enumerate(labels) if label.lower() in IDLE_LABELS), None)
