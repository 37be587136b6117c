"""Model card of an exported folder: its README.md, with the metadata that the Hugging Face Hub reads.

Source of the metadata: https://huggingface.co/docs/hub/model-cards.
"""

from pathlib import Path
from typing import Any

import yaml

from genie.common.files import read_json
from genie.common.hub import CONTENTS
from genie.common.settings.commands import ExportConfig
from genie.common.tables import short, size
from genie.evaluation.catalogue import find
from genie.evaluation.provenance import evaluated
from genie.models.building import ON_WORLD, observed_by
from genie.publishing.hub_upload import address_of
from genie.runs.loading import TrainedModel

WORLDS = {"dynamics", "cotrain"}  # stages that make a world of a tokenizer
TAGS = ["world-model", "genie"]
GENIE = "[Genie](https://arxiv.org/abs/2402.15391) world model (preset `{model[name]}`)"
KINDS = {  # descriptions of stages, filled in from their configuration
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

world = open_world("{run}")
```
"""
Stages = dict[Path, TrainedModel]  # by file, in the order of training


def card(stages: Stages, measured: Path, trained_by: dict[str, str], config: ExportConfig, rounds: bool) -> str:
    """The text of the card. `measured`: an evaluation.json, which may be missing; `trained_by`: lines of `trainings`;
    `rounds`: whether the exported weights differ from the measured ones."""
    newest = _newest(stages)
    data, values = newest.config["data"], evaluated(measured) if measured.is_file() else {}
    shown = {name: float(f"{values[name]:.4g}") for name in config.figures if name in values}
    split = (read_json(measured) or {}).get("split")
    lines = [
        f"---\n{yaml.safe_dump(metadata(stages, shown, split, config), sort_keys=False, allow_unicode=True)}---",
        f"# {newest.config['name']}",
        f"{_kind(newest)} at {float(newest.fps):g} a second, trained on the data set `{data['name']}` in clips of "
        f"{data['num_frames']}.",
        "\n".join(
            ["| file | parameters | steps | type | size |", "|---|---|---|---|---|", *_rows(stages, config.dtype)]
        ),
        "A file holds the weights and, in its header, the configuration that they are built from; nothing in it is "
        "run. `config.json` is that configuration for other programs.",
    ]
    where = address_of(config.hub)
    run, package = ("<this folder>", "genie-world") if where is None else (str(where), "'genie-world[hub]'")
    if commands := _commands({stage.options["name"]: stage for stage in stages.values()}, run):
        lines.append(USES.format(run=run, commands="\n    ".join([f"pip install {package}", *commands])).strip())
    if trained_by:
        lines.append(
            "\n".join(
                ["## Trained", "", f"Seed {newest.config['seed']}.", ""]
                + [f"- {name}: {line}" for name, line in trained_by.items()]
            )
        )
    if shown:
        rows = [f"| {name} | {value:.4g} |" for name, value in shown.items()]
        lines.append("\n".join(["## Measured", "", "| figure | value |", "|---|---|", *rows]))
        if rounds:
            lines.append("Measured before the weights were rounded.")
    return "\n\n".join(lines) + "\n"


def metadata(stages: Stages, figures: dict[str, float], split: str | None, config: ExportConfig) -> dict[str, Any]:
    """The header of the card. `figures`: those that it shows, of a `split` of the data; trivial predictions among them
    are no results of the model."""
    newest = _newest(stages)
    names = {stage.options["name"] for stage in stages.values()}
    task = "image-to-video" if names & WORLDS or names == {"simulator"} else None  # of those that the Hub knows
    if "policy" in names or observed_by(newest.config) == "states":
        task = "reinforcement-learning"
    found = {"library_name": "genie-world", "license": config.license, "pipeline_tag": task, "tags": TAGS}
    found["datasets"] = config.datasets
    metrics = [
        {
            "type": name,
            "name": f"{info.label} ({info.unit})" if info.unit not in ("", "%") else info.label,
            "value": value,
        }
        for name, value in figures.items()
        if (info := find(name))
    ]
    if metrics:
        data = newest.config["data"]["name"]
        dataset = {"name": data, "type": config.datasets[0] if config.datasets else data}
        result = {
            "task": {"type": task or "other", "name": "World model"},
            "dataset": dataset | ({"split": split} if split else {}),
            "metrics": metrics,
        }
        found["model-index"] = [{"name": newest.config["name"], "results": [result]}]
    return {key: value for key, value in found.items() if value}


def trainings(stages: Stages, run: Path) -> dict[str, str]:
    """What the run folder, or an exported folder's config.json, knows of the trainings: by stage, the command, minutes,
    device and torch's version."""
    known = read_json(run / CONTENTS) or {}
    found = {file.stem: known.get(file.name, {}).get("trained_by") for file in stages}
    for name in found:
        record = read_json(run / name / "run.json")
        if record and record.get("starts"):
            first = record["starts"][0]
            minutes = sum(start["seconds"] for start in record["starts"]) / 60
            threads = "1 thread" if first["threads"] == 1 else f"{first['threads']} threads"
            found[name] = (
                f"`{first['command']}`, {minutes:.0f} minutes on {first['device']} ({threads}), torch "
                f"{first['versions']['torch']}"
            )
    return {name: line for name, line in found.items() if isinstance(line, str)}


def _newest(stages: Stages) -> TrainedModel:
    """The stage that the card is about: the last one that is none on a finished world, if there is one."""
    worlds = [stage for stage in stages.values() if stage.options["name"] not in ON_WORLD]
    return (worlds or list(stages.values()))[-1]


def _kind(stage: TrainedModel) -> str:
    what = KINDS[stage.options["name"]].format_map(stage.config)
    if observed_by(stage.config) == "states":
        return f"{what} for states"
    height, width = stage.config["data"]["image_size"]
    return f"{what} for frames of {width}x{height} pixels"


def _commands(stages: dict[str, TrainedModel], run: str) -> list[str]:
    """Commands that take the exported folder `run`, by the names of its stages; none without a world."""
    commands = []
    simulator = stages.get("simulator")
    if stages.keys() & WORLDS:
        commands.append(f"genie.play run={run}")
        commands.append(f"genie.generate run={run} prompt=picture.png actions=[0,1,2]")
    elif simulator is None:
        return []
    if "reward" in stages or (simulator is not None and simulator.config["simulator"]["objective"]["reward"] > 0):
        commands.append(f"genie.act run={run} planner=cem")
    if "policy" in stages:
        commands.append(f"genie.act run={run} policy={run}")
    return [f"python -m {command}" for command in commands]


def _rows(stages: Stages, dtype: str | None) -> list[str]:
    counts = {file: sum(parameter.numel() for parameter in stage.parameters()) for file, stage in stages.items()}
    return [
        f"| `{file.name}` | {short(counts[file], 1000, ('', ' k', ' M', ' G'))} | {stage.trained_steps:,} | "
        f"{dtype or 'as trained'} | {size(file.stat().st_size)} |"
        for file, stage in stages.items()
    ]
