"""Provenance of an evaluation.json: settings, versions and command, and whether it is still up to date."""

import json
import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from genie.common.files import read_json
from genie.common.overrides import override
from genie.common.profiling import machine, now, software_versions
from genie.common.settings.evaluation import EvaluateConfig

TRAINED = ("*/checkpoints/last.ckpt", "*.safetensors")  # files of a run's stages, and of exported ones
# keys that no metric depends on
NOT_SETTINGS = ("run", "output", "device", "batch_size", "reuse", "report")


def provenance(config: EvaluateConfig) -> dict[str, Any]:
    """`date` (UTC), `command` (None without a command line), `settings` of the metrics, `machine`, `versions`."""
    return {
        "date": now(),
        "command": command(config.run, config.output),
        "settings": settings(config),
        "machine": machine(),
        "versions": software_versions(),
    }


def command(run: str, output: str | None) -> str | None:
    """The command line that evaluates `run` alone in the same way; None where Hydra composed none."""
    if not HydraConfig.initialized():
        return None
    own = ("run=", "reuse=", "output=")
    given = [word for word in HydraConfig.get().overrides.task if not word.startswith(own)]
    where = [] if output is None else [override("output", output)]
    return shlex.join(["python", "-m", "genie.evaluate", override("run", run), *given, *where])


def settings(config: EvaluateConfig) -> dict[str, Any]:
    """The part of a configuration that the metrics depend on."""
    return {name: value for name, value in config.plain().items() if name not in NOT_SETTINGS}


def newer_than_checkpoints(evaluation: Path, run: Path) -> bool:
    """Whether the file exists, no stage of `run` was trained since it was written, and no part of it failed."""
    files = [path for pattern in TRAINED for path in run.glob(pattern)]
    trained = [path.stat().st_mtime for path in files]
    if not evaluation.exists() or evaluation.stat().st_mtime < max(trained, default=0):
        return False
    values = read_json(evaluation)  # None: damaged
    return values is not None and not values.get("failed")


def still_holds(evaluation: Path, config: EvaluateConfig) -> bool:
    """Whether evaluating `config` now would give this evaluation.json."""
    if not newer_than_checkpoints(evaluation, Path(config.run)):
        return False
    recorded = (read_json(evaluation) or {}).get("provenance")
    recorded = recorded.get("settings") if isinstance(recorded, dict) else None
    return recorded == json.loads(json.dumps(settings(config)))


def evaluated(report: Path) -> dict[str, float]:
    """Every number of an evaluation.json by its path."""
    return numbers(read_json(report) or {})


def numbers(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number of nested dicts by its path: {"rollout": {"psnr": 30}} -> {"rollout.psnr": 30}."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = value
    return found
