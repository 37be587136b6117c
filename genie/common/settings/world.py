"""Keys of trained models at work: the groups sampler, planner, text_to_image, and what a prompt may be."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from genie.common.settings.data import Fit
from genie.common.settings.kinds import (
    LEFT_OUT,
    Count,
    Flag,
    FromOne,
    FromZero,
    Keys,
    NotNegative,
    Positive,
    Range,
    Settings,
    Share,
    SomeShare,
    Text,
)

Order = Literal["confidence", "random"]
LEAST_CANDIDATES = 4  # two of them may not be drawn: the best so far and the distribution's mode


class SamplerValues(Settings):
    """The group `sampler` of a preset: how its worlds are sampled where nothing else is given."""

    steps: Count
    temperature: NotNegative
    order: Order | None = LEFT_OUT
    entropy_bound: NotNegative | None = LEFT_OUT


class Sampled(Settings):
    """Keys of conf/sampler/, which are keys of the command itself."""

    new_sampler: Flag
    steps: Count | None
    temperature: NotNegative | None
    order: Order | None
    entropy_bound: NotNegative | None


class TextToImage(Settings):
    model: Text | None
    steps: Count
    guidance: NotNegative
    dtype: Literal["float32", "float16", "bfloat16"]


def _maker(group: Any) -> str:
    ours = isinstance(group, dict) and str(group.get("_target_", "genie.")).startswith("genie.")
    return "ours" if ours or not isinstance(group, dict) else "another"


# another class than ours takes keys of its own
AnyTextToImage = Annotated[Annotated[TextToImage, Tag("ours")] | Annotated[Keys, Tag("another")], Discriminator(_maker)]


class Prompted(Sampled):
    """Keys of conf/prompt.yaml."""

    prompt: Text | None
    prompt_frames: Count
    prompt_kind: Literal["auto", "sketch", "text"]
    prompt_clip: FromZero
    prompt_fit: Fit | None
    prompt_palette: list[Any] | None
    text_model: Text | None
    text_to_image: AnyTextToImage


class Search(Settings):
    """Settings of every optimiser of plans: conf/planner/random_shooting.yaml."""

    name: Literal["random_shooting"]
    horizon: Count
    candidates: Annotated[int, BeforeValidator(Range(LEAST_CANDIDATES))]
    particles: Count
    common_noise: Flag
    hold: FromOne
    colour: NotNegative
    discount: Share
    effort: NotNegative
    change: NotNegative
    end: NotNegative
    uncertainty: NotNegative
    seconds: NotNegative | None
    batch_size: Count


class RefinedSearch(Search):
    """Settings of the optimisers of several iterations."""

    iterations: Count
    std: Positive
    smoothing: Share
    warm_start: Share


class CemSearch(RefinedSearch):
    name: Literal["cem"]
    elites: SomeShare
    momentum: Share
    min_std: NotNegative


class MppiSearch(RefinedSearch):
    name: Literal["mppi"]
    temperature: Positive


Optimizer = Annotated[Search | CemSearch | MppiSearch, Field(discriminator="name")]


class ReplannedSearch(Settings):
    name: Literal["mpc"]
    optimizer: Optimizer
    execute: Count


AnyPlanner = Annotated[Search | CemSearch | MppiSearch | ReplannedSearch, Field(discriminator="name")]
