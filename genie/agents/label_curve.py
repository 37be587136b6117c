"""Return of a policy in latent actions against the number of labelled transitions.

The labels tell which true action each latent one stands for (Genie §3.3, figure 15); the policy is played in the
environment with more and more of them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.table import Table

from data_modules.clip_data import ClipData
from data_modules.clips import ClipDataset
from data_modules.environments.recorder import level_seed
from data_modules.formats.episodes import SPLITS
from genie.agents.act import SEED_LIMIT
from genie.agents.agents import Agent, Choose, Policy, RandomAgent, WorldAgent, load_policy
from genie.agents.collect import episode_returns
from genie.agents.episodes import play_episodes
from genie.agents.play_progress import PlayProgress
from genie.agents.setup import ActionAdapter, environment_of, open_environments
from genie.common.device import choose_device, inference
from genie.common.errors import UserError
from genie.common.files import plain, replacing, to_json
from genie.common.folder_lock import one_writer
from genie.common.profiling import machine, now
from genie.common.random import fold_in
from genie.common.settings.commands import LabelCurveConfig
from genie.common.tables import print_table
from genie.world.action_map import ActionMap, fit_action_map
from genie.world.opening import open_world
from genie.world.protocol import World

# policy, meaning of its actions, number of the draw → returns of episodes, other ones for each draw
Play = Callable[[Choose, ActionMap, int], Sequence[float]]


@dataclass(frozen=True)
class Earned:
    """Returns of episodes, float [E], or [D, E] of several draws of labels with episodes of their own."""

    returns: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean: between draws where there are several, else between episodes; 0 for one value."""
        values = self.returns.mean(-1) if self.returns.ndim == 2 and len(self.returns) > 1 else self.returns.ravel()
        return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def return_against_labels(
    policy: Policy, world: World, clips: ClipDataset, labels: Sequence[int], play: Play, draws: int = 1, seed: int = 0
) -> dict[int, Earned]:
    """The returns of `policy` in the environment, by number of labels.

    Args:
        clips: a recording with actions, from which the labelled transitions are drawn.
        labels: numbers of labels, in any order.
        play: plays the real environment.
        draws: of labels, for each number: with few labels, the return depends on which ones are drawn.
        seed: of the draws.
    """

    def earned(count: int, draw: int) -> Sequence[float]:
        return play(policy.choose, fit_action_map(world, clips, count, fold_in(seed, draw)), draw)

    return {n: Earned(np.array([earned(n, draw) for draw in range(draws)], dtype=np.float64)) for n in labels}


