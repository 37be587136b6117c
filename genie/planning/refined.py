"""Optimisers that draw again, from a distribution that moves towards what was good.

Dimension letters: `B` states, `H` steps, `A` numbers of an action, `K` actions.
"""

import torch
from torch import Tensor

from genie.planning.distributions import Categorical, Distribution, Gaussian, uniform
from genie.planning.search import RandomShooting
from genie.planning.settings import RefinedSettings


class Refined(RandomShooting):
    """A search of several iterations; subclasses say how candidates move the distribution (`improved`)."""

    settings: RefinedSettings

    @property
    def iterations(self) -> int:
        return self.settings.iterations

    def start(self, guess: Tensor | None, batch: int) -> Distribution:
        """Around no action of numbers, or all of K alike; `warm_start` of the way to the guess where there is one."""
        plain = self._plain(batch)
        if guess is None:
            return plain
        one = torch.ones(batch, 1, device=self.world.device)
        return plain.mixed(plain.fitted(guess[:, None], one).as_wide_as(plain), 1 - self.settings.warm_start)

    def _plain(self, batch: int) -> Gaussian | Categorical:
        space = uniform(self.world.action_space, batch, self.horizon, self.world.device)
        if isinstance(space, Categorical):
            return space
        mean = torch.zeros(space.shape, device=self.world.device)
        return Gaussian(mean, torch.full_like(mean, self.settings.std))
