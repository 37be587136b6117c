"""Checks of a resumed run against its checkpoint, and the settings that it takes over from it."""

from typing import Any

from data_modules.action_ids import same_actions
from genie.common.errors import UserError
from genie.runs.folder import RunFolder
from genie.runs.loading import differing
from genie.stages import Stage
from genie.stages.losses import FORMER_WEIGHTING

ORDER = "which clips a step sees"
KEYS = {"world": "stage.world"}  # where an earlier stage is named, if not in <stage>_ckpt
# What differs from the uninterrupted run when one of these keys has changed. Weights, optimiser and step never do.
NOT_KEPT = {
    "data.batch_size": ORDER,
    "data.num_frames": "the clips and their order: there are others of another length",
    "data.stride": "the clips and their order: there are others at another stride",
    "data.root": "the clips and their order: the data are others",
    "data.source": "the clips and their order: the data are others",
    "trainer.accumulate": ORDER,
    "trainer.devices": f"{ORDER} on each device, and the last bits of sums",
    "trainer.num_nodes": f"{ORDER} on each device, and the last bits of sums",
    "trainer.precision": "the last bits of all results",
    "seed": "the order of the clips, and all noise",
    "ema": "the average of the weights: with true it begins here, with false it goes",
}

# of a stage, of the latent action model in `cotrain`, of a simulator
WEIGHTINGS = ("stage", "weighting"), ("stage", "lam", "weighting"), ("simulator", "weighting")


def take_over_weighting(config: dict[str, Any], checkpoint: dict[str, Any] | None) -> dict[str, tuple[str, str]]:
    """Puts into `config` the weighting of pixels that a resumed run began with, whatever the defaults are by now;
    returns what it keeps by key: (kept, given)."""
    kept = {}
    for *path, name in WEIGHTINGS if checkpoint else ():
        then, now = checkpoint["hyper_parameters"]["config"], config
        for part in path:
            then, now = ((options or {}).get(part) or {} for options in (then, now))
        if name not in now:
            continue
        began, given = then.get(name, FORMER_WEIGHTING), now[name]
        if began != given:
            now[name] = began
            kept[".".join([*path, name])] = began, given
    return kept


def take_over_names(config: dict[str, Any], checkpoint: dict[str, Any] | None) -> None:
    """Puts into `config` the names of actions that a resumed run began with, and by what numbers became them, where
    none are given."""
    then = checkpoint["hyper_parameters"]["config"]["data"].get("actions") if checkpoint else None
    if then:
        config["data"]["actions"] = same_actions(config["data"].get("actions") or {}, then)


def announce(
    folder: RunFolder, label: str, checkpoint: dict[str, Any] | None, kept: dict[str, tuple[str, str]]
) -> None:
    """Prints from where a run with resume=true goes on, its changed settings with what cannot be kept for them, and
    what is `kept` in spite of them (`take_over_weighting`)."""
    if checkpoint is None:
        if folder.config["resume"]:
            print(f"{label}: nothing to resume in {folder.path}, starting from the first step")
        return
    print(f"{label}: going on from step {checkpoint['global_step']} of {folder.max_steps} in {folder.path}")
    for key, (then, now) in folder.changed_settings(checkpoint["hyper_parameters"]["config"]).items():
        lost = f"; not kept: {NOT_KEPT[key]}" if key in NOT_KEPT else ""
        print(f"  changed: {key} {then} -> {now}{lost}")
    for key, (then, given) in kept.items():
        print(f"  kept: {key} {then}, with which it began, not {given}: another loss is another run")


def check_same_dependencies(stage: Stage, then: dict[str, str]) -> None:
    """Raises `UserError` where an earlier stage has other weights than at the start of the run to resume, whose
    checkpoint has the fingerprints `then`."""
    now = getattr(stage, "fingerprints", {})
    for part in then:
        if now.get(part) != then[part] and part not in stage.may_have_changed():
            key = KEYS.get(part, f"{part}_ckpt")
            raise UserError(
                f"cannot resume: {key} holds other weights than those this run was started with; "
                "give the former ones, or start anew with overwrite=true"
            )


def check_same_optimizer(config: dict[str, Any], then: dict[str, Any]) -> None:
    """Raises `UserError` for another optimiser than in the configuration `then` of the checkpoint."""
    began, now = then["optimizer"].get("name", "adamw"), config["optimizer"]["name"]
    if began != now:
        raise UserError(
            f"cannot resume with optimizer={now}: the run was begun with {began}, whose state is another; "
            f"give optimizer={began}, or start anew with another name="
        )


def check_same_weights(stage: Stage, checkpoint: dict[str, Any]) -> None:
    """Raises `UserError` where the tensors of a checkpoint are not those of the stage, by name and shape.

    `RunFolder` compares the configurations; this is for other differences, such as a file from elsewhere.
    """
    found = differing(stage.state_dict(), checkpoint["state_dict"]) or _differing_moments(stage, checkpoint)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"cannot resume: the checkpoint holds other weights than this model: {', '.join(found[:3])}{more}; "
            "give the model it was started with, or another name="
        )


def _differing_moments(stage: Stage, checkpoint: dict[str, Any]) -> list[str]:
    """Parameters whose state in the optimiser has another shape than they have."""
    parameters = [parameter for group in stage.optimizer_groups() for _, parameter in group["params"]]
    states = [state.get("state") if isinstance(state, dict) else None for state in checkpoint["optimizer_states"]]
    if len(states) != 1 or not isinstance(states[0], dict):
        return ["the state of the optimiser is none"]
    found = []
    for index, state in states[0].items():
        if not isinstance(index, int):  # saved in shards, by name
            continue
        shape = parameters[index].shape if index < len(parameters) else None
        values = state.values() if isinstance(state, dict) else ()
        tensors = [value for value in values if getattr(value, "ndim", 0)]
        if not isinstance(state, dict) or any(value.shape != shape for value in tensors):
            found.append(f"moments of parameter {index} of the optimiser")
    return found
