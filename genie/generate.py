"""Generation of a video from a prompt and actions: `python -m genie.generate run=outputs/pong`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import GenerateConfig


@hydra_main("generate")
def main(config: GenerateConfig) -> None:
    from genie.play_server.generate import generate

    print(generate(config))


if __name__ == "__main__":
    main()
