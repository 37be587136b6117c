"""Generates a video from a prompt and a sequence of actions: `python -m genie.generate run=outputs/pong`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("generate")
def main(config: dict[str, Any]) -> None:
    from genie.play_server.generate import generate  # seconds to import: --help and a misspelt key need not wait for it

    print(generate(config))


if __name__ == "__main__":
    main()
