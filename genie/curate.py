"""Curation, the clips worth training on: `python -m genie.curate data=pong`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import CurateConfig


@hydra_main("curate")
def main(config: CurateConfig) -> None:
    from genie.labeling.curate import curate

    curate(config)


if __name__ == "__main__":
    main()
