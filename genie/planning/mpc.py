"""Receding horizon: some actions of a plan are done before the next is made."""

from torch import Tensor

from genie.planning.plan import Plan
from genie.planning.search import RandomShooting
from genie.world.protocol import State


class RecedingHorizon:
    """Any optimiser; `execute` actions of each plan are taken, 1 … the horizon. The optimisers alone take one."""

    def __init__(self, optimizer: RandomShooting, execute: int) -> None:
        self.optimizer, self.execute = optimizer, execute

    @property
    def horizon(self) -> int:
        """H."""
        return self.optimizer.horizon

    @property
    def discount(self) -> float:
        """γ of a step."""
        return self.optimizer.discount

    def plan(self, state: State, seed: int | Tensor, previous: Plan | None = None) -> Plan:
        """The rest of the plan before while it lasts, else a new one that begins from it."""
        if previous is not None and previous.age + 1 < self.execute:
            return previous.later()
        return self.optimizer.plan(state, seed, previous)
