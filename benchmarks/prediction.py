"""How far ahead does a world see? `python -m benchmarks.prediction run=outputs/pong` prints its error by the horizon.

For worlds of any kind, on held-out clips: see genie/evaluation/prediction.py.

    split=test clips=64 prompt_frames=4 horizon=10 batch=64 seed=0 kind=simulator sampler=greedy
"""

import sys

import torch

from data_modules.clip_data_module import ClipDataModule
from genie.evaluation.prediction import actions_between, prediction_errors
from genie.sampling import Samplers
from genie.world.protocol import World


def clips_of(world: World, split: str, count: int, length: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Observations [N, T, *O] and recorded actions [N, T, …] of at most `count` clips."""
    settings = {"num_frames": length, "batch_size": 1, "val_clips": count, "num_workers": 0, "in_memory": False}
    module = ClipDataModule(**{**world.config["data"], **settings})
    module.setup()
    samples = [module.datasets[split][index] for index in range(len(module.datasets[split]))]
    frames = "frames" in samples[0]
    seen = torch.stack([sample["frames"].float() / 255 if frames else sample["states"] for sample in samples])
    return seen, torch.stack([sample["actions"] for sample in samples]) if "actions" in samples[0] else None


def main() -> None:
    from genie.world.opening import open_world

    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    run, split = given.get("run", "outputs/pong"), given.get("split", "test")
    count, prompt, horizon, batch, seed = (
        int(given.get(name, default))
        for name, default in [("clips", 64), ("prompt_frames", 4), ("horizon", 10), ("batch", 64), ("seed", 0)]
    )
    world = open_world(run, given.get("kind"))
    if "sampler" in given:
        world.sampler = Samplers(world.sampler).named(given["sampler"])
    observations, recorded = clips_of(world, split, count, prompt + horizon)
    actions = actions_between(world, observations, recorded)
    errors = prediction_errors(world, observations, actions, prompt, batch, seed)
    columns = {"error": errors.error, "copy of the last": errors.error_copy_last}
    if errors.token_error is not None:
        columns |= {"wrong tokens": errors.token_error, "copy's wrong tokens": errors.token_error_copy_last}
    print(f"{run}, {len(observations)} clips of {split}, {prompt} given")
    print(f"| step | {' | '.join(columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    for number, values in enumerate(zip(*columns.values(), strict=True), 1):
        print(f"| {number} | {' | '.join(f'{value:.4f}' for value in values)} |")


if __name__ == "__main__":
    main()
