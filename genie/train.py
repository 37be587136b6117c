"""Trains one stage: `python -m genie.train stage=tokenizer`. `--help` explains the groups."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from genie.cli import hydra_main


@hydra_main("train")
def main(config: dict[str, Any]) -> float | None:
    from genie.training import train  # seconds to import: --help and a misspelt key need not wait for it

    hydra_config = HydraConfig.get()
    swept = hydra_config.mode == RunMode.MULTIRUN
    if swept and not any(override.startswith("run_dir=") for override in hydra_config.overrides.task):
        # The jobs of a sweep share name and stage: each trains in its own folder of the sweep.
        config["run_dir"] = str(Path(hydra_config.sweep.dir) / hydra_config.sweep.subdir / config["stage"]["name"])
    return train(config)


if __name__ == "__main__":
    main()
