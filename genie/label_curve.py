"""How many labels latent actions need: `python -m genie.label_curve run=outputs/pong`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("label_curve")
def main(config: dict[str, Any]) -> None:
    from genie.agents.label_curve import label_curve  # seconds to import: --help need not wait for it

    label_curve(config)


if __name__ == "__main__":
    main()
