"""One play: an agent and the random policy on the same seeds. The command is `genie/act.py`."""

import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from genie.acting.agents import Agent, PlanningAgent, RandomAgent
from genie.acting.episodes import Episode, play_episodes
from genie.acting.imagined import Pair, pairs_of, plot_pairs
from genie.acting.opening import Stage, open_stage
from genie.acting.pictures import draw_imagined, draw_plan, write_episode
from genie.acting.report import report_lines, report_table
from genie.acting.results import RANDOM, ActingFolder
from genie.acting.summary import summarise
from genie.common.config_types import require_number, require_whole
from genie.common.device import choose_device, inference
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
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


def _conclude(folder: ActingFolder, config: dict[str, Any], stage: Stage) -> dict[str, Any]:
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


def play(label: str, agent: Agent, stage: Stage, folder: ActingFolder, config: dict[str, Any]) -> None:
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


def _pairs(agent: Agent, episode: Episode) -> list[Pair]:
    if not isinstance(agent, PlanningAgent):
        return []
    return pairs_of(episode, agent.planner.horizon, agent.planner.discount)
