"""Trains variants of a world and compares them: `python -m genie.ablate experiment=ablation_tokenizer`."""

from typing import Any

from hydra.core.hydra_config import HydraConfig

from genie.common.cli import hydra_main
from genie.common.errors import RunError


@hydra_main("ablate")
def main(config: dict[str, Any]) -> None:
    # seconds to import: --help and a misspelt key need not wait for it
    from genie.common.tables import print_table
    from genie.training.ablation import Ablation, rich_table

    given = HydraConfig.get().overrides
    searchpath = [override for override in given.hydra if override.startswith("hydra.searchpath=")]
    ablation = Ablation(config, [*given.task, *searchpath])
    report = ablation.run()
    print_table(rich_table(report))
    print(f"table.md, table.csv and ablation.json: {ablation.folder}")
    if failed := report["failed"]:
        reasons = "; ".join(f"{world} ({reason})" for world, reason in failed.items())
        raise RunError(f"not measured: {reasons}; the same command goes on from there")


if __name__ == "__main__":
    main()
