"""Recorder of episodes of an environment into the train, validation and test files.

Each episode draws its randomness from (seed, split, number of the episode): the same settings give the same recording
frame by frame, and the splits share no episode.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium import spaces

from data_modules.environments import Environment, GymnasiumEnvironment, in_episode, open_environment
from data_modules.environments.gymnasium_environment import REPLAYED
from data_modules.environments.recording_policies import (
    CONTINUOUS,
    FollowBall,
    HeldRandom,
    Mixture,
    RecordingAgent,
    RecordingPolicy,
    moving_on_to_a_wall,
)
from data_modules.formats.episodes import SPLITS, EpisodeWriter
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in

BATCH_FRAMES = 64  # written at a time: memory stays small


class EpisodeRecorder:
    """Plays one environment and records its observations in episode files.

    `max_episode_steps`: a longer episode is cut. `policy`: `hold`, `weights`, `wall_margin`, `follow_share`,
    `follow_noise`, `segment`, and for continuous actions `continuous`, `spread` (`recording_policies.py`). `agent`:
    plays instead of that policy where it is set. `origin`: the settings that the environment was opened with, stored
    in the files. `levels`: for each split its first level and their number, in environments whose seed is the number of
    a level; these are played in order, for another seed from another one on.
    """

    agent: RecordingAgent | None = None

    def __init__(
        self, environment: Environment, max_episode_steps: int, policy: dict, seed: int, origin: dict[str, Any],
        levels: dict[str, list[int]] | None = None,
    ):  # fmt: skip
        self.environment, self.origin, self.levels = environment, origin, levels
        self.max_episode_steps, self.policy_settings, self.seed = max_episode_steps, policy, seed
        self.continuous = isinstance(environment.action_space, spaces.Box)
        self.no_action = np.zeros(environment.action_space.shape or (), environment.action_space.dtype)  # of last rows

    def _policy(self, rng: np.random.Generator) -> RecordingPolicy:
        settings, environment = self.policy_settings, cast(GymnasiumEnvironment, self.environment)
        space = environment.action_space
        if isinstance(space, spaces.Box):
            return CONTINUOUS[settings["continuous"]](len(self.no_action), settings, rng)
        count = int(space.n)
        # Only Pong has a policy of its own: RIGHT moves its paddle up and LEFT down.
        pong = environment.object_names == ["ball", "player", "enemy"]
        actions = environment.actions.chosen if pong else []
        weights = action_weights(settings.get("weights"), environment.action_meanings or [])
        if weights is not None or not {"NOOP", "RIGHT", "LEFT"} <= set(actions):
            return HeldRandom(count, settings["hold"], rng, weights=weights)
        up, down, stay = (actions.index(name) for name in ("RIGHT", "LEFT", "NOOP"))
        margin, walls = settings["wall_margin"], environment.objects.field[:2]
        blocked = None if margin is None else moving_on_to_a_wall(up, down, *walls, margin)
        random = HeldRandom(count, settings["hold"], rng, blocked)
        follow = FollowBall(up, down, stay, settings["follow_noise"], random, rng)
        return Mixture(follow, random, settings["follow_share"], settings["segment"], rng)

    def record(self, path: str | Path, split: str, num_frames: int, progress: Callable[[int], None]) -> None:
        """Writes `num_frames` frames or states to `path`; the last episode is cut when they are reached. `progress` is
        called with the number of new rows. The file appears when it is complete."""
        environment, shape = self.environment, self.environment.observation_shape
        frames = environment.observes == "frames"
        with EpisodeWriter(
            path, (shape[0], shape[1]) if frames else None, environment.id, environment.fps,
            environment.action_meanings, environment.object_names, state_size=None if frames else shape[0],
            action_size=len(self.no_action) if self.continuous else None, recorder=self.origin,
        ) as writer:  # fmt: skip
            episode = 0
            while writer.num_frames < num_frames:
                with in_episode(f"{split}, episode {episode}"):
                    self._episode(writer, split, episode, num_frames - writer.num_frames, progress)
                episode += 1

    def _episode(self, writer: EpisodeWriter, split: str, episode: int, max_frames: int, progress) -> None:
        environment, seed = self.environment, episode_seed(self.seed, split, episode)
        if self.levels is not None:
            seed = level_seed(self.levels, split, self.seed, episode)
        draws = fold_in(self.seed, Stream.RECORDING_POLICY, SPLITS.index(split), episode)
        policy = self._policy(np.random.default_rng(draws))
        observation = environment.reset(seed)
        if self.agent is not None:
            self.agent.reset(observation, draws)
        max_steps = min(self.max_episode_steps, max_frames - 1)
        rows: list[tuple] = []
        step, ended = 0, max_steps == 0
        while not ended:
            boxes = self._boxes()
            action = policy.act(boxes) if self.agent is None else self.agent.act()
            following, reward, terminal, truncated = environment.step(action)
            if self.agent is not None:
                self.agent.observe(action, following)
            step += 1
            truncated = (truncated or step >= max_steps) and not terminal
            rows.append((observation, boxes, action, reward, terminal, truncated))
            observation, ended = following, terminal or truncated
            if len(rows) == BATCH_FRAMES:
                self._write(writer, rows, progress)
        rows.append((observation, self._boxes(), self.no_action, 0.0, False, False))  # the final observation
        self._write(writer, rows, progress)
        writer.end_episode(seed=seed)

    def _boxes(self) -> np.ndarray | None:
        environment = cast(GymnasiumEnvironment, self.environment)
        return environment.boxes() if environment.object_names else None

    def _write(self, writer: EpisodeWriter, rows: list[tuple], progress) -> None:
        observations, boxes, actions, rewards, terminals, truncations = zip(*rows, strict=True)
        columns = {
            self.environment.observes: np.stack(observations),
            "actions": np.asarray(actions, dtype=self.no_action.dtype),
            "rewards": np.asarray(rewards, dtype=np.float32),
            "terminals": np.asarray(terminals, dtype=np.bool_),
            "truncations": np.asarray(truncations, dtype=np.bool_),
        }
        if writer.object_names:
            environment = cast(GymnasiumEnvironment, self.environment)
            columns["objects"] = np.stack([environment.places(one) for one in boxes])
        writer.append(**columns)
        progress(len(rows))
        rows.clear()


def episode_seed(seed: int, split: str, episode: int) -> int:
    """The seed of the reset for an episode of a recording with the seed `data.recorder.seed`."""
    return fold_in(seed, Stream.RECORDED_EPISODE, SPLITS.index(split), episode) % 2**31


def level_seed(levels: dict[str, list[int]], split: str, seed: int, episode: int) -> int:
    """The level of an episode: those of the split in order, from the first one with the seed 0."""
    first, count = levels[split]
    begin = fold_in(seed, Stream.RECORDED_EPISODE) if seed else 0  # another recording, other levels
    return first + (begin + episode) % count


def action_weights(weights: dict[str, float] | None, names: list[str]) -> np.ndarray | None:
    """How often random play draws each action, float [A], from `data.recorder.policy.weights`: an action that is not
    named there is never drawn. UserError for names that there are not, and for weights that are all 0."""
    if weights is None:
        return None
    if unknown := [name for name in weights if name not in names]:
        raise UserError(
            f"data.recorder.policy.weights: there is no action {unknown[0]!r}; there is: {', '.join(names) or 'none'}"
        )
    given = np.array([weights.get(name, 0.0) for name in names])
    if given.sum() <= 0:
        raise UserError("data.recorder.policy.weights: no action has a weight above 0, so that none could be drawn")
    return given


def check_levels(levels: dict[str, list[int]] | None) -> None:
    """Raises UserError for splits that share levels."""
    ranges = sorted((first, first + count, split) for split, (first, count) in (levels or {}).items())
    for (_, end, split), (first, _, other) in pairwise(ranges):
        if first < end:
            raise UserError(
                f"data.recorder.levels: {split} and {other} share the levels from {first} on: give each split [first "
                "level, number of levels] of its own"
            )


def check_groups(groups: dict[str, list[str]] | None, names: list[str]) -> None:
    """Raises UserError for a group of actions with one that the recording does not name, or that is in another one."""
    seen: dict[str, str] = {}
    for group, members in (groups or {}).items():
        for name in members:
            if name not in names:
                raise UserError(
                    f"data.recorder.action_groups.{group}: there is no action {name!r}; there is: {', '.join(names)}"
                )
            if name in seen:
                raise UserError(f"data.recorder.action_groups: {name!r} is in {seen[name]} and in {group}")
            seen[name] = group


def build_recorder(settings: dict, image_size: tuple[int, int]) -> EpisodeRecorder:
    """The recorder that a `data.recorder` group describes. Raises UserError where there is no such environment."""
    origin = {name: settings[name] for name in REPLAYED if name in settings}
    own = {name: settings[name] for name in ("max_episode_steps", "policy", "seed")}
    check_levels(settings.get("levels"))  # before the environment is made
    environment = open_environment(settings, image_size)
    check_groups(settings.get("action_groups"), environment.action_meanings or [])
    action_weights(settings["policy"].get("weights"), environment.action_meanings or [])
    return EpisodeRecorder(environment, **own, origin=origin, levels=settings.get("levels"))
