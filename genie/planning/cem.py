"""The cross-entropy method (Rubinstein 1999): draw, keep the best few, fit what is drawn from to them, and again.

With ideas of iCEM (Pinneri et al. 2020, arXiv 2008.06389): coloured noise, and the best candidate and the mean of one
iteration are candidates of the next.
"""

import torch

from genie.planning.distributions import Distribution
from genie.planning.refined import Refined
from genie.planning.search import Scored
from genie.planning.settings import CemSettings


class CrossEntropy(Refined):
    """Elites count alike, all others nothing."""

    settings: CemSettings

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution:
        settings = self.settings
        elites = max(2, round(settings.elites * scored.worth.shape[1]))
        best = scored.candidates[:, :elites]
        weights = torch.full(best.shape[:2], 1 / best.shape[1], device=best.device)
        fitted = distribution.fitted(best, weights)
        return distribution.mixed(fitted, settings.momentum).softened(settings.min_std, settings.smoothing)
