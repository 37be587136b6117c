"""Plays a trained world in the browser or in a terminal: `python -m genie.play run=outputs/pong`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("play")
def main(config: dict[str, Any]) -> None:
    from genie.play_server.play import play  # seconds to import: --help and a misspelt key need not wait for it

    play(config)


if __name__ == "__main__":
    main()
