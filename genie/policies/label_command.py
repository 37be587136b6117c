"""`python -m genie.label_curve`: a policy in latent actions, played in the environment with more and more labels."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from data_modules.clip_data import ClipData
from data_modules.formats.episodes import SPLITS
from genie.acting.agents import Agent, RandomAgent, WorldAgent
from genie.acting.episodes import play_episodes
from genie.acting.opening import environment_of, open_environments
from genie.acting.run import SEED_LIMIT
from genie.common.config_types import require_whole
from genie.common.device import choose_device
from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.tables import print_table
from genie.looping.collecting import episode_returns
from genie.policies.exploring import Choose
from genie.policies.label_curve import Earned, draw, return_against_labels
from genie.policies.loading import load_policy
from genie.world.action_map import ActionMap
from genie.world.opening import open_world


def label_curve(config: dict[str, Any]) -> dict[int, Earned]:
    """Prints, writes and draws the curve that the configuration `label_curve` describes.

    Raises UserError for a policy that needs no labels, and for data that are not there.
    """
    check(config)
    with one_writer(config["output"] or Path(config["run"]) / "policy", "output=") as output:
        return _curve_into(output, config)


def _curve_into(output: Path, config: dict[str, Any]) -> dict[int, Earned]:
    world = open_world(config["run"], "genie").to(choose_device(config["device"]))
    policy = load_policy(config["act"]["policy"] or config["run"], world, config["greedy"])
    if policy.gives_environment_actions:
        raise UserError(f"the policy of {config['run']} acts without labels: give one of policy=latent_bc")
    data, settings = environment_of(world, config["data_root"])
    longest = config["max_steps"] or settings.get("max_episode_steps")
    if longest is None:
        raise UserError(f"the data of {config['run']} do not say when an episode is over: give max_steps=1000")
    module = ClipData(**data)
    module.setup()
    environments = open_environments(world, settings, min(config["parallel"], config["episodes"]))
    episodes, stride = config["episodes"], data["stride"]

    def earned(agent: Agent, draw: int) -> np.ndarray:
        seeds = [(config["seed"] + draw * episodes + number) % SEED_LIMIT for number in range(episodes)]
        return np.array([episode.return_ for episode in play_episodes(environments, agent, seeds, longest, stride)])

    def play(choose: Choose, action_map: ActionMap, draw: int) -> Sequence[float]:
        return earned(WorldAgent(world, choose, action_map), draw)

    chance = RandomAgent(environments[0].action_space)
    references = {"random": Earned(np.stack([earned(chance, draw) for draw in range(config["draws"])]))}
    expert = Path(config["expert"] or policy.trained.config["data"]["root"])
    files = [path for split in SPLITS if (path := expert / f"{split}.h5").exists()]
    recorded = [episode_returns(path, longest * stride) for path in files]
    if sum(map(len, recorded)):
        references["expert"] = Earned(np.concatenate(recorded))
    clips, labels = module.train_dataset, config["labels"]
    curve = return_against_labels(policy, world, clips, labels, play, config["draws"], config["seed"])
    report(curve, references, output)
    return curve


def report(curve: dict[int, Earned], references: dict[str, Earned], output: Path) -> None:
    """The table, label_curve.json and label_curve.png."""
    rows = references | {f"{count} label{'s' * (count > 1)}": curve[count] for count in sorted(curve)}
    table = Table(title="return of an episode", title_justify="left")
    for name in ("", "mean", "± standard error", "episodes"):
        table.add_column(name)
    for name, earned in rows.items():
        error = f"{earned.error:.2f}" if earned.returns.size > 1 else "none: one episode"
        table.add_row(name, f"{earned.mean:.2f}", error, str(earned.returns.size))
    print_table(table)
    with replacing(output / "label_curve.json", "w") as file:
        json.dump({name: earned.returns.tolist() for name, earned in rows.items()}, file, indent=2)
    draw(curve, references, output / "label_curve.png")
    print(f"drawn: {output / 'label_curve.png'}")


def check(config: dict[str, Any]) -> None:
    """Raises UserError for the first value that cannot be."""
    require_whole(config, "episodes", "draws", "parallel")
    if config["max_steps"] is not None:
        require_whole(config, "max_steps")
    if not isinstance(config["labels"], list | tuple) or not config["labels"]:
        raise UserError(f"labels={config['labels']} must be a list of whole numbers, as in labels=[100,1000]")
    for count in config["labels"]:
        require_whole({"labels": count}, "labels", null=False)
