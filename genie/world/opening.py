"""Worlds of run folders, of any kind."""

from pathlib import Path

from genie.common.errors import UserError
from genie.common.run_folders import explained
from genie.common.shipped import located
from genie.prompts.data_clips import PromptClips
from genie.runs.loading import stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.protocol import World
from genie.world.world_model import WorldModel

# by kind, in order of preference: stages of which one suffices
KINDS = {"genie": ("dynamics", "cotrain"), "simulator": ("simulator",)}


def open_world(run: str | Path, kind: str | None = None) -> World:
    """The world of `outputs/<name>`, of an exported folder, or one that comes with the package (pretrained/pong), on
    the CPU. kind: "genie" (tokens and dynamics) or "simulator"; None: the first that exists. UserError where there is
    none."""
    folder = located(run)
    if kind is not None and kind not in tuple(KINDS):  # a list is unhashable
        raise UserError(f"there is no kind {kind!r} of world: choose one of {', '.join(KINDS)}")
    found = kinds_of(folder)
    kind = found[0] if kind is None and found else kind
    if kind not in found:
        if found:
            raise UserError(f"{folder} holds no trained world of the kind {kind}, but one of the kind {found[0]}")
        raise UserError(f"{folder} holds no trained world: {explained(folder)}")
    if kind == "genie":
        return WorldModel.load(folder)
    from genie.world.simulator_world import SimulatorWorld

    return SimulatorWorld.load(folder)


def open_clips(world: WorldModel, num_frames: int) -> PromptClips:
    """Held-out clips of the data that a world of frames was trained on, of so many frames: `clips[index]` is frames
    [T, 3, H, W] in [0, 1] and actions int64 [T]. UserError where the data are missing."""
    if "data" not in world.config:
        raise UserError("this world does not know the data it was trained on")
    return PromptClips(world.config["data"], world.image_size, num_frames, why="")


def kinds_of(folder: Path) -> list[str]:
    """The kinds of world that a run folder holds."""
    return [kind for kind, stages in KINDS.items() if any(is_checkpoint(stage_file(folder, stage)) for stage in stages)]
