"""Preferences of people between two segments: `python -m genie.rate run=outputs/pong`."""

from genie.common.cli import hydra_main


@hydra_main("rate")
def main(config: dict) -> None:
    from genie.labeling.rate import rate

    rate(config)


if __name__ == "__main__":
    main()
