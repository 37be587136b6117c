"""The keys of each command: conf/<command>.yaml, which explains them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from genie.common.settings.data import Data, Split, Splits
from genie.common.settings.evaluation import EvaluateConfig
from genie.common.settings.kinds import (
    Count,
    Flag,
    FromZero,
    Host,
    Keys,
    Name,
    Place,
    Port,
    Range,
    Rate,
    Real,
    Seed,
    Settings,
    Several,
    Share,
    Text,
    Word,
    Words,
    Workers,
    WorldKind,
    invalid,
    whole,
)
from genie.common.settings.training import Hardware, TrainConfig
from genie.common.settings.world import AnyPlanner, Prompted, Sampled

MOST_FRAMES = 1_000_000  # of one generated video: more would take days on any machine
BEST_QUALITY = 5  # ratings are 1 (worst) to 5
LEAST_PICTURE = 32  # pixels, high and wide, of which the last stage of EfficientNet and ResNet leaves one
MOST_EFFECT_FRAMES = 64  # of each action
FASTEST = 120.0  # frames a second that the page can show


def _episodes(value: Any) -> int | list[int]:
    numbers = value if isinstance(value, list) else [value]
    least = 0 if isinstance(value, list) else 1
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= least for one in numbers):
        raise invalid("must be a number of episodes, or a list of episodes counted from 0")
    return value


Episodes = Annotated[int | list[int], BeforeValidator(_episodes)]  # so many, or these, counted from 0


class Page(Settings):
    """Where a page is served."""

    host: Host
    port: Port


class EnvironmentId(Settings):
    id: Text | None


class PipelineConfig(TrainConfig):
    steps: list[Literal["record", "tokenizer", "lam", "dynamics", "cotrain", "reward", "evaluate"]]
    evaluate: Words
    figures: Words


class AblationTable(Settings):
    name: Name | None
    title: Text | None
    compares: Word | None
    variants: dict[str, Words]
    evaluate: Words
    columns: Keys


class AblateConfig(TrainConfig):
    seeds: list[Seed]
    ablation: AblationTable


class MoreSteps(Settings):
    tokenizer: FromZero
    lam: FromZero
    cotrain: FromZero
    dynamics: FromZero
    simulator: FromZero
    reward: FromZero
    policy: FromZero


class Collect(Settings):
    frames: Splits
    explore: Share
    greedy: Flag
    labels: Count


class AgentConfig(TrainConfig):
    rounds: Count
    stages: list[Literal["tokenizer", "lam", "dynamics", "cotrain", "simulator", "reward", "policy"]]
    more_steps: MoreSteps
    training: Words
    overrides: dict[str, Words]
    collect: Collect


class PlanMemoryConfig(TrainConfig):
    hardware: Hardware
    json_: Place | None = Field(alias="json")


class RecordConfig(Settings):
    data: Data
    env: EnvironmentId
    overwrite: Flag
    seed: Seed


class ConvertConfig(Settings):
    videos: Place | None
    output: Place
    format: Literal["episodes", "stream"]
    shard_frames: Count | None
    num_workers: Workers | None
    overwrite: Flag
    seed: Seed
    data: Data


class Sheet(Settings):
    rows: Count
    columns: Count


class InspectConfig(Settings):
    output: Place
    num_clips: Count
    sheet: Sheet
    num_videos: FromZero
    scale: Count | None
    seed: Seed
    data: Data


class ReplayConfig(Settings):
    split: Split | None
    episodes: Episodes | None
    video: Flag
    output: Place
    seed: Seed
    data: Data


class Label(Page):
    candidates: Count
    enough: Count


class CurateConfig(Settings):
    step: Literal["label", "train", "score", None]
    output: Place | None
    labels: Place | None
    head: Place | None
    min_quality: Annotated[float, BeforeValidator(Range(1, BEST_QUALITY, whole=False, above=True))]
    features: Literal["lite0", "resnet18", "none"]
    resnet: Text
    num_pictures: Count
    picture_size: Annotated[int, whole(LEAST_PICTURE)]
    device: Word
    seed: Seed
    data: Data
    label: Label


class RateConfig(Settings):
    run: Place
    kind: WorldKind | None
    ratings: Place | None
    num_frames: Several
    pairs: Count
    enough: Count
    seed: Seed
    page: Page


class Budget(Settings):
    candidates: list[Count]
    horizon: list[Count]


class Acting(Settings):
    policy: Place | None
    name: Name | None
    episodes: Count
    parallel: Count
    max_steps: Count
    success: Real | None
    thresholds: dict[str, Real]
    labels: Count
    horizon: Count
    videos: FromZero
    budget: Budget


class ActConfig(Sampled):
    run: Place
    world: WorldKind | None
    env: EnvironmentId
    agent: Word | None
    act: Acting
    planner: AnyPlanner | None = None
    resume: Flag
    overwrite: Flag
    data_root: Place | None
    seed: Seed
    output: Place | None
    device: Word


class LabelledPolicy(Settings):
    policy: Place | None


class LabelCurveConfig(Settings):
    run: Place
    act: LabelledPolicy
    oracle: Place | None
    labels: list[Count]
    data_root: Place | None
    expert: Place | None
    draws: Count
    episodes: Count
    parallel: Count
    max_steps: Count | None
    greedy: Flag
    seed: Seed
    output: Place | None
    device: Word


class GenerateConfig(Prompted):
    run: Place | None
    replay: Place | None
    save_prompt: Flag
    actions: Any  # the world knows which there are
    hold: Count
    num_frames: Annotated[int, whole(1, MOST_FRAMES)]
    output: Place | None
    save_frames: Flag
    show_actions: Flag
    seed: Seed
    fps: Rate | None
    scale: Count | None
    device: Word


class PlayPage(Page):
    actions: Any
    idle: FromZero | None
    max_sessions: Count
    idle_seconds: Annotated[float, BeforeValidator(Range(0, 1e6, whole=False, above=True))]
    max_frames: Count
    max_upload: Count
    effect_frames: Annotated[int, whole(0, MOST_EFFECT_FRAMES)]
    threads: Count | None


class PlayConfig(Prompted):
    run: Place
    seed: Seed
    fps: Annotated[float, BeforeValidator(Range(0, FASTEST, whole=False, above=True))] | None
    device: Word
    terminal: Flag
    play: PlayPage


class Hub(Settings):
    """Where on the Hugging Face Hub an exported folder goes."""

    repo: Text | None
    private: Flag | None
    revision: Text | None
    dry_run: Flag


class ExportConfig(Settings):
    run: Place | None
    checkpoint: Place | None
    output: Place | None
    dtype: Literal["fp32", "bf16", None]
    data_frames: Count | None
    license: Word | None
    datasets: Words
    overwrite: Flag
    figures: Words
    hub: Hub


class DashboardConfig(Settings):
    entity: Text | None
    project: Text
    title: Text
    report: Flag
    dry_run: Flag
    output: Place | None
    sections: list[Keys]


class DoctorConfig(Settings):
    json_: Flag = Field(alias="json")


COMMANDS: dict[str, type[Settings]] = {
    "train": TrainConfig,
    "pipeline": PipelineConfig,
    "ablate": AblateConfig,
    "agent": AgentConfig,
    "plan_memory": PlanMemoryConfig,
    "record": RecordConfig,
    "convert": ConvertConfig,
    "inspect": InspectConfig,
    "replay": ReplayConfig,
    "curate": CurateConfig,
    "rate": RateConfig,
    "evaluate": EvaluateConfig,
    "act": ActConfig,
    "label_curve": LabelCurveConfig,
    "generate": GenerateConfig,
    "play": PlayConfig,
    "export": ExportConfig,
    "dashboard": DashboardConfig,
    "doctor": DoctorConfig,
}
