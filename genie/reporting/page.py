"""The page: what is known of the runs, put into the templates. Everything that is not ours is escaped there."""

from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from genie.common.profiling import now
from genie.evaluation.evaluate import Evaluated
from genie.reporting import formats
from genie.reporting.curves import color, delta_psnr_chart, horizon_charts, training_charts
from genie.reporting.definitions import DEFINITIONS
from genie.reporting.figures import Group, Row, groups
from genie.reporting.left_out import left_out
from genie.reporting.media import Medium, media
from genie.reporting.results import StageResults, differences, stage_differences, stages
from genie.stages import STAGES

# figures of the cards, the first that is there of each line; {worst} the object that survives least
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
# how it was measured: without these in common no run is better than another
CLIPS = ("split", "clips", "prompt_frames", "horizon")
FACTS = ("world", "split", "clips", "frames", "prompt_frames", "horizon", "sampler", "seed", "device", "precision")


def render(runs: list[Evaluated]) -> str:
    """The HTML of the report about one run, or of the comparison of several."""
    environment = Environment(
        loader=PackageLoader("genie.reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    for name in ("number", "plain", "amount", "duration", "day"):
        environment.filters[name] = getattr(formats, name)
    return environment.get_template("report.html").render(**contents(runs))


def contents(runs: list[Evaluated]) -> dict[str, Any]:
    """What the templates show, by name."""
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
        "all_definitions": DEFINITIONS,
    }


def cards(parts: list[Group]) -> list[tuple[str, Row]]:
    """(part, row) of the handful of figures that matter most."""
    rows = {row.path: (group.title, row) for group in parts for row in group.rows}
    survivals = [path for path in rows if path.startswith("objects.") and path.endswith(".survival")]
    worst = min(survivals, key=lambda path: min(cell.value for cell in rows[path][1].cells if cell), default="")
    found = []
    for choices in CARDS:
        paths = [choice.replace("objects.{worst}.survival", worst) for choice in choices]
        found += [rows[path] for path in paths if path in rows][:1]
    return found


def facts(runs: list[Evaluated]) -> list[tuple[str, list[Any]]]:
    """How each run was measured: (what, a value for each run)."""
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
    """(stage, its charts), of the stages that have any."""
    found = []
    for name in STAGES:
        metrics = [(run.name, stage.metrics) for run, one in zip(runs, trained, strict=True) for stage in one
                   if stage.name == name]  # fmt: skip
        if charts := training_charts(metrics):
            found.append((name, charts))
    return found


def costs(runs: list[Evaluated]) -> dict[str, dict[str, list[Any]]]:
    """What evaluating took: by part and kind of figure, a value for each run."""
    known = [run.values.get("cost", {}) for run in runs]
    parts = dict.fromkeys(part for one in known for part in one)
    names = dict.fromkeys(name for one in known for part in one.values() for name in part)
    return {part: {name: [one.get(part, {}).get(name) for one in known] for name in names} for part in parts}


def definitions(parts: list[Group], more: list) -> list[str]:
    """Names of the definitions that the figures need, in the order of `DEFINITIONS`."""
    rows = [row for group in parts for row in group.rows]
    used = {row.meaning.definition for row in rows} | {known.definition for known in more}
    return [name for name in DEFINITIONS if name in used]


def _unlike(runs: list[Evaluated], trained: list[list[StageResults]]) -> list[tuple[str, list[Any]]]:
    """How the clips of the runs differ: (what, a value for each run); [] where their figures can be compared."""
    values = [(name.replace("_", " "), [run.values.get(name) for run in runs]) for name in CLIPS]
    roots = [_settings(run).get("data_root") or (one[-1].config["data"]["root"] if one else None)
             for run, one in zip(runs, trained, strict=True)]  # fmt: skip
    return [(name, row) for name, row in [*values, ("data", roots)] if any(value != row[0] for value in row)]


def _by_file(shown: list[list[Medium]], hide: list[str]) -> list[list[tuple[int, Medium]]]:
    """Media by file: (number of the run, medium) of each run that has it."""
    known = [{medium.file: medium for medium in one if not medium.why_not} for one in shown]
    files = dict.fromkeys(file for one in known for file in one if file not in hide)
    return [[(index, one[file]) for index, one in enumerate(known) if file in one] for file in files]


def _confusion(run: Evaluated) -> dict[str, Any] | None:
    """Counts and shares of each latent action, and what the true actions are called."""
    counts = run.values.get("lam", {}).get("confusion")
    if not counts:
        return None
    names = run.values.get("true_actions") or [f"true {index}" for index in range(len(counts[0]))]
    return {"names": names, "rows": [[(count, count / max(sum(row), 1)) for count in row] for row in counts]}


def _settings(run: Evaluated) -> dict[str, Any]:
    return run.values.get("provenance", {}).get("settings", {})


def _yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
