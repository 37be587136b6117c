"""`python -m genie.plan_memory`: the stages' configurations, their plans, the tables, the file."""

import json
from pathlib import Path
from typing import Any

from hydra import compose
from rich.console import Console

from genie.common.cli import to_plain
from genie.common.config_types import require_number
from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.folder_lock import require_writable
from genie.common.tables import print_table
from genie.sizing.comparison import comparison
from genie.sizing.plan import StagePlan, plan_stage
from genie.sizing.table import remarks, table, title
from genie.stages import GENIE_STAGES

PAPER = "paper"  # the preset whose training was published


def plan(config: dict[str, Any], overrides: list[str]) -> list[StagePlan]:
    """Prints the plans of all stages, or of the one that `overrides` name, and writes `config["json"]`.

    `overrides`: those that `config` was composed with. Raises UserError for what cannot be planned.
    """
    check(config)
    if config["stage"]["name"] not in GENIE_STAGES:
        choices = ", ".join(GENIE_STAGES)
        raise UserError(f"there is no plan for stage={config['stage']['name']}: choose one of {choices}")
    given = [override for override in overrides if not override.startswith("stage=")]
    configs = {stage: to_plain(compose("plan_memory", [*given, f"stage={stage}"])) for stage in GENIE_STAGES}
    wanted = [config["stage"]["name"]] if len(given) < len(overrides) else list(GENIE_STAGES)
    batch_given = any(override.startswith("data.batch_size=") for override in given)
    plans = [plan_stage(configs[stage], configs, batch_given) for stage in wanted]
    console = Console()
    console.print(title(plans, config), soft_wrap=True, highlight=False, markup=False)
    print_table(table(plans, config))
    lines = [*remarks(plans), *(comparison(plans) if config["model"]["name"] == PAPER else [])]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if config["json"] is not None:
        write(Path(config["json"]), plans, config)
    return plans


def check(config: dict[str, Any]) -> None:
    """Raises UserError for a device that cannot be and a file that cannot be written."""
    device = config["hardware"]
    for name, most in (("flops", 1e18), ("memory_gib", 1e5), ("utilization", 1)):
        require_number({f"hardware.{name}": device[name]}, f"hardware.{name}", above=0, most=most)
    if config["json"] is not None and Path(config["json"]).is_dir():
        raise UserError(f"json={config['json']} is a folder: give the name of a file")
    if config["json"] is not None:
        require_writable(config["json"], "json=")


def write(path: Path, plans: list[StagePlan], config: dict[str, Any]) -> None:
    """The plans as numbers (bytes, operations, seconds), by stage, and the device they are for."""
    content = {"hardware": config["hardware"], "stages": {plan.stage: plan.numbers() for plan in plans}}
    try:
        with replacing(path, "w") as file:
            json.dump(content, file, indent=2)
    except OSError as error:
        raise UserError(f"cannot write json={path} ({error.strerror or error})") from error
