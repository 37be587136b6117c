"""Does the player of Pong meet the ball? What the score hardly says: a game is lost 21 to 0 by many kinds of play."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_modules.environments import Environment

PONG = "ALE/Pong-v5"
PLAYER_SIDE = 80  # screen pixels: the ball turns left to the right of it only where the player's paddle met it


class Rallies:
    """Counts the balls that came to the player of an environment, step by step, from where they are on the screen.

    Attributes:
        balls: that were returned or missed.
        returned: that the player's paddle sent back.
    """

    def __init__(self, environment: "Environment") -> None:
        self.environment, self.balls, self.returned = environment, 0, 0
        self._place, self._comes = float("nan"), False

    def step(self, reward: float) -> None:
        """After each step of the environment; `reward` is -1 where the player lost the point."""
        left, right = self.environment.boxes()[0, 2:]
        place = (left + right) / 2 if 0 < left < 160 else float("nan")  # a ball that is not in play lies outside
        move = place - self._place
        if reward < 0:
            self.balls += 1
        elif self._comes and move < 0 and self._place > PLAYER_SIDE:
            self.balls, self.returned = self.balls + 1, self.returned + 1
        # there and back between two looks is no move; what is lost rests at the edge until the next ball is thrown in
        self._comes = not reward and (move > 0 or (self._comes and move == 0))
        self._place = place


def rallies_of(environment: "Environment") -> Rallies | None:
    """A counter for an environment that begins an episode now; None where no rallies are known."""
    return Rallies(environment) if environment.id == PONG and environment.observes == "frames" else None
