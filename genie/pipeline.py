"""Makes a world from nothing: `python -m genie.pipeline experiment=pong` records, trains the stages, evaluates."""

from typing import Any

from hydra.core.hydra_config import HydraConfig

from genie.common.cli import hydra_main


@hydra_main("pipeline")
def main(config: dict[str, Any]) -> None:
    from genie.training.pipeline import run_pipeline

    given = HydraConfig.get().overrides
    searchpath = [word for word in given.hydra if word.startswith("hydra.searchpath=")]
    run_pipeline(config, [*given.task, *searchpath])


if __name__ == "__main__":
    main()
