"""Trained stages as safetensors files: `python -m genie.export run=outputs/pong output=exported`."""

from genie.common.cli import hydra_main


@hydra_main("export")
def main(config: dict) -> None:
    from genie.publishing.export import export

    for path in export(config):
        print(path)


if __name__ == "__main__":
    main()
