"""The simplest world there is, for tests of what works on any: a point on a line that actions move.

Its observation is the place, in -1 … 1. The reward is minus the distance to a goal; beyond either end it is over.
"""

from dataclasses import dataclass, replace

import torch
from gymnasium import spaces

from genie.models.heads import Judged
from genie.world.protocol import Step


@dataclass(frozen=True)
class LineState:
    places: torch.Tensor  # [B, 1]
    seeds: torch.Tensor  # [B]
    imagined: bool = False

    def __len__(self):
        return len(self.places)

    def select(self, index):
        at = torch.as_tensor(index)
        return replace(self, places=self.places[at], seeds=self.seeds[at])

    def reseeded(self, seed):
        seeds = seed if isinstance(seed, torch.Tensor) else seed + torch.arange(len(self))
        return replace(self, seeds=seeds)


class LineWorld:
    """`continuous`: one number moves the point by 0.2 times itself; else actions 0, 1, 2 by -0.2, 0, 0.2."""

    observation_shape = feature_shape = (1,)
    num_context, fps, config = 1, 10.0, {"name": "line", "data": {"name": "line", "recorder": None}}
    knows_rewards = knows_ends = takes_environment_actions = True
    knows_uncertainty = False
    reward_kind = "trajectory"
    device = torch.device("cpu")

    def __init__(self, continuous=False, goal=0.5):
        self.continuous, self.goal, self.steps = continuous, goal, 0
        self.action_space = spaces.Box(-1, 1, (1,)) if continuous else spaces.Discrete(3)

    def to(self, device):
        return self

    def fingerprint(self):
        return f"line {self.continuous} {self.goal}"

    def moves(self, actions):
        return 0.2 * (actions if self.continuous else actions[:, None] - 1.0)

    def reset(self, observations, actions=None, seed=0):
        return LineState(observations[:, -1], torch.zeros(len(observations), dtype=torch.int64)).reseeded(seed)

    def observe(self, state, observation, actions):
        if state.imagined:
            raise ValueError("this state has imagined observations")
        return replace(state, places=observation)

    def warmed(self, state):
        return state

    def step(self, state, actions, decode=True):
        self.steps += len(state)
        places = state.places + self.moves(actions)
        reward = -(places[:, 0] - self.goal).abs()
        continues = (places[:, 0].abs() <= 1).float()
        state = replace(state, places=places, imagined=True)
        return state, Step(reward, continues, places if decode else None)

    def decode(self, state):
        return state.places

    features = decode

    def trace(self, observations, actions=None):
        return observations

    def judge(self, before, actions, after):
        continues = (after.places[:, 0].abs() <= 1).float()
        return Judged(-(after.places[:, 0] - self.goal).abs(), continues, 20 * continues - 10, None)
