"""Report page of runs: one HTML file of what is on disk; no model is loaded or run.

The exact value of a number is in its element, `<data value=…>`. What is missing is listed with the reason. Everything
that is not ours is escaped by the templates.
"""

import json
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from genie.common.cli import wants_trace
from genie.common.config_errors import one_line
from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.profiling import now
from genie.common.tables import short
from genie.evaluation.catalogue import evaluated_metrics
from genie.evaluation.evaluate import Evaluated
from genie.evaluation.parts import PARTS
from genie.metrics.metric_info import Definition
from genie.publishing.report_curves import color, delta_psnr_chart, horizon_charts, training_charts
from genie.publishing.report_figures import GROUPS, Group, MetricRow, groups
from genie.publishing.report_media import Medium, media
from genie.runs.folder import flatten
from genie.runs.metrics_file import read_record
from genie.stages import STAGES, new_stage

# keys that differ between any two runs or say how a command was given; and the recipes of all stages, whose values each
# stage has in its own keys
NOT_DIFFERENCES = ("name", "run_dir", "output_dir", "tokenizer_ckpt", "lam_ckpt", "resume", "overwrite", "recipe")
# metrics of the cards, of each line the first that was measured; {worst} is the object that survives least
CARDS = (
    ("tokenizer.psnr",),
    ("objects.{worst}.survival",),
    ("lam.action_accuracy", "lam.psnr"),
    ("rollout.psnr_mean",),
    ("delta_psnr.t4", "delta_psnr.t2", "delta_psnr.t1"),
    ("fvd.value",),
    ("prediction.state_error_mean", "prediction.pixel_error_mean"),
    ("reward.reached.recall_positive", "reward.reached.return_pearson_correlation"),
)
# settings of the measurement that runs must share to be ranked
CLIPS = ("split", "clips", "prompt_frames", "horizon")
FACTS = ("world", "split", "clips", "frames", "prompt_frames", "horizon", "sampler", "seed", "device", "precision")


@dataclass
class Sizes:
    """Parameters by part, tokens per frame, FLOPs of a forward pass on one clip of `num_frames` frames."""

    parameters: dict[str, int]
    tokens_per_frame: int
    flops: int
    num_frames: int


@dataclass
class StageResults:
    """One trained stage: `metrics` is its metrics.csv, `record` the contents of its run.json."""

    name: str
    config: dict[str, Any]
    metrics: Path
    record: dict[str, Any]
    sizes: Sizes | None
    why_no_sizes: str = ""


def draw_report(runs: list[Evaluated], folder: Path) -> None:
    """Writes report.html into `folder` and prints its path. An error becomes one line on stderr: evaluation.json is
    written by then."""
    path = folder / "report.html"
    try:
        html = render(runs)
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(html)
    except Exception as error:
        if wants_trace():
            raise
        reason = f"{type(error).__name__}: {one_line(error)}"
        print(f"warning: {path} could not be drawn ({reason}); evaluation.json is complete", file=sys.stderr)
        return
    print(f"report: {path}")


