"""What imagining costs: `python -m benchmarks.imagination run=outputs/pong` prints seconds and memory.

A thousand branches of ten steps from one state, as planners imagine them, so many branches at a time; then against the
horizon. The part `imagination` of `python -m genie.evaluate` measures the same, of fewer branches.

    branches=1000 horizon=10 batches=64,256,1000 horizons=5,20 sampler=greedy kind=simulator
"""

import torch
from torch import Tensor

from benchmarks.arguments import arguments, started
from data_modules.held_out_clips import load_clips
from genie.common.settings.evaluation import Imagination
from genie.common.settings.kinds import Count, Place, Some, WorldKind
from genie.evaluation.imagination_cost import imagination_costs
from genie.planning.plots import shows_frames
from genie.world.protocol import World
from genie.world.sampler_choice import Samplers


class Arguments(Imagination):
    run: Place = "outputs/pong"
    kind: WorldKind | None = None
    sampler: str | None = None
    branches: Count = 1000
    horizon: Count = 10
    batches: Some[Count] = [64, 256, 1000]
    horizons: list[Count] = [5, 20]


PROMPT = 4  # frames of the state that branches begin from


def observations(world: World) -> Tensor:
    """What the state begins from: [1, T, *O], for worlds of numbers all zero."""
    if not shows_frames(world):
        return torch.zeros(1, 1, *world.observation_shape)
    return load_clips(world.config["data"], None, "test", 1, PROMPT, 1).floats()


def main() -> None:
    from genie.world.opening import open_world

    given, _ = arguments(Arguments)
    world = open_world(given.run, given.kind)
    if given.sampler is not None:
        world.sampler = Samplers(world.sampler).named(given.sampler)
    print(f"{given.run}, {torch.get_num_threads()} threads")
    print("| branches | steps | at a time | seconds | steps a second | peak MB | of them for imagining |")
    print("|---|---|---|---|---|---|---|")
    for cost in imagination_costs(world, observations(world), given):
        numbers = f"{cost.seconds:.1f} | {cost.steps_per_second:.0f} | {cost.peak_mb:.0f} | {cost.own_mb:.0f}"
        print(f"| {cost.branches} | {cost.horizon} | {cost.batch} | {numbers} |", flush=True)


if __name__ == "__main__":
    started(main)
