"""The README.md of an exported folder: what is in it, how it was trained, how it is used, what was measured."""

from pathlib import Path

from callbacks.startup_report import short, size
from genie.pipeline import evaluated
from genie.stages import GENIE_STAGES, Stage

USES = """## Use

    pip install genie-world
    python -m genie.play run=<this folder>
    python -m genie.generate run=<this folder> prompt=picture.png actions=[0,1,2]

```python
from genie.world.world_model import WorldModel

world = WorldModel.load("<this folder>")
```
"""


def card(stages: dict[Path, Stage], dtype: str | None, measured: Path, figures: list[str]) -> str:
    """The text, in Markdown. `measured`: an evaluation.json, of which the `figures` are shown; it need not be there."""
    world = [stage for stage in stages.values() if stage.options["name"] in GENIE_STAGES]
    newest = (world or list(stages.values()))[-1]
    data, model = newest.config["data"], newest.config["model"]
    lines = [
        "---\nlibrary_name: genie-world\n---",
        f"# {newest.config['name']}",
        f"{_kind(newest)} at {float(newest.fps):g} a second, preset `{model['name']}`, trained on the data set "
        f"`{data['name']}` in clips of {data['num_frames']}.",
        "\n".join(["| file | parameters | steps | type | size |", "|---|---|---|---|---|", *_rows(stages, dtype)]),
        "A file holds the weights and, in its header, the configuration that they are built from; nothing in it is "
        "run. `config.json` is that configuration for other programs.",
    ]
    if {"dynamics", "cotrain"} & {stage.options["name"] for stage in stages.values()}:
        lines.append(USES.strip())
    values = evaluated(measured) if measured.is_file() else {}
    shown = [f"| {name} | {values[name]:.4g} |" for name in figures if name in values]
    if shown:
        lines.append("\n".join(["## Measured", "", "| figure | value |", "|---|---|", *shown]))
        if dtype == "bf16":
            lines.append("Measured before the weights were rounded.")
    return "\n\n".join(lines) + "\n"


def _kind(stage: Stage) -> str:
    """What it is, and of what."""
    what = "A [Genie](https://arxiv.org/abs/2402.15391) world model"
    if stage.options["name"] not in GENIE_STAGES:
        what = f"A light simulator (`{stage.config['stage']['name']}`)"
    if stage.observes == "states":
        return f"{what} for states"
    height, width = stage.config["data"]["image_size"]
    return f"{what} for frames of {width}x{height} pixels"


def _rows(stages: dict[Path, Stage], dtype: str | None) -> list[str]:
    counts = {file: sum(parameter.numel() for parameter in stage.parameters()) for file, stage in stages.items()}
    return [
        f"| `{file.name}` | {short(counts[file], 1000, ('', ' k', ' M', ' G'))} | {stage.trained_steps:,} | "
        f"{dtype or 'as trained'} | {size(file.stat().st_size)} |"
        for file, stage in stages.items()
    ]
