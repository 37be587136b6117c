"""Trained stages as safetensors files: `python -m genie.export run=outputs/pong output=exported`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import ExportConfig


@hydra_main("export")
def main(config: ExportConfig) -> None:
    from genie.publishing.export import export

    for path in export(config):
        print(path)


if __name__ == "__main__":
    main()
