"""Loop of an agent: collect, train the world, train the policy (`python -m genie.agent`).

What is complete is skipped, what was interrupted is resumed.

    outputs/<name>/agent/data/     the recordings of all rounds (`genie.agents.collect`)
    outputs/<name>/<stage>/        the world's stages and the policy: one run each, trained further in every round

The policy of round n makes the recording of round n+1 when all of that round is trained, so the files show where the
loop is: no other state is kept.
"""

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from data_modules.environments.recording_policies import RecordingAgent
from data_modules.formats.episodes import SPLITS
from genie.agents.collect import collect, episode_returns, is_collected, recording
from genie.common.cli import to_plain
from genie.common.errors import UserError
from genie.common.files import remove_leftovers
from genie.common.folder_lock import empty, one_writer
from genie.common.overrides import check_step, override
from genie.common.tables import print_table
from genie.runs.folder import RunFolder
from genie.training.pipeline import run_module, training_command

POLICY = "policy"
FOLLOWS = ("reward", POLICY)  # stages on a world, which resume although it was trained further
# keys of its own, and what it decides for each stage itself
OWN_KEYS = (
    "rounds=", "stages=", "more_steps", "collect", "training=", "overrides",
    "name=", "stage=", "resume=", "overwrite=", "data.root=", "trainer.max_steps=",
)  # fmt: skip


class Loop:
    """The rounds of one agent, from the resolved configuration and the overrides that it was composed with. UserError
    for a configuration that one of the commands would refuse, before any work."""

    def __init__(self, config: dict[str, Any], overrides: list[str]) -> None:
        check(config)
        self.config, self.given = config, [text for text in overrides if not text.startswith(OWN_KEYS)]
        self.run_folder = Path(config["output_dir"]) / config["name"]
        self.data = self.run_folder / "agent" / "data"
        self.configs = {
            stage: to_plain(check_step(f"overrides.{stage}", "train", self._overrides(stage)))
            for stage in config["stages"]
        }

    def run(self) -> None:
        """All rounds. Raises `SystemExit` with the exit code of the first command that fails."""
        for split in SPLITS:
            remove_leftovers(self.data / split)
        self._collect(0)
        for number in range(self.config["rounds"]):
            if is_collected(self.data, number + 1):
                print(f"round {number}: done before", flush=True)
                continue
            for stage in self.config["stages"]:
                self._train(stage, number)
            self._collect(number + 1)

    def _overrides(self, stage: str) -> list[str]:
        """Those of genie.train for a stage, without its number of steps."""
        own = [override("name", self.config["name"]), f"stage={stage}", override("data.root", self.data)]
        follow = ["++stage.follow_world=true"] if stage in FOLLOWS else []
        true = ["stage.actions=environment"] if stage == "dynamics" and "lam" not in self.config["stages"] else []
        return [*self.config["training"], *self.given, *true, *self.config["overrides"][stage], *own, *follow]

    def steps(self, stage: str, number: int) -> int:
        return self.configs[stage]["trainer"]["max_steps"] + number * self.config["more_steps"][stage]

    def _train(self, stage: str, number: int) -> None:
        steps, config = self.steps(stage, number), self.configs[stage]
        folder = RunFolder(config | {"trainer": config["trainer"] | {"max_steps": steps}})
        command = training_command(folder, [*self._overrides(stage), f"trainer.max_steps={steps}"])
        if command is None:
            print(f"round {number}: {stage} done before ({steps} steps)", flush=True)
        else:
            print(f"round {number}: {stage} to step {steps}", flush=True)
            run_module(stage, command)

    def _collect(self, number: int) -> None:
        if is_collected(self.data, number):
            print(f"round {number}: collected before", flush=True)
            return
        settings = self.config["collect"]
        agent = self.agent() if number else None
        print(f"round {number}: collecting {settings['frames']['train']} frames for training", flush=True)
        collect(self.config["data"], self.data, number, settings["frames"], agent)

    def agent(self) -> RecordingAgent:
        # they load worlds of all kinds
        from genie.agents.agents import WorldAgent, exploring, load_policy
        from genie.agents.setup import translation
        from genie.world.opening import open_world

        settings, options = self.config["collect"], self.configs[POLICY]["stage"]
        world = open_world(options["world"], options["kind"])
        policy = load_policy(self.run_folder, world, settings["greedy"])
        names = translation(
            world, policy, settings["labels"], "train", str(self.data), self.config["seed"], "collect.labels"
        )
        return WorldAgent(world, exploring(policy.choose, policy.action_space, settings["explore"]), names)

    def table(self) -> Table:
        """What each round's player earned, beside random play."""
        table = Table(title=f"{self.run_folder}: return of an episode", title_justify="left")
        for name in ("round", "played by", "frames so far", "episodes", "return", "± standard error"):
            table.add_column(name)
        for number in range(self.config["rounds"] + 1):
            if is_collected(self.data, number):
                returns = np.concatenate([episode_returns(recording(self.data, split, number)) for split in SPLITS])
                steps = self.steps(POLICY, number - 1)
                player = f"policy, {steps} steps" if number else "recorder"
                frames = (number + 1) * self.config["collect"]["frames"]["train"]
                table.add_row(str(number), player, f"{frames:,}", *described(returns))
        return table

    def start_anew(self) -> None:
        """Deletes the recordings and the runs of all stages."""
        for path in (self.data, *(Path(config["run_dir"]) for config in self.configs.values())):
            with one_writer(path, "name= or output_dir="):
                empty(path)


def run_agent_loop(config: dict[str, Any], overrides: list[str]) -> None:
    """Runs all rounds and prints the returns of each."""
    loop = Loop(config, overrides)
    with one_writer(loop.run_folder, "name= or output_dir="):
        if config["overwrite"]:
            loop.start_anew()
        loop.run()
    print_table(loop.table())


def described(returns: np.ndarray) -> tuple[str, str, str]:
    """Number, mean and standard error; a dash where there are too few episodes."""
    mean = f"{returns.mean():.2f}" if len(returns) else "-"
    error = f"{returns.std(ddof=1) / len(returns) ** 0.5:.2f}" if len(returns) > 1 else "-"
    return str(len(returns)), mean, error


def check(config: dict[str, Any]) -> None:
    """Raises UserError for the first invalid value."""
    if config["stages"][-1:] != [POLICY]:
        raise UserError(f"stages={config['stages']}: the last one has to be {POLICY}")
    labels, frames = config["collect"]["labels"], config["collect"]["frames"]["train"]
    if "lam" in config["stages"] and labels > frames // 2:  # in clips, of which the first frames have none
        raise UserError(
            f"collect.labels={labels}: at most half of collect.frames.train={frames} are named, or what latent actions "
            "do could not be learned"
        )
    if "env" not in (config["data"]["recorder"] or {}):
        raise UserError(f"data={config['data']['name']} cannot be recorded: choose another, for example data=pong")
