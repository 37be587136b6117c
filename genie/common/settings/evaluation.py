"""Keys of `genie.evaluate`."""

from typing import Annotated, Any, Literal

from pydantic import field_validator

from genie.common.settings.data import Split
from genie.common.settings.kinds import (
    Count,
    Flag,
    FromOne,
    FromZero,
    Place,
    Places,
    Rate,
    Seed,
    Settings,
    Several,
    Some,
    SomeShare,
    Word,
    Words,
    WorldKind,
    whole,
)
from genie.common.settings.training import Attention
from genie.common.settings.world import Sampled

MIN_FVD_FRAMES = 9  # of a video: I3D halves T three times, rounded up, and its last pool spans two steps


class DeltaPsnr(Settings):
    t: list[Count]
    seeds: Count


class Fvd(Settings):
    """At most `videos` on each side, of `frames` generated after the prompt; `baselines`: predictions on the same clips
    whose distances are references, as the endings of their names; `resize` of I3D's input."""

    videos: Several
    frames: Annotated[int, whole(MIN_FVD_FRAMES)]
    baselines: list[Literal["copy_last", "background", "random_actions", "reconstruction"]]
    resize: Literal["bilinear", "legacy"]


class Grid(Settings):
    frames: Count
    prompts: Count


class RewardClips(Settings):
    """At most so many `clips`; `discount` of the returns of segments."""

    clips: Count
    discount: SomeShare


class Imagination(Settings):
    """`branches` are imagined for `horizon` steps with each of `batches` branches at a time, then for each of the
    `horizons` in batches of the first size."""

    branches: Count
    horizon: Count
    batches: Some[Count]
    horizons: list[Count]


class SideBySide(Settings):
    clips: Count
    horizon: Count


class LongRollout(Settings):
    """`frames` that each of `worlds` generates under actions that are held for `hold` frames in the mean; FVD of the
    videos that begin with the generated frames number `fvd`, counted from 0."""

    frames: Count
    worlds: Count
    hold: FromOne
    fvd: list[FromZero]


class PlayedPlans(Settings):
    planner: Word
    episodes: Count
    candidates: list[Count]
    horizon: list[Count]
    overrides: Words
    played: Place | None


class EvaluateConfig(Sampled):
    run: Places
    parts: Words  # of a single one the brackets may be left out
    world: WorldKind | None
    split: Split
    data_root: Place | None
    num_clips: Count
    prompt_frames: Count
    horizon: Count
    delta_psnr: DeltaPsnr
    fvd: Fvd
    grid: Grid
    attention: Attention
    reward: RewardClips
    imagination: Imagination
    side_by_side: SideBySide
    long_rollout: LongRollout
    planning: PlayedPlans
    seed: Seed
    batch_size: Count
    output: Place | None
    reuse: Flag
    report: Flag
    fps: Rate
    device: Word

    @field_validator("parts", mode="before")
    @classmethod
    def _one_part(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
