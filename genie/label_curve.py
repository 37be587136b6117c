"""Return of a policy against its number of labels: `python -m genie.label_curve run=outputs/pong`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import LabelCurveConfig


@hydra_main("label_curve")
def main(config: LabelCurveConfig) -> None:
    from genie.agents.label_curve import label_curve

    label_curve(config)


if __name__ == "__main__":
    main()
