"""Ranges of configuration values, valid for every command: numbers, names of folders, and places.

Types of values (a number, a list, a boolean) are those of the defaults (`config_types`). What only one command can
validate is checked there. Limits are those of the arithmetic and the libraries, not of what is sensible.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genie.common.errors import UserError

LONGEST_NAME = 200  # bytes of a folder's name: file systems take 255, and temporary names are longer than it


@dataclass(frozen=True)
class Number:
    """A range from `least` (exclusive with `above`) to `most` (exclusive with `below`)."""

    least: float = -math.inf
    most: float = math.inf
    whole: bool = True
    above: bool = False
    below: bool = False
    null: bool = False  # may also be null

    def takes(self, value: float) -> bool:
        if not math.isfinite(value) or self.whole and value != int(value):
            return False
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.least:g}" if self.above else f"of at least {self.least:g}"
        if self.most == math.inf:
            range_ = "" if self.least == -math.inf else f" {low}"
        elif self.below or self.above:
            range_ = f" {low} and {'below' if self.below else 'at most'} {self.most:g}"
        else:
            range_ = f" from {self.least:g} to {int(self.most) if self.whole else f'{self.most:g}'}"
        return f"{kind}{range_}"  # of null the command says more: for some of these keys it has no meaning


SEED = Number(0, 2**32 - 1)  # what NumPy and Lightning take
DEPTH, DEPTH_OR_NONE = Number(1, 10_000), Number(1, 10_000, null=True)  # layers, each of which takes time to make
COUNT, COUNT_OR_NONE = Number(1), Number(1, null=True)
FROM_ZERO, FROM_ZERO_OR_NULL = Number(0), Number(0, null=True)
POSITIVE = Number(0, whole=False, above=True)
NOT_NEGATIVE = Number(0, whole=False)
SHARE = Number(0, 1, whole=False)
DECAY = Number(0, 1, whole=False, below=True)
RATE = Number(0, 1000, whole=False, above=True, null=True)  # frames a second
SIDE = Number(1, 2**14)  # pixels of a frame's side
SHARE_OR_NULL = Number(0, 1, whole=False, null=True)
NOT_NEGATIVE_OR_NULL = Number(0, whole=False, null=True)

# by the whole key, or "*." and its last part; of a list, each of its numbers
NUMBERS = {
    "*.seed": SEED,
    "seeds": SEED,
    # data
    "data.image_size": SIDE,
    "data.num_frames": COUNT,
    "data.stride": COUNT,
    "data.past_end": FROM_ZERO,
    "data.batch_size": COUNT,
    "data.val_batch_size": COUNT_OR_NONE,
    "data.val_clips": COUNT_OR_NONE,
    "data.num_workers": Number(0, 1024),
    "data.fps": RATE,
    "data.holdout": Number(0, 0.5, whole=False, above=True, below=True),
    "data.recorder.fps": RATE,
    "data.recorder.max_episode_steps": COUNT_OR_NONE,
    "data.recorder.num_frames.train": COUNT,
    "data.recorder.num_frames.val": COUNT,
    "data.recorder.num_frames.test": COUNT,
    "num_workers": Number(0, 1024, null=True),
    # training
    "trainer.max_steps": COUNT,
    "trainer.accumulate": COUNT,
    "trainer.gradient_clip_val": Number(0, whole=False, null=True),
    "trainer.val_check_interval": COUNT,
    "trainer.limit_val_batches": NOT_NEGATIVE,
    "trainer.log_every_n_steps": COUNT,
    "optimizer.lr": POSITIVE,
    "optimizer.betas": DECAY,
    "optimizer.eps": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.momentum": DECAY,
    "optimizer.newton_schulz_steps": COUNT,
    "schedule.warmup_steps": FROM_ZERO,
    "schedule.min_lr": NOT_NEGATIVE,
    "callbacks.checkpoint.every_n_train_steps": COUNT,
    "callbacks.checkpoint.keep": COUNT,
    "callbacks.ema.decay": DECAY,
    "callbacks.progress.refresh_seconds": NOT_NEGATIVE,
    "callbacks.progress.line_seconds": NOT_NEGATIVE,
    "stage.mask_rate": SHARE,
    "*.stability_weight": NOT_NEGATIVE,
    "*.stability_tolerance": NOT_NEGATIVE,
    "stage.whole_frames": SHARE,
    "stage.clean_prefix": SHARE,
    "stage.corruption": SHARE,
    "stage.change_weight": NOT_NEGATIVE,
    "stage.distance_weight": NOT_NEGATIVE,
    "*.places": Number(0, 1, whole=False, above=True),
    "stage.own_draws": SHARE,
    "stage.own_draws_from": SHARE,
    # presets: what is trained how long
    "*.lr": POSITIVE,
    "*.muon_lr": POSITIVE,
    "*.min_lr": NOT_NEGATIVE,
    "*.beta2": DECAY,
    "*.max_steps": COUNT_OR_NONE,
    "*.warmup_steps": FROM_ZERO,
    "*.num_frames": COUNT,
    "*.batch_size": COUNT,
    # sizes of models
    "model.image_size": SIDE,
    "*.width": COUNT,
    "*.num_blocks": DEPTH,
    "*.num_heads": COUNT,
    "*.num_layers": DEPTH,
    "*.num_channels": COUNT,
    "*.num_codes": COUNT,
    "*.num_actions": COUNT_OR_NONE,
    "*.levels": COUNT,
    "*.head_dim": COUNT_OR_NONE,
    "*.latent_dim": COUNT,
    "*.patch_size": COUNT,
    "*.decoder_blocks": DEPTH_OR_NONE,
    "*.decoder_heads": COUNT_OR_NONE,
    "*.decoder_width": COUNT_OR_NONE,
    # sampling
    "sampler.steps": COUNT,
    "sampler.temperature": NOT_NEGATIVE,
    "temperature": Number(0, whole=False, null=True),
}
# the same by range: numbers that one command, part or objective has. Whether it takes null it says itself
NUMBERS |= {
    key: range_
    for range_, keys in {
        COUNT_OR_NONE: """
            data.recorder.policy.segment callbacks.bad_steps.max_in_a_row callbacks.bad_steps.window
            callbacks.rollouts.delta_psnr_t callbacks.rollouts.horizon callbacks.rollouts.num_clips
            callbacks.rollouts.prompt_frames collect.frames.test collect.frames.train collect.frames.val
            delta_psnr.t delta_psnr.seeds fvd.frames fvd.videos grid.frames grid.prompts horizon num_clips
            prompt_frames reward.clips side_by_side.clips side_by_side.horizon
            imagination.batches imagination.branches imagination.horizon imagination.horizons imagination_horizon
            long_rollout.frames long_rollout.worlds planning.candidates planning.episodes planning.horizon
            act.episodes act.horizon act.labels act.parallel act.max_steps
            planner.candidates planner.execute planner.horizon planner.iterations planner.particles
            planner.batch_size planner.optimizer.candidates planner.optimizer.horizon planner.optimizer.iterations
            planner.optimizer.particles planner.optimizer.batch_size policy.horizon simulator.imagination_horizon
            *.num_bins *.channels *.classes *.deterministic *.groups
            draws episodes parallel labels enough pairs label.candidates label.enough
            num_pictures picture_size sheet.columns sheet.rows rounds shard_frames scale steps
            play.max_frames play.max_sessions play.max_upload play.threads
            stage.context stage.horizon text_to_image.steps trainer.num_nodes
        """,
        DEPTH_OR_NONE: "*.head_layers *.num_members",
        FROM_ZERO_OR_NULL: """
            data.recorder.crop data.recorder.policy.wall_margin callbacks.bad_steps.max_rollbacks
            callbacks.rollouts.every_n_train_steps callbacks.rollouts.fvd_videos callbacks.rollouts.grid_frames
            callbacks.rollouts.keep_videos act.videos long_rollout.fvd num_videos prompt_clip play.idle
            more_steps.cotrain more_steps.dynamics more_steps.lam more_steps.policy more_steps.reward
            more_steps.simulator more_steps.tokenizer *.action_free_steps *.move_columns *.move_rows *.past_end
            *.past_transitions
        """,
        Number(0, 65535, null=True): "play.port label.port page.port",
        Number(null=True): "data.actions.offset",
        Number(-1, null=True): "trainer.devices",
        SHARE_OR_NULL: """
            data.augmentation.crop data.augmentation.shift data.augmentation.brightness data.augmentation.contrast
            data.augmentation.saturation data.augmentation.hue data.recorder.policy.follow_noise
            data.recorder.policy.follow_share data.videos.cut_threshold collect.explore
            planner.elites planner.momentum planner.smoothing planner.warm_start planner.optimizer.elites
            planner.optimizer.momentum planner.optimizer.smoothing planner.optimizer.warm_start *.discount
            reward.label_noise policy.mixing policy.range_decay policy.slow_decay schedule.decay_share
            simulator.model.uniform *.clean_prefix *.corruption *.own_draws *.own_draws_from
            *.places_until *.rare_share
        """,
        NOT_NEGATIVE_OR_NULL: """
            data.recorder.policy.spread *.foreground_weight *.change_weight *.distance_weight *.quantizer_weight
            *.continue_weight *.margin *.pessimism min_quality entropy_bound sampler.entropy_bound *.min_std
            *.std *.colour *.temperature *.free_nats policy.critic_weight policy.entropy_weight
            policy.least_range policy.slow_weight text_to_image.guidance simulator.objective.continues
            simulator.objective.dynamics simulator.objective.imagination simulator.objective.kl
            simulator.objective.reconstruction simulator.objective.reward simulator.objective.smoothness
            simulator.objective.stability simulator.objective.constraint
        """,
        Number(whole=False, null=True): "*.change *.effort *.end",
        Number(1, whole=False, null=True): "data.recorder.policy.hold planner.hold planner.optimizer.hold "
        "long_rollout.hold",
        Number(0, whole=False, above=True, null=True): """
            callbacks.bad_steps.explosion_factor play.idle_seconds *.limit hardware.flops
            hardware.memory_gib planner.seconds
        """,
        Number(0, 1, whole=False, above=True, null=True): "hardware.utilization",
        RATE: "fps callbacks.rollouts.fps",
    }.items()
    for key in keys.split()
}
NAMES = (
    "data.name",
    "name",
    "act.name",
    "ablation.name",
)  # become folders; where the last two are null, they get a name
MAY_HAVE_NONE = ("act.name", "ablation.name")
SIZES = ("data.image_size", "model.image_size")
PLACES = ("output_dir", "run_dir", "run", "output", "data.root")


def check_values(cfg: DictConfig) -> None:
    """Raises `UserError` for the first invalid value. A whole number that was written as 1e5 becomes an int.

    Every number has to be finite. What cannot be resolved here, such as a missing key, is left to the command.
    """
    for key in NAMES:
        _check_name(cfg, key)
    raw = OmegaConf.to_container(cfg)
    for key in PLACES:
        found = select(cfg, key)
        if key in ("output_dir", "run_dir") and key in raw and raw[key] is None:
            raise UserError(f"{key}=null names no folder: give one, such as {key}=outputs")
        for place in found if isinstance(found, ListConfig) else [found]:
            if isinstance(place, str) and not place.strip() or place is None and found is not None:
                raise UserError(f"{key}={_shown(found)} names no folder or file: was a variable of the shell not set?")
            if isinstance(place, str) and (bad := unprintable(place)):
                raise UserError(f"{key}={place!r} holds the character {bad!r}, which no path has")
    for key in SIZES:
        size = select(cfg, key)
        if isinstance(size, ListConfig) and len(size) != 2:
            raise UserError(f"{key}={_shown(size)} must be two whole numbers, [height, width]")
    leaves = list(_leaves(cfg))
    leaves.sort(key=lambda leaf: OmegaConf.is_interpolation(*leaf[:2]))  # where a value is given, then who refers to it
    for node, name, key in leaves:
        _check_number(node, name, key)


def check_name(key: str, name: Any) -> None:
    """Raises `UserError` where a name is not a valid relative folder, which may have several parts: pong/small."""
    text = "null" if name is None else str(name)
    problem = None
    if name is None or not text.strip():
        problem = "is no name: was a variable of the shell not set?"
    elif bad := unprintable(text):
        problem = f"holds the character {bad!r}"
    elif text.startswith(("/", "~")) or ":\\" in text or any(part in ("", ".", "..") for part in text.split("/")):
        problem = "leads out of the folder that it belongs into: where that is, output_dir= or data.root= say"
    elif any(part != part.strip() for part in text.split("/")):
        problem = "begins or ends with a space"
    elif any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        problem = f"is too long for a folder: {len(text.encode())} bytes, and {LONGEST_NAME} can be"
    if problem:
        shown = repr(text) if unprintable(text) or text != text.strip() else text
        raise UserError(f"{key}={_short(shown)} {problem}; give a name such as {key}=pong")


def unprintable(text: str) -> str | None:
    """The first control character or lone surrogate of a text."""
    return next((char for char in text if ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000), None)


def range_of(key: str) -> Number | None:
    return NUMBERS.get(key) or NUMBERS.get(f"*.{key.rpartition('.')[2]}")


def _check_name(cfg: DictConfig, key: str) -> None:
    parent = select(cfg, key.rpartition(".")[0]) if "." in key else cfg
    if not isinstance(parent, DictConfig) or (part := key.rpartition(".")[2]) not in parent:
        return
    name = select(cfg, key)
    if name is None and (key in MAY_HAVE_NONE or OmegaConf.is_missing(parent, part)):
        return
    check_name(key, name)
    if not isinstance(name, str) and not OmegaConf.is_interpolation(parent, part):
        OmegaConf.update(cfg, key, str(name))  # name=2026


def _check_number(node: DictConfig | ListConfig, name: str | int, key: str) -> None:
    value, range_ = node[name], range_of(key)
    if value is None:
        if range_ is not None and not range_.null:
            raise UserError(f"{key}=null must be {range_}")
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    shown = node if isinstance(node, ListConfig) else value
    if range_ is None:
        if not math.isfinite(value):
            raise UserError(f"{key}={_shown(shown)} must be a finite number")
        return
    if not range_.takes(value):
        raise UserError(f"{key}={_shown(shown)}{': each' if shown is node else ''} must be {range_}")
    if range_.whole and isinstance(value, float) and not OmegaConf.is_interpolation(node, name):
        node[name] = int(value)


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[DictConfig | ListConfig, str | int, str]]:
    """(container, key or index in it, dotted key) of every value that can be resolved here."""
    if node is None:
        return
    for name in node if isinstance(node, DictConfig) else range(len(node)):
        key = prefix if isinstance(node, ListConfig) else f"{prefix}.{name}" if prefix else str(name)
        if key == "hydra":
            continue
        try:
            if OmegaConf.is_missing(node, name):
                continue
            child = node[name]
        except OmegaConfBaseException:
            continue
        if OmegaConf.is_config(child):
            yield from _leaves(child, key)
        else:
            yield node, name, key


def select(cfg: DictConfig, key: str) -> Any:
    """The value of a key; None where it is a reference that only another command can resolve."""
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None


def _shown(value: Any) -> str:
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return str(plain).replace(" ", "")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}…{text[-10:]}"
