"""Inspection of a data set as the model sees it: `python -m genie.inspect data=pong`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import InspectConfig


@hydra_main("inspect")
def main(config: InspectConfig) -> None:
    from genie.datasets.inspect import inspect

    inspect(config)


if __name__ == "__main__":
    main()
