"""Operations, tokens and time of a training."""

import math
from dataclasses import dataclass
from typing import Any

BACKWARD = 2  # a backward pass takes a product for each of the two factors of a forward product


@dataclass(frozen=True)
class Batch:
    """Clips of a step: `clips` on each device at a time, as the user `given` them, or as the recipe's `wanted` clips of
    a step are dealt out."""

    clips: int
    devices: int
    accumulate: int
    wanted: int
    given: bool

    @property
    def step(self) -> int:
        """Clips of a step, of all devices."""
        return self.clips * self.devices * self.accumulate


@dataclass(frozen=True)
class Work:
    """What a training computes, on all devices together.

    forward: operations of the forward passes of a step, trained part; `frozen`: of earlier stages.
    step: model operations of a step: forward and backward pass, and the frozen passes; `executed`: with what activation
        checkpointing does again.
    training: model operations of all steps; `tokens`: that they see.
    seconds: of the training at the given share of the devices' peak.
    """

    forward: int
    frozen: int
    step: int
    executed: int
    training: int
    tokens: int
    seconds: float


def batch_of(config: dict[str, Any], devices: int, accumulate: int, given: bool) -> Batch:
    """`given`: data.batch_size is the user's; else the recipe's clips of a step are dealt out, rounded up."""
    wanted = config["recipe"][config["stage"]["name"]]["batch_size"]
    clips = config["data"]["batch_size"] if given else math.ceil(wanted / (devices * accumulate))
    return Batch(clips, devices, accumulate, wanted, given)


def work_of(
    config: dict[str, Any], batch: Batch, tokens_per_frame: int, forward: int, frozen: int, again: bool, speed: float
) -> Work:
    """`forward`, `frozen`: operations of the passes on `batch.clips` clips; `again`: blocks are recomputed; `speed`:
    operations that all devices do in a second."""
    passes = batch.devices * batch.accumulate
    steps = config["trainer"]["max_steps"]
    step = ((1 + BACKWARD) * forward + frozen) * passes
    executed = step + forward * passes if again else step
    return Work(
        forward=forward * passes,
        frozen=frozen * passes,
        step=step,
        executed=executed,
        training=step * steps,
        tokens=batch.step * config["data"]["num_frames"] * tokens_per_frame * steps,
        seconds=executed * steps / speed,
    )
