"""The parts of an evaluation that are about a world of any kind, as the configuration `evaluate` wants them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from genie.common.config_types import require_number, require_whole
from genie.common.errors import UserError
from genie.evaluation.clips import held_out
from genie.evaluation.imagination_cost import ImaginationSettings, evaluate_imagination
from genie.evaluation.imagined import Foresight
from genie.evaluation.long_rollout import LongSettings, evaluate_long_rollout
from genie.evaluation.prediction import evaluate_prediction
from genie.evaluation.rewards import RewardSettings, evaluate_reward, require_rewards
from genie.evaluation.side_by_side import SideSettings, draw_side_by_side
from genie.evaluation.subject import LeftOut

WORLD_PARTS = ("prediction", "reward", "imagination", "side_by_side", "long_rollout", "planning")


def world_parts(config: dict[str, Any], foresight: Foresight, folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each of `WORLD_PARTS`: its figures under their name in evaluation.json."""

    def planning() -> dict[str, Any]:
        from genie.evaluation.planning import evaluate_planning

        return {"planning": evaluate_planning(config, foresight.subject, folder)}

    return {
        "prediction": lambda: {"prediction": evaluate_prediction(foresight, folder)},
        "reward": lambda: {"reward": measure_rewards(config, foresight)},
        "imagination": lambda: {"imagination": measure_imagination(config, foresight, folder)},
        "side_by_side": lambda: draw_sides(config, foresight, folder),
        "long_rollout": lambda: evaluate_long_rollout(
            config, LongSettings(**config["long_rollout"]), foresight, folder
        ),
        "planning": planning,
    }


def check_world_parts(config: dict[str, Any]) -> None:
    """Raises UserError for the first value that cannot be."""
    require_whole(config["reward"], "clips", prefix="reward.")
    require_number({"reward.discount": config["reward"]["discount"]}, "reward.discount", above=0, most=1)
    require_whole(config["side_by_side"], "clips", "horizon", prefix="side_by_side.")
    group = config["long_rollout"]
    require_whole(group, "frames", "worlds", prefix="long_rollout.", null=False)
    if not isinstance(group["hold"], int | float) or isinstance(group["hold"], bool) or not group["hold"] >= 1:
        raise UserError(
            f"long_rollout.hold={group['hold']} must be a number of at least 1: frames that an action is held"
        )
    for start in group["fvd"]:
        require_whole({"fvd": start}, "fvd", least=0, prefix="long_rollout.", null=False)
    group = config["imagination"]
    require_whole(group, "branches", "horizon", prefix="imagination.")
    if not group["batches"]:
        raise UserError("imagination.batches=[]: give the branches at a time, such as [8,32]")
    for name in ("batches", "horizons"):
        for value in group[name]:
            require_whole({name: value}, name, prefix="imagination.")
    if "planning" in config["parts"]:
        from genie.evaluation.planning import check_planning  # it plays environments, which takes more to import

        check_planning(config)


def measure_rewards(config: dict[str, Any], foresight: Foresight) -> dict[str, Any]:
    """Rewards and ends, on clips as long as those of the training, which reach the ends of their episodes."""
    require_rewards(foresight.world)
    settings, data = RewardSettings(**config["reward"]), foresight.subject.world_data_config
    try:
        clips = held_out(config, data, settings.clips, data["num_frames"], tails=True)
    except UserError as error:
        raise LeftOut(str(error)) from error
    return evaluate_reward(foresight, clips, settings)


def measure_imagination(config: dict[str, Any], foresight: Foresight, folder: Path) -> dict[str, Any]:
    """What branches from the first clip cost."""
    group = config["imagination"]
    settings = ImaginationSettings(
        group["branches"], group["horizon"], tuple(group["batches"]), tuple(group["horizons"])
    )
    given = foresight.clips.sample(1).observations[:, : foresight.prompt]
    return evaluate_imagination(foresight.world, given, settings, folder)


def draw_sides(config: dict[str, Any], foresight: Foresight, folder: Path) -> dict[str, Any]:
    """Imagined beside real, on longer clips where the data hold such; no figures."""
    group, prompt, clips = config["side_by_side"], foresight.prompt, foresight.clips
    settings = SideSettings(group["clips"], prompt, config["fps"], config["seed"])
    with suppress(UserError):  # no episode is so long: those of the figures
        clips = held_out(config, foresight.subject.world_data_config, group["clips"], prompt + group["horizon"])
    draw_side_by_side(foresight.world, clips, settings, folder)
    return {}
