"""Play of a real environment by an agent and by the random policy, on the same seeds.

`act.budget` lists candidates and horizons of a planner: all their combinations are played.
`<folder>/budget/c<candidates>_h<horizon>/` holds each play; budget.csv, budget.json and budget.png compare them.
"""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from data_modules.environments.recorder import level_seed
from genie.agents.agents import Agent, PlanningAgent, RandomAgent
from genie.agents.episodes import Episode, play_episodes
from genie.agents.play_progress import PlayProgress
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
from genie.agents.statistics import pairs_of, plot_pairs
from genie.agents.videos import draw_imagined, draw_plan, write_episode
from genie.common.cli import wants_trace
from genie.common.device import choose_device, inference
from genie.common.errors import RunError, UserError, failure, reason
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.plots import save_figure
from genie.common.random import fold_in
from genie.common.settings.commands import ActConfig
from genie.common.settings.schema import typed
from genie.common.settings.world import ReplannedSearch
from genie.common.tables import print_table
from genie.planning.optimizers import check_planner, search_of

SEED_LIMIT = 2**31  # of environments
AXES = ("candidates", "horizon")
# of each row in budget.json
COLUMNS = {*AXES, "return", "return_low", "return_high", "success", "random", "decisions_per_second"}


def act(config: ActConfig) -> float | None:
    """Plays as the configuration `act` says; returns the agent's mean return, None without a finished episode.

    All finished episodes are kept when the play is interrupted. Raises UserError for an invalid value, before any
    episode.
    """
    check(config)
    device = choose_device(config.device)
    name = config.act.name or config.agent or (config.planner.name if config.planner else "policy")
    settings = config.act.changed(name=name)
    config = config.changed(act=settings)
    path = Path(config.output or Path(config.run) / "acting" / name)
    with one_writer(path, "output= or act.name="):
        stage = open_stage(config, device, min(settings.parallel, settings.episodes))
        folder = ActingFolder(path, config)
        agents: dict[str, Agent] = {RANDOM: RandomAgent(stage.environments[0].action_space)}
        if name != RANDOM:
            agents[name] = stage.agent
        try:
            with inference(device):
                for label, agent in agents.items():
                    play(label, agent, stage, folder, config)
        except BaseException:  # Ctrl-C, or an error: finished episodes are reported all the same
            if folder.rows:
                _conclude(folder, config, stage)
            raise
        finally:
            stage.close()
        return _conclude(folder, config, stage)["return"]["mean"]


def _conclude(folder: ActingFolder, config: ActConfig, stage: Setup) -> dict[str, Any]:
    summary = summarise(folder, config, stage.environments[0].id)
    file = folder.write_summary(summary)
    if folder.pairs and config.act.videos:
        plot_pairs(folder.pairs, folder.path / "imagined_against_true.png")
    print_table(report_table(summary))
    print("\n".join(report_lines(summary)))
    print(f"episodes, videos and figures: {file.parent}", flush=True)
    return summary


def check(config: ActConfig) -> None:
    """Raises UserError for the first invalid value."""
    settings, planner = config.act, config.planner
    if config.agent not in (None, RANDOM):
        raise UserError(f"agent={config.agent}: there is agent=random; others are planner=... and policy=...")
    if (planner is not None or settings.policy is not None) == (config.agent is not None):
        raise UserError("who plays? Give one of planner=cem (or another), policy=<path>, agent=random")
    if settings.name == RANDOM and config.agent != RANDOM:
        raise UserError("act.name=random is the name of the random policy: give another one")
    if planner is not None:
        check_planner(planner)


def episode_seed(seed: int, number: int, levels: dict[str, list[int]] | None = None) -> int:
    """The seed of episode `number` of a play: where seeds are `levels`, one of the test split, which none has seen."""
    return fold_in(seed, number) % SEED_LIMIT if levels is None else level_seed(levels, "test", seed, number)


