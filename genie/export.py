"""Trained stages as safetensors files: `python -m genie.export run=outputs/pong output=exported`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("export")
def main(config: dict[str, Any]) -> None:
    from genie.publishing.export import export  # seconds to import: --help and a misspelt key need not wait for it

    for path in export(config):
        print(path)


if __name__ == "__main__":
    main()
