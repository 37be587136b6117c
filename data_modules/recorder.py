"""Records episodes of an environment into the train, validation and test files.

Each episode draws its randomness from (seed, split, number of the episode): a recording is the same frame
by frame for the same settings, and the splits share no episode.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_modules.atari_objects import visible_centres
from data_modules.environments import Box, ScreenEnvironment
from data_modules.episode_file import SPLITS, EpisodeWriter
from data_modules.policies import FollowBall, HeldRandom, Mixture, Policy, moving_on_to_a_wall
from data_modules.resize import AreaResize
from data_modules.seeding import mix
from genie.errors import UserError

BATCH_FRAMES = 64  # frames resized and written at a time: memory stays small, products are large enough to be fast


class EpisodeRecorder:
    """Plays one environment and writes episode files with frames of `image_size` (H, W).

    `crop`: (top, bottom, left, right) of the screen, None for all of it. `max_episode_steps`: a longer
    episode is cut. `policy`: `hold`, `wall_margin`, `follow_share`, `follow_noise`, `segment` (see
    `policies.py`).
    """

    def __init__(
        self,
        environment: ScreenEnvironment,
        image_size: tuple[int, int],
        crop: Box | None,
        fps: float | None,
        max_episode_steps: int,
        policy: dict,
        seed: int,
    ):
        height, width = environment.screen_size
        top, bottom, left, right = crop = tuple(crop or (0, height, 0, width))
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise UserError(
                f"data.recorder.crop={list(crop)} (top, bottom, left, right) is not inside the "
                f"{height}x{width} screen of {environment.id}"
            )
        self.environment, self.image_size, self.crop = environment, tuple(image_size), crop
        self.fps = environment.frame_rate() if fps is None else float(fps)
        self.max_episode_steps, self.policy_settings, self.seed = max_episode_steps, policy, seed
        self.resize = AreaResize((bottom - top, right - left), self.image_size)

    def _policy(self, rng: np.random.Generator) -> Policy:
        settings, environment = self.policy_settings, self.environment
        actions = environment.actions
        # Only Pong is understood: RIGHT moves its paddle up and LEFT down.
        if environment.object_names != ["ball", "player", "enemy"] or not {"NOOP", "RIGHT", "LEFT"} <= set(actions):
            return HeldRandom(len(actions), settings["hold"], rng)
        up, down, stay = (actions.index(name) for name in ("RIGHT", "LEFT", "NOOP"))
        margin, walls = settings["wall_margin"], environment.field[:2]
        blocked = None if margin is None else moving_on_to_a_wall(up, down, *walls, margin)
        random = HeldRandom(len(actions), settings["hold"], rng, blocked)
        follow = FollowBall(up, down, stay, settings["follow_noise"], random, rng)
        return Mixture(follow, random, settings["follow_share"], settings["segment"], rng)

    def record(self, path: str | Path, split: str, num_frames: int, progress: Callable[[int], None]) -> None:
        """Writes `num_frames` frames to `path`; the last episode is cut when they are reached.

        `progress` is called with the number of new frames. The file appears when it is complete.
        """
        environment = self.environment
        with EpisodeWriter(
            path,
            self.image_size,
            environment.id,
            self.fps,
            environment.action_meanings,
            environment.object_names,
        ) as writer:
            episode = 0
            while writer.num_frames < num_frames:
                self._episode(writer, split, episode, num_frames - writer.num_frames, progress)
                episode += 1

    def start(self, split: str, episode: int) -> np.ndarray:
        """Resets the environment to the first screen uint8 [H, W, 3] of an episode: always the same one."""
        return self.environment.reset(seed=mix(*self._seeds(split, episode), 0) % 2**31)

    def pictures(self, screens: list[np.ndarray]) -> np.ndarray:
        """The frames uint8 [N, H, W, 3] that are recorded of N screens."""
        top, bottom, left, right = self.crop
        return self.resize(np.stack([screen[top:bottom, left:right] for screen in screens]))

    def _seeds(self, split: str, episode: int) -> tuple[int, ...]:
        return self.seed, SPLITS.index(split), episode

    def _episode(self, writer: EpisodeWriter, split: str, episode: int, max_frames: int, progress) -> None:
        environment = self.environment
        policy = self._policy(np.random.default_rng(mix(*self._seeds(split, episode), 1)))
        screen = self.start(split, episode)
        max_steps = min(self.max_episode_steps, max_frames - 1)
        rows: list[tuple] = []
        step, ended = 0, max_steps == 0
        while not ended:
            boxes = environment.boxes()
            action = policy.act(boxes)
            next_screen, reward, terminal, truncated = environment.step(action)
            step += 1
            truncated = (truncated or step >= max_steps) and not terminal
            rows.append((screen, boxes, action, reward, terminal, truncated))
            screen, ended = next_screen, terminal or truncated
            if len(rows) == BATCH_FRAMES:
                self._write(writer, rows, progress)
        rows.append((screen, environment.boxes(), 0, 0.0, False, False))  # the final observation
        self._write(writer, rows, progress)
        writer.end_episode()

    def _write(self, writer: EpisodeWriter, rows: list[tuple], progress) -> None:
        screens, boxes, actions, rewards, terminals, truncations = zip(*rows, strict=True)
        columns = {
            "frames": self.pictures(screens),
            "actions": np.asarray(actions, dtype=np.int64),
            "rewards": np.asarray(rewards, dtype=np.float32),
            "terminals": np.asarray(terminals, dtype=np.bool_),
            "truncations": np.asarray(truncations, dtype=np.bool_),
        }
        if writer.object_names:
            field = self.environment.field
            columns["objects"] = np.stack([visible_centres(b, field, self.crop, self.image_size) for b in boxes])
        writer.append(**columns)
        progress(len(rows))
        rows.clear()


def build_recorder(settings: dict, image_size: tuple[int, int]) -> EpisodeRecorder:
    """The recorder that a `data.recorder` group describes. Raises UserError for values that cannot be."""
    _check(settings, image_size)
    env = settings["env"]
    environment = ScreenEnvironment(env["id"], env["kwargs"], settings["actions"], settings["action_names"])
    names = ("crop", "fps", "max_episode_steps", "policy", "seed")
    return EpisodeRecorder(environment, image_size, **{name: settings[name] for name in names})


def _check(settings: dict, image_size: tuple[int, int]) -> None:
    if len(image_size) != 2 or not all(isinstance(size, int) and size > 0 for size in image_size):
        raise UserError(f"data.image_size={list(image_size)} must be two positive whole numbers, [height, width]")
    crop, policy = settings["crop"], settings["policy"]
    if crop is not None and len(crop) != 4:
        raise UserError(f"data.recorder.crop={crop} must be [top, bottom, left, right], or null for the whole screen")
    checks = {f"recorder.num_frames.{split}": (settings["num_frames"][split], 2, None) for split in SPLITS}
    checks |= {
        "recorder.max_episode_steps": (settings["max_episode_steps"], 1, None),
        "recorder.policy.hold": (policy["hold"], 1, None),
        "recorder.policy.segment": (policy["segment"], 1, None),
        "recorder.policy.follow_share": (policy["follow_share"], 0, 1),
        "recorder.policy.follow_noise": (policy["follow_noise"], 0, 1),
    }
    if policy["wall_margin"] is not None:
        checks["recorder.policy.wall_margin"] = (policy["wall_margin"], 0, None)
    for name, (value, low, high) in checks.items():
        if not isinstance(value, int | float) or value < low or (high is not None and value > high):
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"data.{name}={value} must be {allowed}")
