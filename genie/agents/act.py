"""Play of a real environment, for one budget of a planner or several.

One play: an agent and the random policy on the same seeds. The command is `genie/act.py`.

What does planning longer or wider bring? `act.budget` lists candidates and horizons: all combinations are played.

`<folder>/budget/c<candidates>_h<horizon>/` holds each play; budget.csv, budget.json and budget.png compare them.
"""

import csv
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from genie.agents.agents import Agent, PlanningAgent, RandomAgent
from genie.agents.episodes import Episode, play_episodes
from genie.agents.results import (
    RANDOM,
    ActingFolder,
    interval,
    known,
    read_summary,
    report_lines,
    report_table,
    summarise,
)
from genie.agents.setup import Setup, open_stage
from genie.agents.statistics import PromisedAndTrue, pairs_of, plot_pairs
from genie.agents.videos import draw_imagined, draw_plan, write_episode
from genie.common.cli import wants_trace
from genie.common.config_types import require_number, require_whole
from genie.common.device import choose_device, inference
from genie.common.errors import RunError, UserError, failure, reason
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.plots import save_figure
from genie.common.random import fold_in
from genie.common.tables import print_table
from genie.planning.optimizers import check_planner

SEED_LIMIT = 2**31  # what environments take


def act(config: dict[str, Any]) -> float | None:
    """Plays as the configuration `act` says; returns the agent's mean return, None where no episode is over. All that
    was played is kept when it is interrupted. Raises UserError for a value that cannot be, before any episode."""
    check(config)
    device = choose_device(config["device"])
    name = config["act"]["name"] or agent_name(config)
    config = {**config, "act": {**config["act"], "name": name}}
    path = Path(config["output"] or Path(config["run"]) / "acting" / name)
    with one_writer(path, "output= or act.name="):
        return _act_into(path, config, device)


def _act_into(path: Path, config: dict[str, Any], device: torch.device) -> float | None:
    name = config["act"]["name"]
    stage = open_stage(config, device, min(config["act"]["parallel"], config["act"]["episodes"]))
    folder = ActingFolder(path, config)
    agents: dict[str, Agent] = {RANDOM: RandomAgent(stage.environments[0].action_space)}
    if name != RANDOM:
        agents[name] = stage.agent
    try:
        with inference(device):
            for label, agent in agents.items():
                play(label, agent, stage, folder, config)
    except BaseException:  # Ctrl-C, or an error: what was played is not lost
        if folder.rows:
            _conclude(folder, config, stage)
        raise
    finally:
        stage.close()
    return _conclude(folder, config, stage)["return"]["mean"]


def _conclude(folder: ActingFolder, config: dict[str, Any], stage: Setup) -> dict[str, Any]:
    summary = summarise(folder, config, stage.environments[0].id)
    file = folder.write_summary(summary)
    if folder.pairs and config["act"]["videos"]:
        plot_pairs(folder.pairs, folder.path / "imagined_against_true.png")
    print_table(report_table(summary))
    print("\n".join(report_lines(summary)))
    print(f"episodes, videos and figures: {file.parent}", flush=True)
    return summary


def agent_name(config: dict[str, Any]) -> str:
    """What the agent is called where `act.name` does not say."""
    if config["agent"] is not None:
        return config["agent"]
    planner = config.get("planner")
    return "policy" if planner is None else planner["name"]


def check(config: dict[str, Any]) -> None:
    """Raises UserError for the first value that cannot be."""
    settings, planner = config["act"], config.get("planner")
    if config["agent"] not in (None, RANDOM):
        raise UserError(f"agent={config['agent']}: there is agent=random; others are planner=... and policy=...")
    chosen = [planner is not None or config["act"]["policy"] is not None, config["agent"] is not None]
    if sum(chosen) != 1:
        raise UserError("who plays? Give one of planner=cem (or another), policy=<path>, agent=random")
    require_whole(settings, "episodes", "parallel", "max_steps", "labels", "horizon", prefix="act.", null=False)
    require_whole(settings, "videos", least=0, prefix="act.", null=False)
    require_whole(config, "seed", least=0)
    require_number(settings, "success")
    if settings["name"] == RANDOM and config["agent"] != RANDOM:
        raise UserError("act.name=random is the name of the random policy: give another one")
    if planner is not None:
        check_planner(planner)


def episode_seed(seed: int, number: int) -> int:
    """The seed of episode `number` of a play."""
    return fold_in(seed, number) % SEED_LIMIT


def play(label: str, agent: Agent, stage: Setup, folder: ActingFolder, config: dict[str, Any]) -> None:
    """The episodes of one agent that are not in the folder yet."""
    settings = config["act"]
    seeds = {
        number: episode_seed(config["seed"], number)
        for number in range(settings["episodes"])
        if number not in folder.played(label)
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=not sys.stderr.isatty()), transient=True) as progress:
        task = progress.add_task(label, total=len(seeds))

        def ended(episode: Episode) -> None:
            if episode.screens:
                write_episode(folder.path / "videos", label, episode, stage.world.fps)
            folder.add(label, episode, _pairs(agent, episode))
            progress.advance(task)

        episodes = play_episodes(
            stage.environments,
            agent,
            seeds,
            settings["max_steps"],
            stage.repeat,
            lambda number: number < settings["videos"],
            ended,
        )
    first = next((episode for episode in episodes if episode.screens), None)
    if first is not None and label != RANDOM:
        videos = folder.path / "videos"
        draw_imagined(videos, stage.world, first, stage.action_map, settings["horizon"])
        if isinstance(agent, PlanningAgent):
            draw_plan(videos, agent, first)


def _pairs(agent: Agent, episode: Episode) -> list[PromisedAndTrue]:
    if not isinstance(agent, PlanningAgent):
        return []
    return pairs_of(episode, agent.planner.horizon, agent.planner.discount)


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
