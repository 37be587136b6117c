"""Models of a configuration: the networks that each stage trains, built from plain containers.

A checkpoint carries the configuration it was trained with, so its model can be built without Lightning, losses or
metrics, which belong to the stages (`genie.stages`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from genie.common.errors import UserError, reason
from genie.models.actor_critic import Actor, Critic
from genie.models.delta import DeltaModel
from genie.models.dynamics import DynamicsModel
from genie.models.heads import RewardModel
from genie.models.latent_action import LatentActionModel, TokenActionModel
from genie.models.patches import Patches
from genie.models.rssm import Rssm
from genie.models.tokenizer import VideoTokenizer

STATES, FRAMES = "states", "frames"  # contents of clips
SIMULATORS = {"rssm": FRAMES, "delta": STATES}  # observations by kind of simulator
WITH_CRITIC = ("actor_critic",)  # policies
GENIE_STAGES = ("tokenizer", "lam", "dynamics", "cotrain")  # make a Genie world, from video alone
ON_WORLD = ("reward", "policy")  # trained on a finished world
Part = TypeVar("Part", bound=nn.Module)


def build_models(config: dict[str, Any]) -> dict[str, nn.Module]:
    """The models that a stage trains, by their names in its checkpoints; without initial weights. Raises UserError for
    invalid options, in a line that names the key, and for an unknown stage."""
    name = config["stage"]["name"]
    if name not in tuple(BUILDERS):  # a list is unhashable
        raise UserError(f"unknown stage {name!r}: choose one of {', '.join(BUILDERS)}")
    return BUILDERS[name](config)


def observed_by(config: dict[str, Any]) -> str:
    """Contents of a stage's clips: "frames" or "states"."""
    stage = config["stage"]
    if stage["name"] == "simulator":
        return SIMULATORS[config["simulator"]["kind"]]
    return STATES if len(stage.get("observation_shape", ())) == 1 else FRAMES  # of the world that the stage is on


def register_data_facts(module: nn.Module, config: dict[str, Any]) -> None:
    """Registers the buffers of every stage's data: `background` [C, H, W] in [0, 1] (None for states) and `fps`."""
    background = None
    if observed_by(config) == FRAMES:
        channels = config["model"]["tokenizer"].get("channels", 3)
        background = torch.zeros(channels, *config["model"]["image_size"])
    module.register_buffer("background", background)
    module.register_buffer("fps", torch.tensor(10.0))


def build_part(cls: type[Part], key: str, options: dict[str, Any], **extra) -> Part:
    """`cls(**options, **extra)`; UserError for an invalid option, with the `key` of the options."""
    try:
        return cls(**options, **extra)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}: {reason(error).replace(cls.__name__ + '.__init__() ', '')}") from error


def build_tokenizer(config: dict[str, Any]) -> VideoTokenizer:
    model = config["model"]
    return build_part(VideoTokenizer, "model.tokenizer", model["tokenizer"], image_size=model["image_size"])


def build_lam(config: dict[str, Any]) -> LatentActionModel:
    """The latent action model on pixels, or with `input: tokens` on the tokenizer's tokens."""
    model = config["model"]
    lam, tokenizer, image_size = dict(model["lam"]), model["tokenizer"], model["image_size"]
    read = lam.pop("input", "pixels")
    if read == "pixels":
        return build_part(LatentActionModel, "model.lam", lam, image_size=image_size)
    if read == "tokens":
        lam |= {name: tokenizer[name] for name in ("patch_size", "num_codes")}
        return build_part(TokenActionModel, "model.lam", lam, image_size=image_size)
    raise UserError(f"model.lam.input={read!r}: choose pixels or tokens")


def build_dynamics(config: dict[str, Any]) -> DynamicsModel:
    """The dynamics model, with the vocabulary and grid of the tokenizer."""
    model = config["model"]
    tokenizer = model["tokenizer"]
    patches = Patches(tuple(model["image_size"]), tokenizer["patch_size"])
    levels = tokenizer.get("levels") if tokenizer.get("quantizer") == "fsq" else None
    codes = {"num_codes": tokenizer["num_codes"], "levels": levels}
    return build_part(DynamicsModel, "model.dynamics", model["dynamics"], grid=patches.grid, **codes)


def build_simulator(config: dict[str, Any]) -> Rssm | DeltaModel:
    simulator, sizes = config["simulator"], simulator_sizes(config)
    if simulator["kind"] == "rssm":
        options = simulator["model"] | {name: sizes[name] for name in ("num_actions", "action_size")}
        return build_part(Rssm, "simulator.model", options, image_size=config["model"]["image_size"])
    circles = simulator["constraints"]["circles"]
    return build_part(DeltaModel, "simulator.model", simulator["model"] | sizes, circles=circles)


def build_reward(config: dict[str, Any]) -> RewardModel:
    reward, shape = config["reward"], config["stage"]["feature_shape"]
    return build_part(RewardModel, "reward", reward["network"], feature_shape=shape, kind=reward["name"])


def build_policy(config: dict[str, Any]) -> nn.ModuleDict:
    """The `actor`, and the `critic` of an objective that has one."""
    stage, policy = config["stage"], config["policy"]
    shape, sizes = tuple(stage["feature_shape"]), policy["network"]
    actions = {name: stage[name] for name in ("num_actions", "action_size")}
    model = nn.ModuleDict({"actor": Actor(shape, **actions, **sizes)})
    if policy["name"] in WITH_CRITIC:
        model["critic"] = Critic(shape, **sizes)
    return model


def simulator_sizes(config: dict[str, Any]) -> dict[str, int | None]:
    """`num_actions`, `action_size` and `state_size`; one action and one number where the data are not known, as for
    tables of sizes."""
    sizes = dict(config["simulator"]["sizes"])
    if sizes["num_actions"] is None and sizes["action_size"] is None:
        return sizes | {"num_actions": 1, "state_size": 1}
    return sizes


# stage -> its models by their names in a checkpoint
BUILDERS: dict[str, Callable[[dict[str, Any]], dict[str, nn.Module]]] = {
    "tokenizer": lambda config: {"model": build_tokenizer(config)},
    "lam": lambda config: {"model": build_lam(config)},
    "dynamics": lambda config: {"model": build_dynamics(config)},
    "cotrain": lambda config: {"model": build_dynamics(config), "lam": build_lam(config)},
    "simulator": lambda config: {"model": build_simulator(config)},
    "reward": lambda config: {"model": build_reward(config)},
    "policy": lambda config: {"model": build_policy(config)},
}
STAGES = tuple(BUILDERS)  # in the order of training
