"""Action names and keys.

What a world's actions are called, and which key does which.

Latent actions have no names. Where the evaluation has counted which true action each of them stands for, they get
that one's; the user's own names come before.
"""

import json
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
    """One button: `keys` are names of keys as a browser gives them ("1", "ArrowUp")."""

    index: int
    label: str
    keys: tuple[str, ...]


def make_actions(labels: list[str]) -> list[Action]:
    """The actions of that many labels: digits for the first ten, an arrow for the first label that is a direction."""
    actions, free = [], dict(ARROWS)
    for index, label in enumerate(labels):
        keys = (DIGITS[index],) if index < len(DIGITS) else ()
        arrow = free.pop(label.lower(), None)
        actions.append(Action(index, label, keys + ((arrow,) if arrow else ())))
    return actions


def action_labels(given: Any, suggested: list[str | None]) -> list[str]:
    """A label for every action: the user's (`given`, {action: label} or a list), the suggested one, "action i".

    Raises UserError for what is neither, for actions that are not there, and for labels that are no short text.
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
    """A name for each action where one is known, None elsewhere.

    `names`: of the true actions of the data. For a world trained on them (`true_actions`) they are its own; latent
    ones take the one that most of their uses stood for in `<run>/evaluation/evaluation.json`, where that is clear.
    """
    if not names:
        return [None] * num_actions
    if true_actions:
        return [*names, *[None] * num_actions][:num_actions]
    return _aligned(_confusion(run), num_actions, names)


def _confusion(run: Path) -> Any:
    try:
        return json.loads((run / "evaluation" / "evaluation.json").read_text())["lam"]["confusion"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not evaluated, or without true actions: no names, but playable


def _aligned(confusion: Any, num_actions: int, names: list[str]) -> list[str | None]:
    """Of a table of counts (rows: latent actions); it may be of another run's shape."""
    if not isinstance(confusion, list) or len(confusion) != num_actions:
        return [None] * num_actions
    best: list[tuple[float, str] | None] = []
    for row in confusion:
        fits = isinstance(row, list) and len(row) == len(names) and all(_is_count(cell) for cell in row) and any(row)
        share = max(row) / sum(row) if fits else 0
        best.append((share, names[row.index(max(row))]) if share > 0.5 else None)
    labels: list[str | None] = [None] * num_actions
    count: dict[str, int] = {}
    for index in sorted(range(num_actions), key=lambda index: -(best[index] or (0, ""))[0]):
        if best[index]:
            name = best[index][1]
            count[name] = count.get(name, 0) + 1  # several codes may mean the same; the surest is called just that
            labels[index] = name if count[name] == 1 else f"{name} ({count[name]})"
    return labels


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def idle_action(given: int | None, labels: list[str]) -> int:
    """The action when no key is held: the user's, the one that is called so, or 0. Raises UserError."""
    if given is not None:
        if not 0 <= given < len(labels):
            raise UserError(f"play.idle={given}: there is no such action; this world has 0 … {len(labels) - 1}")
        return given
    return next((index for index, label in enumerate(labels) if label.lower() in IDLE_LABELS), 0)
