"""The README.md of an exported folder: what is in it, how it was trained, how it is used, what was measured."""

from pathlib import Path

from genie.common.tables import short, size
from genie.evaluation.provenance import evaluated
from genie.exporting.writing import WORLDS
from genie.models.building import ON_WORLD, observed_by
from genie.runs.loading import TrainedModel

GENIE = "[Genie](https://arxiv.org/abs/2402.15391) world model (preset `{model[name]}`)"
KINDS = {  # of a stage's configuration: what it is
    "tokenizer": f"The video tokenizer of a {GENIE}",
    "lam": f"The latent action model of a {GENIE}",
    "dynamics": f"A {GENIE}",
    "cotrain": f"A {GENIE}",
    "simulator": "A light simulator (`{simulator[kind]}`)",
    "reward": "A reward model (`{reward[name]}`) on a world",
    "policy": "A policy (`{policy[name]}`) in a world",
}
USES = """## Use

    {commands}

```python
from genie.world.opening import open_world

world = open_world("<this folder>")
```
"""


def card(stages: dict[Path, TrainedModel], dtype: str | None, measured: Path, figures: list[str]) -> str:
    """The text, in Markdown. `measured`: an evaluation.json, of which the `figures` are shown; it need not be there."""
    worlds = [stage for stage in stages.values() if stage.options["name"] not in ON_WORLD]
    newest = (worlds or list(stages.values()))[-1]
    data = newest.config["data"]
    lines = [
        "---\nlibrary_name: genie-world\n---",
        f"# {newest.config['name']}",
        f"{_kind(newest)} at {float(newest.fps):g} a second, trained on the data set `{data['name']}` in clips of "
        f"{data['num_frames']}.",
        "\n".join(["| file | parameters | steps | type | size |", "|---|---|---|---|---|", *_rows(stages, dtype)]),
        "A file holds the weights and, in its header, the configuration that they are built from; nothing in it is "
        "run. `config.json` is that configuration for other programs.",
    ]
    commands = _commands({stage.options["name"]: stage for stage in stages.values()})
    if commands:
        lines.append(USES.format(commands="\n    ".join(["pip install genie-world", *commands])).strip())
    values = evaluated(measured) if measured.is_file() else {}
    shown = [f"| {name} | {values[name]:.4g} |" for name in figures if name in values]
    if shown:
        lines.append("\n".join(["## Measured", "", "| figure | value |", "|---|---|", *shown]))
        if dtype == "bf16":
            lines.append("Measured before the weights were rounded.")
    return "\n\n".join(lines) + "\n"


def _kind(stage: TrainedModel) -> str:
    """What it is, and of what."""
    what = KINDS[stage.options["name"]].format_map(stage.config)
    if observed_by(stage.config) == "states":
        return f"{what} for states"
    height, width = stage.config["data"]["image_size"]
    return f"{what} for frames of {width}x{height} pixels"


def _commands(stages: dict[str, TrainedModel]) -> list[str]:
    """What there is to do with a world and what was trained on it, by the names of the stages; nothing without one."""
    commands = []
    simulator = stages.get("simulator")
    if stages.keys() & WORLDS:
        commands.append("genie.play run=<this folder>")
        commands.append("genie.generate run=<this folder> prompt=picture.png actions=[0,1,2]")
    elif simulator is None:
        return []
    if "reward" in stages or (simulator is not None and simulator.config["simulator"]["objective"]["reward"] > 0):
        commands.append("genie.act run=<this folder> planner=cem")
    if "policy" in stages:
        commands.append("genie.act run=<this folder> policy=<this folder>")
    return [f"python -m {command}" for command in commands]


def _rows(stages: dict[Path, TrainedModel], dtype: str | None) -> list[str]:
    counts = {file: sum(parameter.numel() for parameter in stage.parameters()) for file, stage in stages.items()}
    return [
        f"| `{file.name}` | {short(counts[file], 1000, ('', ' k', ' M', ' G'))} | {stage.trained_steps:,} | "
        f"{dtype or 'as trained'} | {size(file.stat().st_size)} |"
        for file, stage in stages.items()
    ]
