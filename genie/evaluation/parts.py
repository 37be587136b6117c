"""Parts of an evaluation, in the order in which they are measured."""

from genie.evaluation.action_grid import ACTION_GRID
from genie.evaluation.attention import ATTENTION
from genie.evaluation.environment_replay import SIMULATOR
from genie.evaluation.fvd import FVD
from genie.evaluation.imagination import PREDICTION, SIDE_BY_SIDE
from genie.evaluation.imagination_cost import IMAGINATION
from genie.evaluation.latent_actions import LAM
from genie.evaluation.long_rollout import LONG_ROLLOUT
from genie.evaluation.part import Part
from genie.evaluation.planning import PLANNING
from genie.evaluation.rewards import REWARD
from genie.evaluation.rollout import ROLLOUT
from genie.evaluation.tokenizer import OBJECTS, TOKENIZER
from genie.evaluation.tokens import TOKENS
from genie.evaluation.uncertainty import UNCERTAINTY

PARTS: tuple[Part, ...] = (
    # of Genie's stages
    TOKENIZER, OBJECTS, LAM, TOKENS, ROLLOUT, UNCERTAINTY, SIMULATOR, FVD, ACTION_GRID, ATTENTION,
    # of the chosen world, of any kind
    PREDICTION, REWARD, IMAGINATION, SIDE_BY_SIDE, LONG_ROLLOUT, PLANNING,
)  # fmt: skip
