"""Pipeline of recording, training and evaluation: `python -m genie.pipeline experiment=pong`."""

from genie.common.cli import hydra_main
from genie.common.overrides import given_overrides


@hydra_main("pipeline")
def main(config: dict) -> None:
    from genie.training.pipeline import run_pipeline

    run_pipeline(config, given_overrides())


if __name__ == "__main__":
    main()
