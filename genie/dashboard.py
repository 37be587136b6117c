"""Dashboard in Weights & Biases: `python -m genie.dashboard project=genie`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import DashboardConfig


@hydra_main("dashboard")
def main(config: DashboardConfig) -> None:
    from genie.publishing.dashboard import make_dashboard

    make_dashboard(config)


if __name__ == "__main__":
    main()
