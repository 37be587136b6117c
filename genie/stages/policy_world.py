"""What policies ask of the world that they learn in, and of the recordings."""

from gymnasium import spaces
from torch import Tensor

from genie.world.protocol import World


def space_of(world: World) -> tuple[int | None, int | None]:
    """(number of actions, None) or (None, numbers of an action) that the world takes."""
    space = world.action_space
    return (int(space.n), None) if isinstance(space, spaces.Discrete) else (None, int(space.shape[0]))


def recorded_between(world: World, batch: dict[str, Tensor], length: int) -> Tensor | None:
    """The recorded actions between the first `length` observations of clips, where the world's actions are those."""
    known = world.takes_environment_actions and "actions" in batch
    return batch["actions"][:, : length - 1] if known else None
