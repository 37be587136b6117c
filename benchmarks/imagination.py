"""What imagining costs: `python -m benchmarks.imagination run=outputs/pong` prints seconds and memory.

A thousand branches of ten steps from one state, as planners imagine them (nothing is drawn, rewards where the world has
them), so many branches at a time; then against the horizon.

    branches=1000 horizon=10 batches=64,256,1000 horizons=5,20 sampler=greedy kind=simulator
"""

import sys

import torch
from torch import Tensor

from genie.cost import measured, peak_rss_mb
from genie.evaluation.clips import load_clips
from genie.planning.objective import Objective
from genie.planning.pictures import shows_frames
from genie.sampling import Samplers
from genie.world.protocol import World

PROMPT = 4  # frames of the state that branches begin from


def observations(world: World) -> Tensor:
    """What the state begins from: [1, T, *O], for worlds of numbers all zero."""
    if not shows_frames(world):
        return torch.zeros(1, 1, *world.observation_shape)
    return load_clips(world.config["data"], None, "test", 1, PROMPT, 1).floats()


def random_plans(world: World, branches: int, horizon: int) -> Tensor:
    """[1, branches, horizon] or [1, branches, horizon, A]."""
    generator = torch.Generator().manual_seed(0)
    if hasattr(world.action_space, "n"):
        return torch.randint(int(world.action_space.n), (1, branches, horizon), generator=generator)
    return 2 * torch.rand(1, branches, horizon, *world.action_space.shape, generator=generator) - 1


def measure(world: World, given: Tensor, branches: int, horizon: int, batch: int) -> str:
    """A row of the table."""
    plans, futures = random_plans(world, branches, horizon), torch.arange(branches).view(1, branches, 1)
    objective = Objective(world, 0.99, 0.0, 0.0, batch, None)
    state = world.reset(given)
    with measured() as cost:
        before = peak_rss_mb()  # what is held already: earlier peaks are forgotten
        objective(state, plans, futures)
    rate = branches * horizon / cost.seconds
    return (
        f"| {branches} | {horizon} | {batch} | {cost.seconds:.1f} | {rate:.0f} | {cost.peak_rss_mb:.0f} | "
        f"{cost.peak_rss_mb - before:.0f} |"
    )


@torch.no_grad()
def main() -> None:
    from genie.world.opening import open_world

    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    world = open_world(given.get("run", "outputs/pong"), given.get("kind"))
    if "sampler" in given:
        world.sampler = Samplers(world.sampler).named(given["sampler"])
    branches, horizon = int(given.get("branches", 1000)), int(given.get("horizon", 10))
    batches = [int(size) for size in given.get("batches", "64,256,1000").split(",")]
    horizons = [int(size) for size in given.get("horizons", "5,20").split(",") if size]
    start = observations(world)
    measure(world, start, 2, 1, 2)  # warms up
    print(f"{given.get('run', 'outputs/pong')}, {torch.get_num_threads()} threads")
    print("| branches | steps | at a time | seconds | steps a second | peak MB | of them for imagining |")
    print("|---|---|---|---|---|---|---|")
    for batch in batches:
        print(measure(world, start, branches, horizon, batch), flush=True)
    for other in horizons:
        print(measure(world, start, branches, other, batches[0]), flush=True)


if __name__ == "__main__":
    main()
