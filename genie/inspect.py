"""Shows a data set as the model will see it: `python -m genie.inspect data=pong`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("inspect")
def main(config: dict[str, Any]) -> None:
    from genie.datasets.inspect import inspect  # seconds to import: --help and a misspelt key need not wait for it

    inspect(config)


if __name__ == "__main__":
    main()