def draw(curve: dict[int, Earned], references: dict[str, Earned], picture: Path) -> None:
    """The curve as a PNG, with a line for each of the `references`, as in {"random": …, "expert": …}."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    counts = sorted(curve)
    axes.errorbar(counts, [curve[n].mean for n in counts], [curve[n].error for n in counts], marker="o", capsize=3)
    for colour, (name, earned) in enumerate(references.items(), 1):
        axes.axhline(earned.mean, color=f"C{colour}", linestyle="--", label=name)
        axes.axhspan(earned.mean - earned.error, earned.mean + earned.error, color=f"C{colour}", alpha=0.15)
    axes.set(xscale="log", xlabel="labelled transitions", ylabel="return of an episode")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend()
    with replacing(picture) as file:
        figure.savefig(file, format="png", dpi=120)


def label_curve(config: LabelCurveConfig) -> dict[int, Earned]:
    """Prints, writes and draws the curve that the configuration `label_curve` describes.

    Raises UserError for a policy that needs no labels, and for missing data.
    """
    if not config.labels:
        raise UserError("labels=[]: give some numbers of labels, as in labels=[100,1000]")
    device = choose_device(config.device)
    with one_writer(config.output or Path(config.run) / "policy", "output=") as output, inference(device):
        return _curve_into(output, config, device)


def _curve_into(output: Path, config: LabelCurveConfig, device: torch.device) -> dict[int, Earned]:
    world = open_world(config.run, "genie").to(device)
    policy = load_policy(config.act.policy or config.run, world, config.greedy)
    if policy.gives_environment_actions:
        raise UserError(f"the policy of {config.run} acts without labels: give one of policy=latent_bc")
    oracle = None if config.oracle is None else load_policy(config.oracle, world, config.greedy)
    if oracle is not None and not oracle.gives_environment_actions:
        raise UserError(f"oracle={config.oracle} is a policy of latent actions: give one of policy=behaviour_cloning")
    data, settings = environment_of(world, config.data_root)
    longest = config.max_steps or settings.get("max_episode_steps")
    if longest is None:
        raise UserError(f"the data of {config.run} do not say when an episode is over: give max_steps=1000")
    expert = Path(config.expert or policy.trained.config["data"]["root"])
    if config.expert and not expert.exists():
        raise UserError(f"expert={config.expert}: there is no such recording")
    clips = labelled_clips(data, None if config.data_root else expert)
    environments = open_environments(world, settings, min(config.parallel, config.episodes))
    episodes, stride = config.episodes, data["stride"]

    levels = settings.get("levels")

    def seed_of(number: int) -> int:
        return (
            (config.seed + number) % SEED_LIMIT if levels is None else level_seed(levels, "test", config.seed, number)
        )

    def earned(who: str, agent: Agent, draw: int) -> np.ndarray:
        seeds = [seed_of(draw * episodes + number) for number in range(episodes)]
        with PlayProgress(f"{who}, draw {draw + 1} of {config.draws}", episodes) as progress:
            played = play_episodes(
                environments, agent, seeds, longest, stride,
                ended=lambda _: progress.ended(), decided=progress.decided,
            )  # fmt: skip
        return np.array([episode.return_ for episode in played])

    chance = RandomAgent(environments[0].action_space)
    references = {"random": Earned(np.stack([earned("random", chance, draw) for draw in range(config.draws)]))}
    files = [path for split in SPLITS if (path := expert / f"{split}.h5").exists()]
    recorded = [episode_returns(path, longest * stride) for path in files]
    if sum(map(len, recorded)):
        references["expert"] = Earned(np.concatenate(recorded))
    if oracle is not None:
        seen = ActionAdapter(fit_action_map(world, clips, max(config.labels), config.seed))
        agent = WorldAgent(world, oracle.choose, seen)
        references["oracle"] = Earned(np.stack([earned("oracle", agent, draw) for draw in range(config.draws)]))
    curve = return_against_labels(
        policy, world, clips, config.labels,
        lambda choose, action_map, draw: earned("clone", WorldAgent(world, choose, action_map), draw),
        config.draws, config.seed,
    )  # fmt: skip
    report(curve, references, output)
    return curve


def labelled_clips(data: dict[str, Any], expert: Path | None) -> ClipDataset:
    """Clips with true actions: of the expert's recording, as in the paper, or of `data` where that has none."""
    roots = [data["root"]] if expert is None else [str(expert), data["root"]]
    for root in dict.fromkeys(roots):
        module = ClipData(**data | {"root": root})
        try:
            module.setup()
        except UserError:  # videos, or a folder that has moved
            if root == data["root"]:
                raise
            continue
        if root == data["root"] or module.info.num_actions is not None:
            break
    print(f"labels are drawn from {root}", flush=True)
    return module.train_dataset


def report(curve: dict[int, Earned], references: dict[str, Earned], output: Path) -> None:
    """The table, label_curve.json with all returns, summary.json with their means, and label_curve.png."""
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
    named = references | {f"labels_{count}": curve[count] for count in sorted(curve)}
    means = {
        name: {"mean": earned.mean, "std_error": earned.error, "episodes": earned.returns.size}
        for name, earned in named.items()
    }
    with replacing(output / "summary.json", "w") as file:
        file.write(to_json(plain({"date": now(), "machine": machine(), "returns": means})))
    draw(curve, references, output / "label_curve.png")
    print(f"drawn: {output / 'label_curve.png'}")
