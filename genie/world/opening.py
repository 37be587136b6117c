"""The world of a run folder, whatever kind it is of."""

from pathlib import Path

from genie.common.errors import UserError
from genie.runs.loading import stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.protocol import World
from genie.world.world_model import WorldModel

# by kind, in the order of preference: the stages of which one makes a run hold such a world
KINDS = {"genie": ("dynamics", "cotrain"), "simulator": ("simulator",)}


def open_world(run: str | Path, kind: str | None = None) -> World:
    """The world of `outputs/<name>` or of an exported folder, on the CPU.

    kind: "genie" (tokens and dynamics) or "simulator"; None: what there is, of both the first.

    Raises UserError where there is none of that kind, and what loading it raises.
    """
    folder = Path(run)
    if kind is not None and kind not in tuple(KINDS):  # a list cannot be looked up
        raise UserError(f"there is no kind {kind!r} of world: choose one of {', '.join(KINDS)}")
    found = kinds_of(folder)
    if kind is None and found:
        kind = found[0]
    if kind not in found:
        raise UserError(f"{folder} holds no trained world{_hint(folder, kind, found)}")
    if kind == "genie":
        return WorldModel.load(folder)
    from genie.world.simulator_world import SimulatorWorld

    return SimulatorWorld.load(folder)


def kinds_of(folder: Path) -> list[str]:
    """The kinds of world that a run folder holds."""
    return [kind for kind, stages in KINDS.items() if any(is_checkpoint(stage_file(folder, stage)) for stage in stages)]


def _hint(folder: Path, kind: str | None, found: list[str]) -> str:
    """What is wrong with the folder, to the end of the sentence."""
    if found:
        return f" of the kind {kind}, but one of the kind {found[0]}"
    if not folder.exists():
        return ": there is no such folder"
    if (folder / "checkpoints").is_dir():
        return f": it is the folder of one stage, give {folder.parent}"
    missing = " and no ".join(str(stage_file(folder, stages[0])) for stages in KINDS.values())
    return f" (no {missing}): train one with `python -m genie.train stage=dynamics`"
