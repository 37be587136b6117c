"""Asks people which of two segments is better: `python -m genie.rate run=outputs/pong`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("rate")
def main(config: dict[str, Any]) -> None:
    from genie.labeling.rate import rate  # seconds to import: --help and a misspelt key need not wait for it

    rate(config)


if __name__ == "__main__":
    main()
