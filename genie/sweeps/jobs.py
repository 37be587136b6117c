"""The record of one job of a sweep, <sweep folder>/<n>/job.json: there while the job runs and after it was killed."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from genie.common.cli import one_line
from genie.common.errors import UserError
from genie.common.files import read_json, replacing
from genie.common.overrides import unquoted
from genie.common.process import rank
from genie.runs.metrics_file import last_values
from genie.sweeps.table import RECORD, varied, write_table

HOW_TO_START = (
    "resume=true goes on with its jobs, hydra.sweep.dir=... takes another folder, overwrite=true deletes them"
)
OF_THE_START = ("resume", "overwrite")  # say how a job starts, not what it is


@contextmanager
def recorded_job(config: dict[str, Any], hydra: DictConfig) -> Iterator[dict[str, Any]]:
    """Keeps the record of a job, and the sweep's table, while the body runs; the body sets `record["value"]`.

    `config["run_dir"]` becomes <sweep folder>/<n>/<stage>, unless the user gave one: the jobs share name and stage.
    Raises `UserError` where the folder holds another job. Of several processes the first keeps it.
    """
    if rank():
        yield {"job": hydra.job.num}
        return
    sweep = Path(hydra.sweep.dir)
    folder = sweep / hydra.sweep.subdir
    pairs = [override.split("=", 1) for override in hydra.overrides.task if "=" in override]
    overrides = {name: unquoted(value) for name, value in pairs}
    if "run_dir" not in overrides:
        config["run_dir"] = str(folder / config["stage"]["name"])
    overrides = {name: value for name, value in overrides.items() if name not in OF_THE_START}
    former = former_record(folder, overrides, config)
    record = {
        "job": hydra.job.num,
        "status": "running",
        "objective": config["objective"],
        "value": None,
        "steps": None,
        "seconds": former.get("seconds", 0),  # of all starts
        "error": None,
        "overrides": overrides,
        "folder": config["run_dir"],
    }
    started = time.monotonic()

    def save(status: str, error: BaseException | None = None) -> None:
        record["status"], record["error"] = status, one_line(error) if error else None
        record["steps"] = last_values(Path(config["run_dir"]) / "metrics.csv").get("step")
        written = record | {"seconds": round(record["seconds"] + time.monotonic() - started, 1)}
        with replacing(folder / RECORD, "w") as file:
            json.dump(written, file, indent=2)
        records = write_table(sweep)
        if status == "completed":
            from genie.sweeps.plot import plot_sweep  # with matplotlib, for which --help need not wait

            plot_sweep(records, varied(records), sweep / "sweep.png")

    save("running")
    try:
        yield record
        if record["value"] is None:
            logged = ", ".join(last_values(Path(config["run_dir"]) / "metrics.csv"))
            raise UserError(f"objective={config['objective']} was never logged; there is: {logged}")
    except Exception as error:
        save("failed", error)
        raise
    except BaseException as error:  # Ctrl-C, or a signal that asked to stop
        save("stopped", error)
        raise
    save("completed" if math.isfinite(record["value"]) else "diverged")


def former_record(folder: Path, overrides: dict[str, str], config: dict[str, Any]) -> dict[str, Any]:
    """The record that the job goes on from, {} for a new one; UserError where it may not or is of another job."""
    path = folder / RECORD
    if config["overwrite"] or not path.exists():
        return {}
    former = read_json(path) or {}
    if not config["resume"]:
        raise UserError(f"{folder.parent} holds a sweep already: {HOW_TO_START}")
    for name, value in former.get("overrides", {}).items():
        if overrides.get(name) != unquoted(value):
            raise UserError(
                f"{folder} holds the job with {name}={value}, not {name}={overrides.get(name)}: "
                "give the command that the sweep was started with, or another hydra.sweep.dir=..."
            )
    return former
