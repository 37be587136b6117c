"""Plays recorded episodes again and compares: `python -m genie.replay data=pong split=val`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("replay")
def main(config: dict[str, Any]) -> None:
    from genie.datasets.replay import replay  # seconds to import: --help and a misspelt key need not wait for it

    print(replay(config))


if __name__ == "__main__":
    main()
