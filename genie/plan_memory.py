"""What a training takes of each device, and how long: `python -m genie.plan_memory model=paper trainer=fsdp`."""

from typing import Any

from hydra.core.hydra_config import HydraConfig

from genie.common.cli import hydra_main


@hydra_main("plan_memory")
def main(config: dict[str, Any]) -> None:
    from genie.training.memory_plan.plan_memory import (
        plan,  # seconds to import: --help and a misspelt key need not wait for it
    )

    plan(config, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    main()
