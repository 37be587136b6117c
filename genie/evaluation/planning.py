"""Planning in the real environment: `genie.act` with the trained world, against the planner's budget.

It takes minutes to hours, so the part is measured only where the key `parts` names it. `genie.agents`, which makes
environments, is imported only then.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from genie.common.cli import to_plain
from genie.common.errors import UserError
from genie.common.overrides import check_step, override
from genie.common.settings.commands import ActConfig
from genie.common.settings.evaluation import EvaluateConfig, PlayedPlans
from genie.common.settings.schema import typed
from genie.evaluation.part import Part, Row, number, percent, require_rewards
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.metric_info import HIGHER, Definition, MetricInfo
from genie.world.sampler_choice import KEYS

# keys of this command that mean the same as those of genie.act
SHARED = ("run", "seed", "device", "data_root", "new_sampler", *KEYS)


def check_planning(config: EvaluateConfig) -> None:
    """Raises UserError for an invalid setting of the part."""
    from genie.agents.act import plays_of, read_budgets

    settings = config.planning
    if settings.played is None:
        plays_of(play_config(config, None, Path()), Path())
    else:
        read_budgets(Path(settings.played))


def play_config(config: EvaluateConfig, kind: str | None, folder: Path) -> ActConfig:
    """The configuration `act` that plays in the world of this kind and writes into `folder`."""
    settings = config.planning
    checked = check_step("planning", "act", [override("run", config.run), *overrides(settings)])
    play: ActConfig = typed("act", to_plain(checked))
    budget = play.act.budget.changed(candidates=settings.candidates, horizon=settings.horizon)
    shared = {name: getattr(config, name) for name in SHARED}
    return play.changed(
        **shared, world=kind, act=play.act.changed(budget=budget), output=str(folder), resume=False, overwrite=True
    )


def overrides(settings: PlayedPlans) -> list[str]:
    """Overrides of genie.act."""
    return [f"planner={settings.planner}", f"act.episodes={settings.episodes}", *settings.overrides]


def evaluate_planning(config: EvaluateConfig, run: TrainedRun, folder: Path) -> dict[str, Any]:
    """By candidates and horizon (`c64_h12`): the `return`, its `return_spread` (half its 95% interval), `success`, the
    share of successful episodes, and `decisions_per_second`; `return_random`, the return of the random policy on the
    same seeds. Writes planning.png, and the episodes into `folder`/planning.

    With `planning.played` nothing is played: the table in that folder is taken.
    """
    from genie.agents.act import act_for_budgets, read_budgets

    played = config.planning.played
    root = folder / "planning" if played is None else Path(played)
    if played is None:
        require_rewards(run.chosen_world)
        print(flush=True)  # the play prints lines of its own
        try:
            act_for_budgets(play_config(config, run.kind, root))
        except UserError as error:
            raise LeftOut(str(error)) from error
    rows = read_budgets(root)
    shutil.copyfile(root / "budget.png", folder / "planning.png")
    return {"return_random": rows[0]["random"], **{f"c{r['candidates']}_h{r['horizon']}": _figures(r) for r in rows}}


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    figures = {"return": row["return"], "decisions_per_second": row["decisions_per_second"]}
    if row["return_low"] is not None:  # one episode has no interval
        figures["return_spread"] = (row["return_high"] - row["return_low"]) / 2
    if row["success"] is not None:
        figures["success"] = row["success"]
    return figures


PLANNING_DEFINITION = Definition(
    "planning", "Planning in the real environment", "Planning in the real environment",
    "Episodes of the real environment, played by planning anew in each step, for each number of candidates and "
    "each horizon, beside the random policy on the same seeds.",
)  # fmt: skip


def _metric(path: str, *description: Any, **more: Any) -> MetricInfo:
    return MetricInfo(f"planning.{path}", *description, definition=PLANNING_DEFINITION, **more)


def _check(config: EvaluateConfig) -> None:
    if "planning" in config.parts:
        check_planning(config)


def _rows(report: dict) -> list[Row]:
    figures, rows = report.get("planning", {}), []
    for name, play in figures.items():
        if found := re.fullmatch(r"c(\d+)_h(\d+)", name):
            note = [f"± {number(play['return_spread'])}"] if "return_spread" in play else []
            note += [f"success {percent(play['success'])}"] if "success" in play else []
            note += [] if "return_spread" in play else ["no interval: one episode"]
            note.append(f"random {number(figures['return_random'], none='not measured')}")
            label = f"return, {found[1]} plans x {found[2]}"
            rows.append((label, number(play["return"], none="not measured"), "", "", ", ".join(note)))
    return rows


PLANNING = Part(
    "planning",
    lambda evaluation: {"planning": evaluate_planning(evaluation.config, evaluation.run, evaluation.folder)},
    check=_check,
    metrics=(
        _metric("return_random", "return of the random policy"),
        _metric("c{candidates:d}_h{horizon:d}.return", "{candidates} candidates, horizon {horizon}: return",
                "± half the 95% interval", better=HIGHER,
                beside={"success": "success", "decisions_per_second": "decisions a second"}),
        _metric("{budget}.success", "success", "share of the episodes", unit="%", digits=1, better=HIGHER),
        _metric("{budget}.decisions_per_second", "decisions a second", better=HIGHER),
    ),
    titles={"planning": "Planning in the real environment"},
    rows=_rows,
)  # fmt: skip
