"""Play of a trained world, in browser or terminal: `python -m genie.play run=outputs/pong`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import PlayConfig


@hydra_main("play")
def main(config: PlayConfig) -> None:
    from genie.play_server.play import play

    play(config)


if __name__ == "__main__":
    main()
