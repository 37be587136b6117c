"""Policies of recordings: random held actions, smooth noise, a ball follower, and mixtures.

Random play shows every action in every situation, and following the ball shows rallies; a world model needs both.

Random play in Pong must turn before it comes to a wall: the paddle has inertia, and behind the wall actions have no
visible effect, while a paddle that is half hidden looks and moves like nothing else. Measured over 4,000 decisions: the
paddle is at a wall in 44% of them if random play only stops to push, in 24% if it turns 36 screen pixels before. At ten
decisions a second the paddle crosses 13 of the 64 rows in one; the normalised mutual information of the sign of its
motion (still: less than a row) and the true action is then 0.67, at fifteen a second, where it coasts through the next
decision, 0.52.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class RecordingPolicy(Protocol):
    def act(self, boxes: np.ndarray | None) -> int | np.ndarray:
        """The action, an id or numbers in [-1, 1], given the objects' boxes [O, 4] (None: unknown)."""
        ...


class RecordingAgent(Protocol):
    """Agent that acts on the recorded frames, instead of a `RecordingPolicy`."""

    def reset(self, observation: np.ndarray, seed: int) -> None:
        """Begins an episode with the frame uint8 [H, W, 3]; `seed` is the only source of its randomness."""
        ...

    def act(self) -> int | np.ndarray:
        """The next action."""
        ...

    def observe(self, action: int | np.ndarray, observation: np.ndarray) -> None:
        """The frame that `action` led to."""
        ...


class HeldRandom:
    """Random actions, each held for a geometric number of decisions with mean `hold`; `weights` say how often each is
    drawn, None: all equally.

    `blocked(boxes)` gives the action ids that have no effect now (None: unknown); a held action that becomes blocked is
    dropped, and blocked ones are not drawn.
    """

    def __init__(
        self,
        num_actions: int,
        hold: float,
        rng: np.random.Generator,
        blocked: Callable[[np.ndarray | None], set[int]] | None = None,
        weights: np.ndarray | None = None,
    ):
        self.num_actions, self.hold, self.rng, self.blocked = num_actions, hold, rng, blocked
        self.weights = weights
        self.left, self.action = 0, 0

    def act(self, boxes: np.ndarray | None) -> int:
        blocked = set() if self.blocked is None else self.blocked(boxes)
        if self.left == 0 or self.action in blocked:
            choices = [action for action in range(self.num_actions) if action not in blocked]
            if self.weights is None:
                chosen = self.rng.integers(len(choices))
            else:
                weights = self.weights[choices]
                chosen = self.rng.choice(len(choices), p=weights / weights.sum())
            self.action = choices[int(chosen)]
            self.left = int(self.rng.geometric(1 / self.hold))
        self.left -= 1
        return self.action


class HeldUniform:
    """`size` numbers, uniformly random in [-1, 1], held for a geometric number of decisions with mean `hold`."""

    def __init__(self, size: int, hold: float, rng: np.random.Generator):
        self.size, self.hold, self.rng = size, hold, rng
        self.left = 0

    def act(self, boxes: np.ndarray | None) -> np.ndarray:
        if self.left == 0:
            self.action = self.rng.uniform(-1, 1, self.size).astype(np.float32)
            self.left = int(self.rng.geometric(1 / self.hold))
        self.left -= 1
        return self.action


class SmoothNoise:
    """`size` numbers of an Ornstein-Uhlenbeck process about 0, clipped to [-1, 1]. hold: decisions after which the
    correlation has fallen to 1/e. spread: standard deviation before clipping."""

    def __init__(self, size: int, hold: float, spread: float, rng: np.random.Generator):
        self.kept, self.spread, self.rng = math.exp(-1 / hold), spread, rng
        self.value = spread * rng.standard_normal(size)  # stationary from the beginning

    def act(self, boxes: np.ndarray | None) -> np.ndarray:
        action = self.value.clip(-1, 1).astype(np.float32)
        kick = self.spread * math.sqrt(1 - self.kept**2)
        self.value = self.kept * self.value + kick * self.rng.standard_normal(len(self.value))
        return action


# data.recorder.policy.continuous -> the policy for actions of `size` numbers
CONTINUOUS: dict[str, Callable[[int, dict[str, Any], np.random.Generator], RecordingPolicy]] = {
    "held": lambda size, settings, rng: HeldUniform(size, settings["hold"], rng),
    "smooth": lambda size, settings, rng: SmoothNoise(size, settings["hold"], settings["spread"], rng),
}


def moving_on_to_a_wall(
    up: int, down: int, top: int, bottom: int, margin: int
) -> Callable[[np.ndarray | None], set[int]]:
    """`blocked` for Pong: the move towards a wall, row `top` or `bottom`, that is nearer than `margin` pixels."""

    def blocked(boxes: np.ndarray | None) -> set[int]:
        assert boxes is not None
        player = boxes[1]
        return {up} if player[0] <= top + margin else {down} if player[1] >= bottom - margin else set()

    return blocked


class FollowBall:
    """Moves the player's paddle to the ball's height; with probability `noise` a random action instead.

    The aimed point of the paddle changes now and then, since the ball's angle depends on where it hits. While there is
    no ball to follow, the random policy plays.
    """

    def __init__(self, up: int, down: int, stay: int, noise: float, fallback: HeldRandom, rng: np.random.Generator):
        self.up, self.down, self.stay = up, down, stay
        self.noise, self.fallback, self.rng = noise, fallback, rng
        self.aim = 0.0

    def act(self, boxes: np.ndarray | None) -> int:
        assert boxes is not None
        ball, player = boxes[0], boxes[1]
        if ball[2] < 0 or ball[1] <= 0 or self.rng.random() < self.noise:
            return self.fallback.act(boxes)
        if self.rng.random() < 0.05:
            self.aim = float(self.rng.uniform(-6, 6))  # screen pixels; the paddle is 16 high
        distance = (ball[0] + ball[1] - player[0] - player[1]) / 2 + self.aim
        if abs(distance) < 4:
            return self.stay
        return self.down if distance > 0 else self.up


class Mixture:
    """Draws one of two policies every `segment` decisions: `first` with probability `share`."""

    def __init__(
        self, first: RecordingPolicy, second: RecordingPolicy, share: float, segment: int, rng: np.random.Generator
    ):
        self.first, self.second, self.share, self.segment, self.rng = first, second, share, segment, rng
        self.decisions = 0

    def act(self, boxes: np.ndarray | None) -> int | np.ndarray:
        if self.decisions % self.segment == 0:
            self.current = self.first if self.rng.random() < self.share else self.second
        self.decisions += 1
        return self.current.act(boxes)