def render(runs: list[Evaluated]) -> str:
    """The HTML of the report about one run, or of the comparison of several."""
    environment = Environment(
        loader=PackageLoader("genie.publishing"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    for name in ("number", "plain", "amount", "duration", "day"):
        environment.filters[name] = globals()[name]
    return environment.get_template("report.html").render(**contents(runs))


def contents(runs: list[Evaluated]) -> dict[str, Any]:
    """Variables of the templates."""
    trained = [stages(run) for run in runs]
    shown = [media(run.folder) for run in runs]
    evaluations = [(run.name, run.values) for run in runs]
    unlike = _unlike(runs, trained)
    parts = groups([run.values for run in runs], comparable=len(runs) > 1 and not unlike)
    horizons = horizon_charts(evaluations)
    confusions = [(run.name, table) for run in runs if (table := _confusion(run))]
    return {
        "runs": runs,
        "colors": [color(index) for index in range(len(runs))],
        "date": now(),
        "unlike": unlike,
        "cards": cards(parts),
        "groups": parts,
        "facts": facts(runs),
        "horizons": horizons,
        "delta_chart": delta_psnr_chart(evaluations),
        "confusions": confusions,
        "media": _by_file(shown, hide=["lam_confusion.png"] if confusions else []),
        "stages": trained,
        "training": training(runs, trained),
        "costs": costs(runs),
        "stage_differences": stage_differences(trained) if len(runs) > 1 else {},
        "setting_differences": differences([_settings(run) for run in runs]),
        "configurations": [[(stage.name, _yaml(stage.config)) for stage in one] for one in trained],
        "settings": [_yaml(_settings(run)) if _settings(run) else "" for run in runs],
        "left_out": [left_out(*one) for one in zip(runs, trained, shown, strict=True)],
        "definitions": definitions(parts, [known for one in horizons for _, _, known, _ in one.values]),
    }


def cards(parts: list[Group]) -> list[tuple[str, MetricRow]]:
    """(title of the group, row) of the most important metrics."""
    rows = {row.path: (group.title, row) for group in parts for row in group.rows}
    survivals = [path for path in rows if path.startswith("objects.") and path.endswith(".survival")]
    worst = min(survivals, key=lambda path: min(cell.value for cell in rows[path][1].cells if cell), default="")
    found = []
    for choices in CARDS:
        paths = [choice.replace("objects.{worst}.survival", worst) for choice in choices]
        found += [rows[path] for path in paths if path in rows][:1]
    return found


def facts(runs: list[Evaluated]) -> list[tuple[str, list[Any]]]:
    """Settings of the measurement: (name, a value for each run)."""
    rows = [(f"{name}, steps", [run.values.get("checkpoints", {}).get(name) for run in runs]) for name in STAGES]
    for name in FACTS:
        values = [run.values.get(name) for run in runs]
        if any(isinstance(value, dict) for value in values):
            keys = dict.fromkeys(key for value in values for key in value or {})
            rows += [(f"{name}, {key.replace('_', ' ')}", [(value or {}).get(key) for value in values]) for key in keys]
        else:
            rows.append((name.replace("_", " "), values))
    return [(name, values) for name, values in rows if any(value is not None for value in values)]


def training(runs: list[Evaluated], trained: list[list[StageResults]]) -> list[tuple[str, list]]:
    """(stage, its charts) of stages with metrics."""
    found = []
    for name in STAGES:
        metrics = [(run.name, stage.metrics) for run, one in zip(runs, trained, strict=True) for stage in one
                   if stage.name == name]  # fmt: skip
        if charts := training_charts(metrics):
            found.append((name, charts))
    return found


def costs(runs: list[Evaluated]) -> dict[str, dict[str, list[Any]]]:
    """Cost of the evaluation: by part and kind of cost, a value for each run."""
    known = [run.values.get("cost", {}) for run in runs]
    parts = dict.fromkeys(part for one in known for part in one)
    names = dict.fromkeys(name for one in known for part in one.values() for name in part)
    return {part: {name: [one.get(part, {}).get(name) for one in known] for name in names} for part in parts}


def definitions(parts: list[Group], more: list) -> list[Definition]:
    """The definitions of the metrics, in the order of the catalogue."""
    used = [row.meaning.definition for group in parts for row in group.rows] + [known.definition for known in more]
    known = dict.fromkeys(metric.definition for metric in evaluated_metrics() if metric.definition)
    return [definition for definition in known if definition in used]


def _unlike(runs: list[Evaluated], trained: list[list[StageResults]]) -> list[tuple[str, list[Any]]]:
    """Differences between the clips of the runs: (name, a value for each run); [] where the runs are comparable."""
    values = [(name.replace("_", " "), [run.values.get(name) for run in runs]) for name in CLIPS]
    roots = [_settings(run).get("data_root") or (one[-1].config["data"]["root"] if one else None)
             for run, one in zip(runs, trained, strict=True)]  # fmt: skip
    return [(name, row) for name, row in [*values, ("data", roots)] if any(value != row[0] for value in row)]


def _by_file(shown: list[list[Medium]], hide: list[str]) -> list[list[tuple[int, Medium]]]:
    """By file: (number of the run, medium) of each run that has it."""
    known = [{medium.file: medium for medium in one if not medium.why_not} for one in shown]
    files = dict.fromkeys(file for one in known for file in one if file not in hide)
    return [[(index, one[file]) for index, one in enumerate(known) if file in one] for file in files]


def _confusion(run: Evaluated) -> dict[str, Any] | None:
    """Names of the true actions; counts and shares of each latent action."""
    counts = run.values.get("lam", {}).get("confusion")
    if not counts:
        return None
    names = run.values.get("true_actions") or [f"true {index}" for index in range(len(counts[0]))]
    return {"names": names, "rows": [[(count, count / max(sum(row), 1)) for count in row] for row in counts]}


def _settings(run: Evaluated) -> dict[str, Any]:
    return run.values.get("provenance", {}).get("settings", {})


def _yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def stages(run: Evaluated) -> list[StageResults]:
    """The stages of a run that have a configuration, in the order of training."""
    found = []
    for name in STAGES:
        folder = run.run / name
        if (folder / "config.yaml").is_file():
            config = yaml.safe_load((folder / "config.yaml").read_text())
            sizes, why = _sizes(config)
            record = read_record(folder / "run.json")
            found.append(StageResults(name, config, folder / "metrics.csv", record, sizes, why))
    return found


def _sizes(config: dict[str, Any]) -> tuple[Sizes | None, str]:
    """The sizes, or None and the reason."""
    return _counted(json.dumps({key: value for key, value in config.items() if key not in NOT_DIFFERENCES}))


@lru_cache(maxsize=64)  # compared runs mostly share models
def _counted(settings: str) -> tuple[Sizes | None, str]:
    config = json.loads(settings)
    try:
        with torch.device("meta"):  # shapes without memory
            stage = new_stage(config)
        parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in stage.parts().items()}
        return Sizes(parameters, stage.tokens_per_frame, stage.example_flops(), config["data"]["num_frames"]), ""
    except (UserError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        return None, f"its configuration does not fit this version of the model ({reason})"


def differences(runs: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Keys of nested settings in which the runs differ, with the values of all (None where a key is missing)."""
    flat = [flatten(run) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key) for one in flat] for key in keys if key.split(".")[0] not in NOT_DIFFERENCES}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def stage_differences(runs: list[list[StageResults]]) -> dict[tuple[str, ...], dict[str, list[Any]]]:
    """Differences of the stages' configurations by key, for each group of stages that have the same ones."""
    found: dict[tuple[str, str], list[str]] = {}
    rows: dict[tuple[str, str], list[Any]] = {}
    for name in STAGES:
        configs = [next((stage.config for stage in run if stage.name == name), {}) for run in runs]
        if not all(configs):
            continue
        for key, values in differences(configs).items():
            found.setdefault((key, repr(values)), []).append(name)
            rows[key, repr(values)] = values
    grouped: dict[tuple[str, ...], dict[str, list[Any]]] = {}
    for (key, shown), names in found.items():
        grouped.setdefault(tuple(names), {})[key] = rows[key, shown]
    return grouped


def left_out(run: Evaluated, stages: list[StageResults], media: list[Medium]) -> list[tuple[str, str]]:
    """(what, reason) for everything of one run that is not shown."""
    reasons = [*run.values.get("left_out", {}).items()]
    reasons += [(part, f"not measured: {why}") for part, why in run.values.get("failed", {}).items()]
    reasons += [(part, why) for part, why in _parts(run) if part not in dict(reasons)]
    if not stages:
        reasons.append(("configuration, sizes and training", f"{run.run} holds no config.yaml of a stage"))
    reasons += [(f"sizes of the {stage.name}", stage.why_no_sizes) for stage in stages if stage.sizes is None]
    for what, missing, why in (
        ("training curves", [stage.name for stage in stages if not stage.metrics.is_file()], "there is no metrics.csv"),
        ("time and memory of training", [stage.name for stage in stages if not stage.record], "there is no run.json"),
    ):
        if missing:
            reasons.append((f"{what} ({', '.join(missing)})", why))
    reasons += [(medium.file, medium.why_not) for medium in media if medium.why_not]
    if not media:
        reasons.append(("videos and pictures", f"{run.folder} holds none"))
    if "cost" not in run.values:
        reasons.append(("time and memory of the evaluation", "evaluation.json does not record them"))
    if "provenance" not in run.values:
        reasons.append(("date, command and versions of the evaluation", "evaluation.json does not record them"))
    return reasons


def _parts(run: Evaluated) -> list[tuple[str, str]]:
    """Parts that were not requested, and groups of metrics that this evaluation lacks."""
    asked = run.values.get("provenance", {}).get("settings", {}).get("parts")
    absent = [] if asked is None else [part.name for part in PARTS if part.name not in asked]
    reasons = [(part, f"not asked for: parts=[{','.join(asked)}]") for part in absent]
    known = {*absent, *run.values.get("left_out", {}), *run.values.get("failed", {})}
    if "rollout" in known:  # what is measured on rollouts goes with them
        known |= {"rollout_objects", "delta_psnr", "fvd"}
    unknown = [title for part, title in GROUPS.items() if part not in {*run.values, *known}]
    return reasons + [(title, "evaluation.json holds no such figures") for title in unknown]


def number(value: Any, unit: str = "", digits: int = 2) -> str:
    """45.883 -> "45.88", 0.459 with the unit "%" -> "45.9". None stands for a number that is not finite: in dB the PSNR
    of equal videos, elsewhere a mean of nothing."""
    if value is None:
        return "∞" if unit == "dB" else "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if unit == "%":
        value *= 100
    if isinstance(value, int):
        digits = 0
    text = f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0: no "-0.00"
    return text.replace("-", "−")


def plain(value: Any) -> str:
    """A setting as it stands on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value)


def amount(value: float) -> str:
    """1138368 -> "1.14 M"."""
    return short(value, 1000, ("", " k", " M", " G", " T", " P"))


def duration(seconds: float) -> str:
    """48.2 -> "48 s", 3725 -> "1 h 02 min", 250 -> "4 min 10 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def day(date: str) -> str:
    """2025-01-31T12:00:00+00:00 -> "2025-01-31 12:00 UTC"."""
    return f"{date[:10]} {date[11:16]} UTC"
