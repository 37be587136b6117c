"""A planner from the group `planner` of a configuration."""

from typing import Any

from genie.common.errors import UserError
from genie.planning.cem import CrossEntropy
from genie.planning.mpc import RecedingHorizon
from genie.planning.mppi import PathIntegral
from genie.planning.objective import Value
from genie.planning.search import RandomShooting
from genie.planning.settings import CemSettings, MppiSettings, SearchSettings, settings_from
from genie.world.protocol import World

OPTIMIZERS = {
    "random_shooting": (RandomShooting, SearchSettings),
    "cem": (CrossEntropy, CemSettings),
    "mppi": (PathIntegral, MppiSettings),
}
Planner = RandomShooting | RecedingHorizon


def check_planner(group: dict[str, Any]) -> None:
    """Raises UserError for the first value of a group `planner` that cannot be, in one line."""
    if group["name"] == "mpc":
        settings = _optimizer(group["optimizer"])[1]
        execute = group["execute"]
        if not isinstance(execute, int) or isinstance(execute, bool) or not 1 <= execute <= settings.horizon:
            raise UserError(
                f"planner.execute={execute} must be a whole number in 1 … planner.optimizer.horizon={settings.horizon}"
            )
    else:
        _optimizer(group)


def build_planner(group: dict[str, Any], world: World, value: Value | None = None) -> Planner:
    """The planner of a group, in a world. Raises UserError for values that cannot be and a world without rewards.

    `value`: what the state behind the last step is worth, such as a policy's critic.
    """
    check_planner(group)
    if not world.knows_rewards:
        name = world.config.get("name", "<name>")
        raise UserError(
            "planning needs a world that predicts rewards, and this one does not: train them with "
            f"`python -m genie.train stage=reward name={name}`"
        )
    optimizer, settings = _optimizer(group["optimizer"] if group["name"] == "mpc" else group)
    search = optimizer(world, settings, value)
    return RecedingHorizon(search, group["execute"]) if group["name"] == "mpc" else search


def _optimizer(group: dict[str, Any]) -> tuple[type[RandomShooting], SearchSettings]:
    if group["name"] not in tuple(OPTIMIZERS):  # a list cannot be looked up
        raise UserError(f"planner.name={group['name']}: choose one of {', '.join([*OPTIMIZERS, 'mpc'])}")
    optimizer, kind = OPTIMIZERS[group["name"]]
    return optimizer, settings_from(kind, group)
