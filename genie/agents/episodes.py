"""Episodes of an environment, several at once.

Episodes of a real environment, played by an agent: one at a time, or several as one batch of world states.

Does the player of Pong meet the ball? What the score hardly says: a game is lost 21 to 0 by many kinds of play.
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
    """One that was played.

    Attributes:
        number, seed: which one; the seed is the environment's and the agent's.
        rewards: of each decision.
        terminal: whether the environment ended it; else its time was up.
        cut: whether `max_steps` ended it, and the environment would have gone on.
        balls, returned: of Pong, that came to the player, and that the player sent back.
        seconds: that the agent took, of a batch its share.
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
        """The sum of the rewards."""
        return float(sum(self.rewards))

    @property
    def length(self) -> int:
        """Decisions."""
        return len(self.rewards)


def play_episodes(
    environment: "Environment | Sequence[Environment]",
    agent: Agent,
    seeds: dict[int, int] | Sequence[int],
    max_steps: int | None = None,
    repeat: int = 1,
    filmed: Callable[[int], bool] = lambda number: False,
    ended: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """Plays an episode for each of the seeds, in the order of their numbers.

    Args:
        environment: one, or as many as are played at once. They have to be of one kind; what comes out does not depend
            on how many there are.
        seeds: of episodes 0, 1, …, or by the numbers of episodes.
        max_steps: decisions after which an episode is over; None: when the environment says so.
        repeat: steps of the environment that an action is held: those from one frame of the world to its next.
        filmed: of which numbers screens, observations and actions are kept.
        ended: is called with each episode when it is over.
    """
    environments = list(environment) if isinstance(environment, Sequence) else [environment]
    jobs = list(seeds.items()) if isinstance(seeds, dict) else list(enumerate(seeds))
    episodes = []
    for start in range(0, len(jobs), len(environments)):
        tables = [
            _EpisodeSlots(playing, Episode(*job), repeat, filmed(job[0]))
            for playing, job in zip(environments, jobs[start : start + len(environments)], strict=False)
        ]
        for episode in _play_together(tables, agent, max_steps):
            ended(episode)
            episodes.append(episode)
    return sorted(episodes, key=lambda episode: episode.number)


class _EpisodeSlots:
    """One environment and the episode that is played in it."""

    def __init__(self, environment: "Environment", episode: Episode, repeat: int, filmed: bool) -> None:
        self.environment, self.episode, self.repeat, self.filmed = environment, episode, repeat, filmed
        with in_episode(f"episode {episode.number}"):
            self.observation = environment.reset(episode.seed)
            self.rallies = rallies_of(environment)
            self._film()

    def step(self, action: Any) -> bool:
        """Whether the environment says that the episode is over."""
        with in_episode(f"episode {self.episode.number}"):
            return self._step(action)

    def _step(self, action: Any) -> bool:
        reward = 0.0
        for _ in range(self.repeat):
            self.observation, gained, terminal, truncated = self.environment.step(action)
            reward += gained
            if self.rallies is not None:
                self.rallies.step(gained)
            if terminal or truncated:
                break
        self.episode.rewards.append(reward)
        self.episode.terminal = terminal
        if self.rallies is not None:
            self.episode.balls, self.episode.returned = self.rallies.balls, self.rallies.returned
        if self.filmed:
            self.episode.actions.append(action)
        self._film()
        return terminal or truncated

    def _film(self) -> None:
        if self.filmed:
            self.episode.screens.append(self.environment.screen())
            self.episode.observations.append(self.observation)


def _play_together(tables: list[_EpisodeSlots], agent: Agent, max_steps: int | None) -> Iterator[Episode]:
    """The episodes of all tables, in the order in which they end."""
    agent.reset(np.stack([table.observation for table in tables]), [table.episode.seed for table in tables])
    for number in itertools.count():
        started = time.monotonic()
        actions = agent.act()
        _share(tables, started)
        if agent.plan is not None and agent.plan.age == 0:
            for table, imagined in zip(tables, agent.plan.imagined_return.tolist(), strict=True):
                table.episode.imagined.append((number, imagined))
        whole = isinstance(tables[0].environment.action_space, spaces.Discrete)
        over = [table.step(int(a) if whole else a) for table, a in zip(tables, actions, strict=True)]
        if number + 1 == max_steps:
            for table, ends in zip(tables, over, strict=True):
                table.episode.cut = not ends
            over = [True] * len(tables)
        yield from (table.episode for table, ends in zip(tables, over, strict=True) if ends)
        going = [row for row, ends in enumerate(over) if not ends]
        if not going:
            return
        if len(going) < len(tables):
            agent.keep(going)
            tables = [tables[row] for row in going]
        started = time.monotonic()
        agent.observe(actions[going], np.stack([table.observation for table in tables]))
        _share(tables, started)


def _share(tables: list[_EpisodeSlots], started: float) -> None:
    for table in tables:
        table.episode.seconds += (time.monotonic() - started) / len(tables)


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
