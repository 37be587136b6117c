"""Makes the dashboard in Weights & Biases: `python -m genie.dashboard project=genie`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("dashboard")
def main(config: dict[str, Any]) -> None:
    from genie.publishing.dashboard import (
        make_dashboard,  # seconds to import: --help and a misspelt key need not wait for it
    )

    make_dashboard(config)


if __name__ == "__main__":
    main()
