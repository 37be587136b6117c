"""What does planning longer or wider bring? `act.budget` lists candidates and horizons: all combinations are played.

`<folder>/budget/c<candidates>_h<horizon>/` holds each play; budget.csv, budget.json and budget.png compare them.
"""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from genie.acting.report import interval, known
from genie.acting.results import read_summary
from genie.acting.run import act, check
from genie.common.cli import wants_trace
from genie.common.config_types import require_whole
from genie.common.errors import RunError, UserError, failure, reason
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.plots import save_figure
from genie.common.tables import print_table

AXES = ("candidates", "horizon")
# of each row in budget.json
COLUMNS = {*AXES, "return", "return_low", "return_high", "success", "random", "decisions_per_second"}


def has_budgets(config: dict[str, Any]) -> bool:
    """Whether several budgets are to be compared."""
    return any(config["act"]["budget"][name] for name in AXES)


def act_for_budgets(config: dict[str, Any]) -> float:
    """Plays with every budget; returns the best mean return.

    Raises UserError for a budget that cannot be, before any episode. One that fails has no figures in the table, the
    others are played, and a RunError says which in the end.
    """
    root = Path(config["output"] or Path(config["run"]) / "acting" / "budget")
    plays = plays_of(config, root)
    with one_writer(root, "output="):
        return _compare(plays, root)


def _compare(plays: dict[tuple[int, int], dict[str, Any]], root: Path) -> float:
    rows, failed = [], {}
    for pair, play in plays.items():
        print("{} candidates, horizon {}".format(*pair), flush=True)
        try:
            act(play)
        except UserError:  # of all of them
            raise
        except Exception as error:
            if wants_trace():
                raise
            failed["{} candidates, horizon {}".format(*pair)] = failure(error)
            print(f"not measured: {failure(error)}", flush=True)
            continue
        rows.append({**dict(zip(AXES, pair, strict=True)), **_row(read_summary(Path(play["output"])))})
        _write(root, rows)
    if rows:
        print_table(_table(rows))
        print(f"table and plot: {root}")
    if failed:
        raise RunError(f"not measured: {'; '.join(f'{pair} ({why})' for pair, why in failed.items())}")
    return max((row["return"] for row in rows if row["return"] is not None), default=float("nan"))


def plays_of(config: dict[str, Any], root: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """The configuration of each play, by candidates and horizon. Raises UserError for a budget that cannot be."""
    if config.get("planner") is None:
        raise UserError("act.budget is of a planner: give planner=cem, or another")
    group, budget = _search_group(config["planner"]), config["act"]["budget"]
    chosen = {name: budget[name] or [group[name]] for name in AXES}
    for name, values in chosen.items():
        for value in values:
            require_whole({name: value}, name, prefix="act.budget.", null=False)
    plays = {}
    for pair in itertools.product(*chosen.values()):
        name = "c{}_h{}".format(*pair)
        settings = {**config["act"], "name": name, "budget": dict.fromkeys(AXES, [])}
        plays[pair] = {
            **config, "planner": with_budget(config["planner"], *pair), "act": settings, "output": str(root / name)
        }  # fmt: skip
        check(plays[pair])
    return plays


def read_budgets(folder: Path) -> list[dict[str, Any]]:
    """The rows of budget.json: `candidates`, `horizon`, the `return` with the ends of its interval, `success`, the
    return of the `random` policy, `decisions_per_second`; None stands for what is not known. Raises UserError where
    there is none, or another one."""
    path = folder / "budget.json"
    way = "play with `python -m genie.act` and act.budget.candidates=[16,64]"
    if not path.is_file():
        raise UserError(f"there is no {path}: {way}")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not rows or not all(row.keys() >= COLUMNS for row in rows):
            raise ValueError(f"not all rows have {', '.join(sorted(COLUMNS))}")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is no table of budgets ({reason(error)}): {way}") from error
    return rows


def with_budget(planner: dict[str, Any], candidates: int, horizon: int) -> dict[str, Any]:
    """The group `planner` with another budget, of its optimizer where it has one."""
    changed = {**_search_group(planner), "candidates": candidates, "horizon": horizon}
    return {**planner, "optimizer": changed} if "optimizer" in planner else changed


def _search_group(planner: dict[str, Any]) -> dict[str, Any]:
    return planner.get("optimizer", planner)


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    values = {"return": "mean", "return_low": "low", "return_high": "high"}
    row = {name: summary["return"][key] for name, key in values.items()}
    row["success"] = None if summary["success"] is None else summary["success"]["mean"]
    row["random"] = summary["random"]["return"]["mean"]
    row["decisions_per_second"] = summary["decisions_per_second"]
    return row


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in (*AXES, "return", "success", "random", "decisions a second"):
        table.add_column(name, justify="right")
    for row in rows:
        shown = {"mean": row["return"], "low": row["return_low"], "high": row["return_high"]}
        success = "" if row["success"] is None else f"{row['success']:.0%}"
        rate, random = row["decisions_per_second"], row["random"]
        table.add_row(
            *(str(row[name]) for name in AXES), interval(shown), success,
            f"{random:.4g}" if known(random) else "",
            f"{rate:.2f}" if known(rate) else "",
        )  # fmt: skip
    return table


def _write(root: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(root / "budget.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with replacing(root / "budget.json", "w") as file:
        file.write(json.dumps(rows, indent=2))
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for horizon in dict.fromkeys(row["horizon"] for row in rows):
        line = sorted((row for row in rows if row["horizon"] == horizon), key=lambda row: row["candidates"])
        counts = [row["candidates"] for row in line]
        heights = [row["return"] if known(row["return"]) else float("nan") for row in line]
        axes.plot(counts, heights, marker="o", label=f"horizon {horizon}")
        low, high = ([row[end] for row in line] for end in ("return_low", "return_high"))
        if None not in low + high:  # one episode has no interval
            axes.fill_between(counts, low, high, alpha=0.15)
    if known(rows[0]["random"]):
        axes.axhline(rows[0]["random"], color="0.5", linestyle="--", label="random")
    axes.set(xlabel="candidates", ylabel="return (band: 95% confidence)", xscale="log")
    counts = sorted({row["candidates"] for row in rows})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, root / "budget.png")
