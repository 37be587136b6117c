"""Curation, the clips worth training on: `python -m genie.curate data=pong`."""

from genie.common.cli import hydra_main


@hydra_main("curate")
def main(config: dict) -> None:
    from genie.labeling.curate import curate

    curate(config)


if __name__ == "__main__":
    main()
