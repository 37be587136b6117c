"""Finds the clips that are worth training on: `python -m genie.curate data=pong`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("curate")
def main(config: dict[str, Any]) -> None:
    from genie.labeling.curate import curate  # seconds to import: --help and a misspelt key need not wait for it

    curate(config)


if __name__ == "__main__":
    main()
