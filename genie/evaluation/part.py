"""Part of an evaluation: what it needs, what it measures, and how its metrics are shown.

`genie.evaluation.parts` lists the parts; each is declared in the module that measures it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.held_out_clips import Clips, held_out
from genie.common.errors import UserError
from genie.common.settings.evaluation import EvaluateConfig
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.metric_info import MetricInfo
from genie.world.protocol import World

if TYPE_CHECKING:
    from genie.evaluation.imagination import ImaginedClips

Row = tuple[str, str, str, str, str]  # of the printed table: metric, value, copy of the last one, background, note


@dataclass
class Evaluation:
    """What the parts of one evaluation share.

    Attributes:
        config: the configuration `evaluate` of this run.
        clips: held-out clips of the data of Genie's newest stage.
        imagined: the chosen world on held-out clips of its own data.
        folder: for pictures and videos.
        figures: the metrics so far, as in evaluation.json.
    """

    config: EvaluateConfig
    run: TrainedRun
    clips: Clips
    imagined: "ImaginedClips"
    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)

    def held_out(self, data: dict[str, Any], count: int, length: int, tails: bool = False) -> Clips:
        """Clips of another length than `clips` (`held_out_clips.held_out`); LeftOut where there are none."""
        try:
            return held_out(self.config, data, count, length, tails)
        except UserError as error:
            raise LeftOut(str(error)) from error


@dataclass(frozen=True)
class Part:
    """A part of the evaluation.

    Attributes:
        name: as in the key `parts`.
        measure: returns the metrics by their groups in evaluation.json, and if need be `cost` and `left_out` of its
            own. Raises LeftOut where nothing can be measured.
        needs: keys of `NEEDS`. A part is left out for the first one that is missing.
        check: raises UserError for values of the configuration that exclude each other.
        metrics: that it measures.
        titles: of its groups.
        rows: of the contents of an evaluation.json: the part's rows of the printed table.
        optional: paths of what may be missing from the metrics -> the reason.
    """

    name: str
    measure: Callable[[Evaluation], dict[str, Any]]
    needs: tuple[str, ...] = ()
    check: Callable[[EvaluateConfig], Any] = lambda config: None
    metrics: tuple[MetricInfo, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    rows: Callable[[dict[str, Any]], list[Row]] = lambda report: []
    optional: Mapping[str, str] = field(default_factory=dict)


def _genie(evaluation: Evaluation) -> None:
    if not evaluation.run.genie_checkpoints:
        raise LeftOut(f"{evaluation.run.run} holds none of Genie's stages")


def _objects(evaluation: Evaluation) -> None:
    if not evaluation.clips.has_objects:
        raise LeftOut("the data record no object positions")


# what a part may need -> raises LeftOut where the run, or its data, do not have it
NEEDS: dict[str, Callable[[Evaluation], Any]] = {
    "genie": _genie,
    "tokenizer": lambda evaluation: evaluation.run.tokenizer,
    "lam": lambda evaluation: evaluation.run.lam,
    "dynamics": lambda evaluation: evaluation.run.world,
    "world": lambda evaluation: evaluation.imagined.world,
    "rewards": lambda evaluation: require_rewards(evaluation.imagined.world),
    "objects": _objects,
}


def require_rewards(world: World) -> None:
    """Raises LeftOut for a world that knows neither rewards nor ends."""
    if not (world.knows_rewards or world.knows_ends):
        raise LeftOut("the world knows no rewards: train them with `python -m genie.train stage=reward`")


def number(value: float | None, digits: int = 2, none: str = "∞") -> str:
    """`none` stands for a number that is not finite: in dB the PSNR of two equal videos."""
    return none if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.00"


def percent(share: float | None) -> str:
    """Of a share in [0, 1]; None: a share of nothing, as of the frames with a ball in clips without one."""
    return "not measured" if share is None else f"{share:.1%}"


def compared(label: str, figures: dict, name: str, end: str = "", digits: int = 2, note: str = "") -> Row:
    """The row of a metric and of its two baselines."""
    values = [figures[f"{name}{baseline}{end}"] for baseline in ("", "_copy_last", "_background")]
    return (label, *(number(value, digits) for value in values), note)


def usage(label: str, figures: dict) -> Row:
    """The row of a codebook."""
    return label, percent(figures["codebook_usage"]), "", "", f"perplexity {figures['codebook_perplexity']:.1f}"
