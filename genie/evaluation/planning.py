"""How well does planning in the world play the real environment, against its budget: `genie.agents.act`, measured.

It takes minutes to hours, so the part is measured only where it is asked for.
"""

import shutil
from pathlib import Path
from typing import Any

from genie.agents.act import act_for_budgets, plays_of, read_budgets
from genie.common.cli import to_plain
from genie.common.config_types import check_step
from genie.common.errors import UserError
from genie.common.overrides import composed, override
from genie.evaluation.imagination import require_rewards
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.world.sampler_choice import KEYS

# of this command's configuration: those of genie.act mean the same
SHARED = ("run", "seed", "device", "data_root", "new_sampler", *KEYS)


def check_planning(config: dict[str, Any]) -> None:
    """Raises UserError for settings of the part that cannot be, before any work."""
    settings = config["planning"]
    if settings["played"] is None:
        check_step("planning", "act", overrides(settings))
        plays_of(play_config(config, None, Path()), Path())
    else:
        read_budgets(Path(settings["played"]))


def play_config(config: dict[str, Any], kind: str | None, folder: Path) -> dict[str, Any]:
    """The configuration `act` of the play, into `folder`, in the world of this kind."""
    settings = config["planning"]
    play = to_plain(composed("act", [override("run", config["run"]), *overrides(settings)]))
    budget = {name: settings[name] for name in play["act"]["budget"]}
    shared = {name: config[name] for name in SHARED}
    return {
        **play, **shared, "world": kind, "act": {**play["act"], "budget": budget}, "output": str(folder),
        "resume": False, "overwrite": True,
    }  # fmt: skip


def overrides(settings: dict[str, Any]) -> list[str]:
    """Those of genie.act."""
    return [f"planner={settings['planner']}", f"act.episodes={settings['episodes']}", *settings["overrides"]]


def evaluate_planning(config: dict[str, Any], subject: TrainedRun, folder: Path) -> dict[str, Any]:
    """By candidates and horizon (`c64_h12`): the `return`, its `return_spread` (half its 95% interval), `success`, the
    share of episodes that are one, and `decisions_per_second`; `return_random`, the return of the random policy on the
    same seeds. Writes planning.png, and what was played into `folder`/planning.

    With `planning.played` nothing is played: the table in that folder is taken.
    """
    played = config["planning"]["played"]
    root = folder / "planning" if played is None else Path(played)
    if played is None:
        require_rewards(subject.chosen_world)
        print(flush=True)  # what is played has lines of its own
        try:
            act_for_budgets(play_config(config, subject.kind, root))
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