def play(label: str, agent: Agent, stage: Setup, folder: ActingFolder, config: ActConfig) -> None:
    """The episodes of one agent that are not in the folder yet."""
    settings, videos = config.act, folder.path / "videos"
    missing = [number for number in range(settings.episodes) if number not in folder.played(label)]
    seeds = {number: episode_seed(config.seed, number, stage.levels) for number in missing}
    with PlayProgress(label, len(seeds)) as progress:

        def ended(episode: Episode) -> None:
            if episode.screens:
                write_episode(videos, label, episode, stage.world.fps)
            plans = isinstance(agent, PlanningAgent)
            folder.add(
                label, episode, pairs_of(episode, agent.planner.horizon, agent.planner.discount) if plans else []
            )
            progress.ended()

        episodes = play_episodes(
            stage.environments, agent, seeds, settings.max_steps, stage.repeat,
            lambda number: number < settings.videos, ended, progress.decided,
        )  # fmt: skip
    first = next((episode for episode in episodes if episode.screens), None)
    if first is not None and label != RANDOM:
        draw_imagined(videos, stage.world, first, stage.action_map, settings.horizon)
        if isinstance(agent, PlanningAgent):
            draw_plan(videos, agent, first)


def has_budgets(config: ActConfig) -> bool:
    return any(getattr(config.act.budget, name) for name in AXES)


def act_for_budgets(config: ActConfig) -> float:
    """Plays with every budget; returns the best mean return.

    Raises UserError for an invalid budget, before any episode. A budget that fails has no row in the table; the others
    are played, and a RunError at the end lists what failed.
    """
    root = Path(config.output or Path(config.run) / "acting" / "budget")
    plays = plays_of(config, root)
    rows, failed = [], {}
    with one_writer(root, "output="):
        for pair, play in plays.items():
            label = "{} candidates, horizon {}".format(*pair)
            print(label, flush=True)
            try:
                act(play)
            except UserError:  # of all of them
                raise
            except Exception as error:
                if wants_trace():
                    raise
                failed[label] = failure(error)
                print(f"not measured: {failed[label]}", flush=True)
                continue
            rows.append({**dict(zip(AXES, pair, strict=True)), **_row(read_summary(root / play.act.name))})
            _write(root, rows)
        if rows:
            print_table(_table(rows))
            print(f"table and plot: {root}")
    if failed:
        raise RunError(f"not measured: {'; '.join(f'{label} ({why})' for label, why in failed.items())}")
    return max((row["return"] for row in rows if row["return"] is not None), default=float("nan"))


def plays_of(config: ActConfig, root: Path) -> dict[tuple[int, int], ActConfig]:
    """The configuration of each play, by candidates and horizon. Raises UserError for an invalid budget."""
    planner, budget = config.planner, config.act.budget
    if planner is None:
        raise UserError("act.budget is of a planner: give planner=cem, or another")
    search = search_of(planner)
    plays = {}
    for pair in itertools.product(budget.candidates or [search.candidates], budget.horizon or [search.horizon]):
        name = "c{}_h{}".format(*pair)
        changed = search.changed(candidates=pair[0], horizon=pair[1])
        play = config.changed(
            planner=planner.changed(optimizer=changed) if isinstance(planner, ReplannedSearch) else changed,
            act=config.act.changed(name=name, budget=budget.changed(candidates=[], horizon=[])),
            output=str(root / name),
        )
        plays[pair] = typed("act", play.plain())
        check(plays[pair])
    return plays


def read_budgets(folder: Path) -> list[dict[str, Any]]:
    """The rows of budget.json, one for each budget.

    `candidates`, `horizon`, the `return` with the ends of its interval, `success`, the return of the `random` policy,
    `decisions_per_second`; None: not measured. Raises UserError where there is no such file, or it is damaged.
    """
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


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "return": summary["return"]["mean"],
        "return_low": summary["return"]["low"],
        "return_high": summary["return"]["high"],
        "success": summary["success"] and summary["success"]["mean"],
        "random": summary["random"]["return"]["mean"],
        "decisions_per_second": summary["decisions_per_second"],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in (*AXES, "return", "success", "random", "decisions a second"):
        table.add_column(name, justify="right")
    for row in rows:
        shown = {"mean": row["return"], "low": row["return_low"], "high": row["return_high"]}
        rate, random = row["decisions_per_second"], row["random"]
        table.add_row(
            *(str(row[name]) for name in AXES), interval(shown),
            "" if row["success"] is None else f"{row['success']:.0%}",
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
