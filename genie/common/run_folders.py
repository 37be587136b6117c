"""Run folders by the names of their files: which stages they hold, and what to do about one that holds too little.

Nothing is read and torch is not imported, so that a shell can complete names of runs.
"""

import difflib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from genie.common import shipped
from genie.common.errors import UserError

OUTPUTS = Path("outputs")
STAGES = ("tokenizer", "lam", "dynamics", "cotrain", "simulator", "reward", "policy")  # in the order of training
DEPTH = 3  # outputs/hf/user/name; the name of a run may have a slash
MOST_NAMED = 5  # runs in a message


def stages_in(folder: Path) -> list[str]:
    """Stages of which a folder holds a checkpoint or an exported file, in the order of training."""
    return [
        stage
        for stage in STAGES
        if (folder / stage / "checkpoints" / "last.ckpt").exists() or (folder / f"{stage}.safetensors").is_file()
    ]


def runs_in(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Folders below one that hold a trained stage, sorted; none where it cannot be read."""
    with suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if stages_in(entry):
                yield entry
            elif depth > 1:
                yield from runs_in(entry, depth - 1)


def known_runs() -> list[str]:
    """Runs in outputs/ and worlds that come with the package, by their names."""
    names = [f"{shipped.PREFIX}/{folder.name}" for folder in sorted(shipped.HOME.glob("*/"))]
    return [str(run) for run in runs_in(OUTPUTS) if str(run.relative_to(OUTPUTS)) not in names] + names


def require_world(run: Path) -> None:
    """Raises UserError, with the key run=, for a folder without the dynamics of a Genie world."""
    if not {"dynamics", "cotrain"} & {*stages_in(run)}:
        raise UserError(f"run={run} holds no trained world: {explained(run, 'run=')}")


def explained(run: Path, key: str = "", need: str = "dynamics") -> str:
    """Why a folder is not the run that a command needs, and what to do: the end of a line. `key`: that it was given
    as, such as run=. `need`: the stage without which it is no world."""
    if not run.exists():
        return f"there is no such folder; {_others(run)}"
    if not run.is_dir():
        return f"it is a file; {_others(run)}"
    if (run / "checkpoints").is_dir():
        return f"it is the folder of one stage, give {key}{run.parent}"
    if not (held := stages_in(run)):
        return f"no stage is trained there; {_others(run)}"
    stage = need if need == "simulator" else _next_stage(held)
    command = f"`python -m genie.train stage={stage} {_place(run)}`"
    return f"it holds {', '.join(held)}; next comes {command}, with the data= and model= of the others"


def _others(run: Path) -> str:
    """Runs of which one may be meant: those of a similar name, else some of all."""
    found = dict.fromkeys([*map(str, runs_in(run, 2)), *map(str, runs_in(run.parent, 1)), *known_runs()])
    names = [Path(name).name for name in found]
    close = difflib.get_close_matches(run.name, names, n=2, cutoff=0.6)
    if meant := [name for name in found if Path(name).name in close][:2]:
        return f"did you mean {' or '.join(meant)}?"
    if not found:
        return "train one with `python -m genie.train stage=tokenizer`"
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"there is: {', '.join(list(found)[:MOST_NAMED])}{more}"


def _next_stage(held: list[str]) -> str:
    if "tokenizer" not in held:
        return "tokenizer"
    return "dynamics" if "lam" in held else "lam"


def _place(run: Path) -> str:
    """The keys of a training that writes into a run folder."""
    if run.is_relative_to(OUTPUTS):
        return f"name={run.relative_to(OUTPUTS)}"
    return f"output_dir={run.parent} name={run.name}"
