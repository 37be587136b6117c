"""Where the time of a training goes, printed at its end."""

import time
from collections import defaultdict

from lightning.pytorch.profilers import Profiler

KINDS = ("steps", "data", "validation", "checkpoints", "callbacks")


def kind_of(action: str) -> str | None:
    """What Lightning's action of that name counts as; None: as what it is part of."""
    if action == "run_training_batch":
        return "steps"
    if action.endswith((".train_dataloader_next", ".batch_to_device")):
        return "data"
    if action == "save_checkpoint" or action.endswith("on_save_checkpoint"):
        return "checkpoints"
    if action.startswith("[Callback]"):
        return "callbacks"
    return "validation" if "validation" in action or action.endswith(".val_next") else None


class TimeUse(Profiler):
    """Wall time by kind: forward, backward and optimizer ("steps"), waiting for clips and moving them to the device
    ("data"), validation passes, checkpoints, and all other callbacks, those with rollouts included.

    An action within another is counted once, as the inner one. On a GPU the host runs ahead: what waits for its result
    is counted with the time of the kernels before it.
    """

    def __init__(self, started: float | None = None) -> None:
        """`started`: when the training began to prepare, by the monotonic clock; None: now."""
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self.since = time.monotonic()
        self.created, self.first_step = self.since if started is None else started, 0.0
        self.running: list[tuple[str | None, str]] = []  # kind and name of the actions that have begun

    def start(self, action_name: str) -> None:
        self._count()
        kind = kind_of(action_name)
        if kind == "steps" and not self.first_step:
            self.seconds.clear()  # only what comes after the first step began
            self.first_step = self.since
        outer = self.running[-1][0] if self.running else None
        self.running.append((kind if outer in (None, "steps", "callbacks") and kind else outer, action_name))

    def stop(self, action_name: str) -> None:
        if not any(name == action_name for _, name in self.running):
            return
        self._count()
        while self.running.pop()[1] != action_name:  # an exception leaves actions open
            pass

    def _count(self) -> None:
        """Adds the time since the last action began or ended to the kind that is running."""
        now = time.monotonic()
        kind = self.running[-1][0] if self.running else None
        self.seconds[kind or "other"] += now - self.since
        self.since = now

    def line(self) -> str:
        """One line, empty where no step was made: `first step after 1.2 s, then 300 s: steps 97.9%, data 0.4%, …`."""
        total = sum(self.seconds.values())
        if not self.first_step or not total:
            return ""
        shares = ", ".join(f"{kind} {100 * self.seconds[kind] / total:.1f}%" for kind in (*KINDS, "other"))
        return f"first step after {self.first_step - self.created:.1f} s, then {total:.0f} s: {shares}"
