"""How much of what could be had does a learned world give? `python -m benchmarks.control runs=outputs/pendulum`

Swings the real Pendulum up: at random, by a solver, and by planning in trained worlds, on the same seeds. The solver is
the same planner in the true equations, so that between it and a world there is nothing but what the world got wrong.

    runs=outputs/a,outputs/b episodes=20 seed=0 horizon=20 candidates=100
"""

from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces
from hydra import compose, initialize_config_module
from torch import Tensor

from benchmarks.arguments import arguments, configuration, started
from data_modules.environments import open_environment
from genie.agents.act import episode_seed
from genie.agents.agents import PlanningAgent, RandomAgent
from genie.agents.episodes import play_episodes
from genie.agents.statistics import Estimate, mean_of
from genie.common.cli import to_plain
from genie.common.random import row_seeds
from genie.common.settings.kinds import Count, Place, Seed, Settings
from genie.planning.optimizers import build_planner
from genie.world.opening import open_world
from genie.world.protocol import Step, World
from genie.world.simulator_world import SimulatorState


class Arguments(Settings):
    runs: list[Place] = ["outputs/pendulum"]
    episodes: Count = 20
    seed: Seed = 0


GRAVITY, STEP, TORQUE, FASTEST = 10.0, 0.05, 2.0, 8.0  # of Pendulum-v1, whose mass and length are 1


class PendulumWorld:
    """The equations of Gymnasium's Pendulum-v1 as a `World`: what a perfect model of it would imagine. The `values`
    [B, 3] of a state are cosine and sine of the angle, and its speed."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    observation_shape = feature_shape = (3,)
    num_context, fps, config = 1, 1 / STEP, {"name": "pendulum"}
    knows_rewards = takes_environment_actions = True
    knows_ends = knows_uncertainty = False
    device = torch.device("cpu")

    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> SimulatorState:
        seeds = row_seeds(seed, len(observations), self.device)
        return SimulatorState(observations[:, -1], seeds, torch.zeros_like(seeds))

    def observe(self, state: SimulatorState, observation: Tensor, actions: Tensor) -> SimulatorState:
        return replace(state, values=observation)

    def warmed(self, state: SimulatorState) -> SimulatorState:
        return state

    def step(self, state: SimulatorState, actions: Tensor, decode: bool = True) -> tuple[SimulatorState, Step]:
        cosine, sine, speed = state.values.unbind(-1)
        angle, torque = torch.atan2(sine, cosine), TORQUE * actions[:, 0]
        reward = -(angle.square() + 0.1 * speed.square() + 0.001 * torque.square())
        speed = (speed + (1.5 * GRAVITY * sine + 3 * torque) * STEP).clamp(-FASTEST, FASTEST)
        angle = angle + speed * STEP
        values = torch.stack([angle.cos(), angle.sin(), speed], dim=-1)
        return replace(state, values=values), Step(reward, torch.ones_like(reward), values if decode else None)


def main() -> None:
    given, others = arguments(Arguments, others=True)
    overrides = ["run=x", "planner=cem", "planner.batch_size=100000", *(f"planner.{one}" for one in others)]
    planner = configuration("act", overrides).planner
    with initialize_config_module("conf", version_base="1.3"):
        settings = to_plain(compose("record", ["data=pendulum"]).data.recorder)
    worlds: dict[str, World] = {"the true equations": PendulumWorld()} | {run: open_world(run) for run in given.runs}
    environments = [open_environment(settings, None) for _ in range(given.episodes)]
    seeds = [episode_seed(given.seed, number) for number in range(given.episodes)]
    agents = {"random": RandomAgent(environments[0].action_space)}
    agents |= {name: PlanningAgent(world, build_planner(planner, world)) for name, world in worlds.items()}
    found: dict[str, Estimate] = {}
    for name, agent in agents.items():
        found[name] = mean_of([episode.return_ for episode in play_episodes(environments, agent, seeds)])
    low, high = found["random"].mean, found["the true equations"].mean
    print(f"{given.episodes} episodes, {planner.candidates} candidates x {planner.iterations}, {planner.horizon} steps")
    print("| plays by | return (95% interval) | share of the solver's gain over random play |")
    print("|---|---|---|")
    for name, one in found.items():
        print(f"| {name} | {one.mean:.1f} ({one.low:.1f} … {one.high:.1f}) | {(one.mean - low) / (high - low):.1%} |")


if __name__ == "__main__":
    started(main)
