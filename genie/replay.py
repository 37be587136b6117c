"""Replay of recorded episodes, compared with them: `python -m genie.replay data=pong split=val`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import ReplayConfig


@hydra_main("replay")
def main(config: ReplayConfig) -> None:
    from genie.datasets.replay import replay

    print(replay(config))


if __name__ == "__main__":
    main()
