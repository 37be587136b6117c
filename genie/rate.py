"""Preferences of people between two segments: `python -m genie.rate run=outputs/pong`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import RateConfig


@hydra_main("rate")
def main(config: RateConfig) -> None:
    from genie.labeling.rate import rate

    rate(config)


if __name__ == "__main__":
    main()
