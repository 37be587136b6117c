"""Keys of the group data. conf/data/episodes.yaml explains them, conf/data/pong.yaml those of the recorder."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from genie.common.settings.kinds import (
    LEFT_OUT,
    Count,
    Flag,
    FromOne,
    FromZero,
    Half,
    Inside,
    Keys,
    Name,
    NotNegative,
    Place,
    Range,
    Rate,
    Real,
    Seed,
    Settings,
    Several,
    Share,
    Size,
    Text,
    Whole,
    Word,
    Words,
    Workers,
    invalid,
)

Fit = Literal["squeeze", "pad", "pad_edge", "crop"]
Split = Literal["train", "val", "test"]
Holdout = Annotated[float, BeforeValidator(Range(0, 0.5, whole=False, above=True, below=True))]


class Environment(Settings):
    id: Text | None
    kwargs: Keys | None
    options: Keys | None


class RecordingPolicy(Settings):
    hold: FromOne
    weights: dict[str, NotNegative] | None
    continuous: Literal["held", "smooth"]
    spread: NotNegative
    wall_margin: FromZero | None
    follow_share: Share
    follow_noise: Share
    segment: Count


class Splits(Settings):
    """Frames to record."""

    train: Several
    val: Several
    test: Several


def _levels(value: Any) -> list[int]:
    whole = isinstance(value, list) and len(value) == 2 and all(type(one) is int and one >= 0 for one in value)
    if not whole or value[1] < 1 or sum(value) > 2**31:
        raise invalid("must be [first level, number of levels], whole numbers")
    return value


Levels = Annotated[list[int], BeforeValidator(_levels)]


class LevelSplits(Settings):
    """[first level, number of levels] of each split."""

    train: Levels
    val: Levels
    test: Levels


class Recorder(Settings):
    env: Environment
    observe: Word
    actions: list[Any] | None
    action_names: Words | None
    crop: list[FromZero] | None
    fps: Rate | None
    reset_screen: Flag
    num_frames: Splits
    max_episode_steps: Count
    policy: RecordingPolicy
    levels: LevelSplits | None = LEFT_OUT
    action_groups: dict[str, Words] | None = LEFT_OUT
    seed: Seed


def _clusters(value: Any) -> Any:
    several = isinstance(value, list) and value and all(isinstance(one, list) and one for one in value)
    if value is not None and not (type(value) is int and value >= 2) and not several:
        raise invalid("must be a whole number of at least 2, or the centroids that a training kept")
    return value


class Actions(Settings):
    offset: Whole
    none: Whole | None
    names: Words | None
    count: Count | None
    range: list[list[Real]] | None
    change: Flag
    clusters: Annotated[Any, BeforeValidator(_clusters)]


class Augmentation(Settings):
    crop: Annotated[float, BeforeValidator(Range(0, 0.9, whole=False))]
    shift: Half
    flip: Literal["horizontal", "vertical", None]
    flip_actions: Keys | None
    brightness: Share
    contrast: Share
    saturation: Share
    hue: Half


class Videos(Settings):
    decoder: Literal["auto", "pyav", "decord"]
    cuts: Literal["none", "detect"]
    cut_threshold: Inside
    actions: Literal["auto", "none"] = LEFT_OUT


class Minari(Settings):
    key: Text | None


class Stream(Settings):
    storage_options: Keys | None
    cache: Place | None


class WebDataset(Settings):
    video: Text | None


class LeRobot(Settings):
    camera: Text | None
    action: Text | None
    state: Text | None
    tasks: list[Text] | None


class Data(Settings):
    name: Name
    source: Literal["episodes", "videos", "webdataset", "lerobot", "minari", "stream"]
    root: Place
    image_size: Size
    fit: Fit
    num_frames: Count
    stride: Count
    past_end: FromZero
    actions: Actions | None
    batch_size: Count
    val_batch_size: Count | None
    val_clips: Count | None
    num_workers: Workers
    in_memory: Flag
    seed: Seed
    fps: Rate | None
    holdout: Holdout
    on_error: Literal["skip", "raise"]
    videos: Videos | None
    minari: Minari | None
    stream: Stream | None
    lerobot: LeRobot | None
    webdataset: WebDataset | None
    quality: Place | None
    min_quality: NotNegative | None
    quality_splits: list[Split]
    augmentation: Augmentation | None
    recorder: Recorder | None
