"""Episodes of a real environment, played by an agent one at a time or several as one batch.

Of Pong the balls that came to the player are counted: a score hardly tells players apart, as a game is lost 21 to 0 by
many kinds of play.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from data_modules.environments.protocol import in_episode
from genie.agents.agents import Agent

if TYPE_CHECKING:
    from data_modules.environments import Environment


@dataclass
class Episode:
    """A played episode.

    Attributes:
        seed: of the environment and of the agent.
        rewards: of each decision.
        terminal: whether the environment ended it; else its time was up.
        cut: whether `max_steps` ended it before the environment did.
        balls, returned: of Pong, that came to the player, and that the player sent back.
        seconds: of the agent's computation, of a batch its share.
        imagined: (step, imagined discounted rewards) of each plan that was made.
        screens: uint8 [H', W', 3] at each step and after the last; only where it was filmed.
        observations, actions: likewise, as the agent saw and did them.
    """

    number: int
    seed: int
    rewards: list[float] = field(default_factory=list)
    terminal: bool = False
    cut: bool = False
    balls: int = 0
    returned: int = 0
    seconds: float = 0.0
    imagined: list[tuple[int, float]] = field(default_factory=list)
    screens: list[np.ndarray] = field(default_factory=list)
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)

    @property
    def return_(self) -> float:
        return float(sum(self.rewards))

    @property
    def length(self) -> int:
        """Number of decisions."""
        return len(self.rewards)


def play_episodes(
    environment: "Environment | Sequence[Environment]",
    agent: Agent,
    seeds: dict[int, int] | Sequence[int],
    max_steps: int | None = None,
    repeat: int = 1,
    filmed: Callable[[int], bool] = lambda number: False,
    ended: Callable[[Episode], None] = lambda episode: None,
    decided: Callable[[int], None] = lambda count: None,
) -> list[Episode]:
    """Plays an episode for each of the seeds, in the order of their numbers.

    Args:
        environment: one, or as many as are played at once, of one kind; the result does not depend on their number.
        seeds: of episodes 0, 1, …, or by the numbers of episodes.
        max_steps: decisions after which an episode is over; None: only the environment ends it.
        repeat: steps of the environment that an action is held: those from one frame of the world to its next.
        filmed: for which numbers screens, observations and actions are kept.
        ended: called with each finished episode.
        decided: called after each step of the batch, with the number of decisions.
    """
    environments = list(environment) if isinstance(environment, Sequence) else [environment]
    jobs = list(seeds.items()) if isinstance(seeds, dict) else list(enumerate(seeds))
    episodes = []
    for start in range(0, len(jobs), len(environments)):
        slots = [
            _EpisodeSlot(playing, Episode(*job), repeat, filmed(job[0]))
            for playing, job in zip(environments, jobs[start:], strict=False)
        ]
        for episode in _play_together(slots, agent, max_steps, decided):
            ended(episode)
            episodes.append(episode)
    return sorted(episodes, key=lambda episode: episode.number)


class _EpisodeSlot:
    """One environment and the episode that is played in it."""

    def __init__(self, environment: "Environment", episode: Episode, repeat: int, filmed: bool) -> None:
        self.environment, self.episode, self.repeat, self.filmed = environment, episode, repeat, filmed
        with in_episode(f"episode {episode.number}"):
            self.observation = environment.reset(episode.seed)
            self.rallies = rallies_of(environment)
            self._film()

    def step(self, action: Any) -> bool:
        """Whether the environment says that the episode is over."""
        reward, rallies = 0.0, self.rallies
        with in_episode(f"episode {self.episode.number}"):
            for _ in range(self.repeat):
                self.observation, gained, terminal, truncated = self.environment.step(action)
                reward += gained
                if rallies is not None:
                    rallies.step(gained)
                if terminal or truncated:
                    break
            self.episode.rewards.append(reward)
            self.episode.terminal = terminal
            if rallies is not None:
                self.episode.balls, self.episode.returned = rallies.balls, rallies.returned
            if self.filmed:
                self.episode.actions.append(action)
            self._film()
        return terminal or truncated

    def _film(self) -> None:
        if self.filmed:
            self.episode.screens.append(self.environment.screen())
            self.episode.observations.append(self.observation)


def _play_together(
    slots: list[_EpisodeSlot], agent: Agent, max_steps: int | None, decided: Callable[[int], None]
) -> Iterator[Episode]:
    """The episodes of all slots, in the order in which they end."""
    agent.reset(np.stack([slot.observation for slot in slots]), [slot.episode.seed for slot in slots])
    for number in itertools.count():
        started = time.monotonic()
        actions = agent.act()
        _add_seconds(slots, started)
        if agent.plan is not None and agent.plan.age == 0:
            for slot, imagined in zip(slots, agent.plan.imagined_return.tolist(), strict=True):
                slot.episode.imagined.append((number, imagined))
        whole = isinstance(slots[0].environment.action_space, spaces.Discrete)
        over = [slot.step(int(a) if whole else a) for slot, a in zip(slots, actions, strict=True)]
        decided(len(slots))
        if number + 1 == max_steps:
            for slot, ends in zip(slots, over, strict=True):
                slot.episode.cut = not ends
            over = [True] * len(slots)
        yield from (slot.episode for slot in itertools.compress(slots, over))
        going = [row for row, ends in enumerate(over) if not ends]
        if not going:
            return
        if len(going) < len(slots):
            agent.keep(going)
            slots = [slots[row] for row in going]
        started = time.monotonic()
        agent.observe(actions[going], np.stack([slot.observation for slot in slots]))
        _add_seconds(slots, started)


def _add_seconds(slots: list[_EpisodeSlot], started: float) -> None:
    for slot in slots:
        slot.episode.seconds += (time.monotonic() - started) / len(slots)


PONG = "ALE/Pong-v5"
PLAYER_SIDE = 80  # screen pixels: the ball turns left to the right of it only where the player's paddle met it


class Rallies:
    """Counts the `balls` that came to the player and those `returned`, from their positions on the screen."""

    def __init__(self, environment: "Environment") -> None:
        self.environment, self.balls, self.returned = environment, 0, 0
        self._place, self._comes = float("nan"), False

    def step(self, reward: float) -> None:
        """To be called after each step of the environment; `reward` is -1 where the player lost the point."""
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
    """A counter for an environment at the beginning of an episode; None for any but Pong with frames."""
    return Rallies(environment) if environment.id == PONG and environment.observes == "frames" else None
