"""Results that the documents show: what is kept of a run in docs/results/<name>.json.

A file holds the figures of an evaluation.json (or of the summary.json of `genie.act`), without what no table shows,
and how they came about: command, date, machine, seed, and the time that the trainings took. docs/results/peers.json is
written by hand: figures that others have published, each with its source.
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from genie.common.errors import UserError
from genie.common.files import plain, read_json, replacing, to_json

FOLDER = Path("docs", "results")
REPORTS = ("evaluation.json", "summary.json")
NOT_KEPT = re.compile(r"run|provenance|cost|left_out|failed|versions|mass.*|distance.*|invented.*|.*_(low|high|spread)")
CURVES = re.compile(r"(psnr.*|present|in_place)_by_horizon")
TRAINED_BY = re.compile(
    r"`(?P<command>[^`]+)`, (?P<minutes>\d+) minutes on (?P<device>.+?) \((?P<threads>\d+) threads?\)"
)


def load(folder: Path = FOLDER) -> SimpleNamespace:
    """All kept results: `load().pong.tokenizer.psnr`."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))}
    return SimpleNamespace(
        **{name: json.loads(text, object_hook=lambda values: SimpleNamespace(**values)) for name, text in texts.items()}
    )


def add(run: Path, name: str, machine: str | None = None, folder: Path = FOLDER) -> Path:
    """Keeps the results of a run folder, of its evaluation in another folder, or of an exported world as `name`;
    returns the file. `machine`: of results that do not name it. Raises UserError."""
    if not re.fullmatch(r"[a-z]\w*", name):
        raise UserError(f"--as {name}: give a name of small letters, digits and _, such as pong_seed_1")
    found = [path for where in ("", "evaluation") for report in REPORTS if (path := run / where / report).is_file()]
    if not found:
        raise UserError(
            f"{run} holds no {' and no '.join(REPORTS)}: evaluate it first (python -m genie.evaluate run={run})"
        )
    report = read_json(found[0])
    if report is None:
        raise UserError(f"{found[0]} is damaged: evaluate the run again")
    how = report.get("provenance", report)
    if "date" not in how:
        raise UserError(
            f"{found[0]} is of an earlier version, which kept no date and no command: evaluate the run again"
        )
    machine = how.get("machine") or machine
    if machine is None:
        raise UserError(f"{found[0]} does not name the machine: give it, --machine 'AMD EPYC, 2 cores'")
    kept = {
        "date": how["date"][:10],  # without the time
        **({"command": how["command"]} if how.get("command") else {}),
        "machine": machine,
        "trained": trainings(found[0].parent),
        **trimmed(report),
    }
    with replacing(folder / f"{name}.json", "w", encoding="utf-8") as file:
        file.write(to_json(plain(kept)))
    return folder / f"{name}.json"


def trimmed(report: dict[str, Any]) -> dict[str, Any]:
    """The figures and settings that a table may show: single values without their intervals, and of curves over the
    horizon PSNR and objects."""
    kept: dict[str, Any] = {}
    for key, value in report.items():
        if NOT_KEPT.fullmatch(key) or value is None:
            continue
        if isinstance(value, dict):
            kept[key] = trimmed(value)
        elif not isinstance(value, list) or CURVES.fullmatch(key):
            kept[key] = value
    return {key: value for key, value in kept.items() if value != {}}


def trainings(evaluation: Path) -> dict[str, Any]:
    """Hours of all trainings and their device, and of each stage steps, minutes, device, threads, most memory and
    command: from the run.json files of the run that `evaluation` belongs to, or from config.json of an export."""
    for run in (evaluation.parent, evaluation):
        stages = {path.parent.name: of_record(json.loads(path.read_text())) for path in run.glob("*/run.json")}
        about = read_json(run / "config.json") or {}
        stages |= {Path(file).stem: of_card(one) for file, one in about.items() if Path(file).suffix == ".safetensors"}
        if stages:
            hours = sum(stage["minutes"] for stage in stages.values()) / 60
            return {"hours": hours, **in_words(list(stages.values())), **dict(sorted(stages.items()))}
    return {}


def of_record(record: dict[str, Any]) -> dict[str, Any]:
    start = record["starts"][-1]
    kept = {
        key: start[key] for key in ("device", "machine", "processes", "threads", "precision", "command") if key in start
    }
    peaks = {key: record[key] for key in ("peak_rss_mb", "peak_device_mb") if record[key] is not None}
    return {"steps": record["steps"], "minutes": record["seconds"] / 60, **kept, **peaks}


def of_card(one: dict[str, Any]) -> dict[str, Any]:
    found = TRAINED_BY.match(one.get("trained_by", ""))
    if found is None:
        return {"steps": one["steps"], "minutes": float("nan")}
    known = {**found.groupdict(), "minutes": int(found["minutes"]), "threads": int(found["threads"])}
    return {"steps": one["steps"], **known}


def in_words(stages: list[dict[str, Any]]) -> dict[str, str]:
    """`device`: "1 CPU core", "1 NVIDIA H200"; nothing where it is not known or stages differ."""
    words = set()
    for stage in stages:
        if "device" not in stage:
            return {}
        on_cpu = stage["device"] == "cpu"
        number = stage["threads"] if on_cpu else stage.get("processes", 1)
        words.add(f"{number} CPU core{'s' * (number > 1)}" if on_cpu else f"{number} {stage['device']}")
    return {"device": words.pop()} if len(words) == 1 else {}
