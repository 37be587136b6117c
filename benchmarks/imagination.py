"""What imagining costs: `python -m benchmarks.imagination run=outputs/pong` prints seconds and memory.

A thousand branches of ten steps from one state, as planners imagine them, so many branches at a time; then against the
horizon. The part `imagination` of `python -m genie.evaluate` measures the same, of fewer branches.

    branches=1000 horizon=10 batches=64,256,1000 horizons=5,20 sampler=greedy kind=simulator
"""

import sys

import torch
from torch import Tensor

from data_modules.held_out_clips import load_clips
from genie.common.settings.evaluation import Imagination
from genie.evaluation.imagination_cost import imagination_costs
from genie.planning.plots import shows_frames
from genie.world.protocol import World
from genie.world.sampler_choice import Samplers

PROMPT = 4  # frames of the state that branches begin from


def observations(world: World) -> Tensor:
    """What the state begins from: [1, T, *O], for worlds of numbers all zero."""
    if not shows_frames(world):
        return torch.zeros(1, 1, *world.observation_shape)
    return load_clips(world.config["data"], None, "test", 1, PROMPT, 1).floats()


def main() -> None:
    from genie.world.opening import open_world

    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    world = open_world(given.get("run", "outputs/pong"), given.get("kind"))
    if "sampler" in given:
        world.sampler = Samplers(world.sampler).named(given["sampler"])
    batches, horizons = (
        [int(size) for size in given.get(name, default).split(",") if size]
        for name, default in (("batches", "64,256,1000"), ("horizons", "5,20"))
    )
    branches, horizon = int(given.get("branches", 1000)), int(given.get("horizon", 10))
    settings = Imagination(branches=branches, horizon=horizon, batches=batches, horizons=horizons)
    print(f"{given.get('run', 'outputs/pong')}, {torch.get_num_threads()} threads")
    print("| branches | steps | at a time | seconds | steps a second | peak MB | of them for imagining |")
    print("|---|---|---|---|---|---|---|")
    for cost in imagination_costs(world, observations(world), settings):
        numbers = f"{cost.seconds:.1f} | {cost.steps_per_second:.0f} | {cost.peak_mb:.0f} | {cost.own_mb:.0f}"
        print(f"| {cost.branches} | {cost.horizon} | {cost.batch} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
