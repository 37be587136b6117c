"""Ablations of a world, trained and compared: `python -m genie.ablate experiment=ablation_tokenizer`."""

from genie.common.cli import hydra_main
from genie.common.overrides import given_overrides


@hydra_main("ablate")
def main(config: dict) -> None:
    from genie.training.ablation import ablate

    ablate(config, given_overrides())


if __name__ == "__main__":
    main()
