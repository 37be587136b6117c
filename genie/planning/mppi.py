"""Model predictive path integral control (Williams et al. 2017): every candidate counts, by the exponential of its
worth.
"""

from genie.planning.distributions import Distribution
from genie.planning.refined import Refined
from genie.planning.search import Scored
from genie.planning.settings import MppiSettings

SMALLEST = 1e-8  # spread of the worths below which all are alike


class PathIntegral(Refined):
    """The weighted mean moves; how far is drawn around it stays. The temperature counts in standard deviations of the
    candidates' worth, so that it means the same for rewards of any size."""

    settings: MppiSettings

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution:
        worth = scored.worth
        spread = worth.std(1, keepdim=True, correction=0).clamp_min(SMALLEST)
        weights = ((worth - worth[:, :1]) / (self.settings.temperature * spread)).softmax(1)
        fitted = distribution.fitted(scored.candidates, weights).as_wide_as(distribution)
        return fitted.softened(0.0, self.settings.smoothing)
