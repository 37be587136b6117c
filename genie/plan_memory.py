"""Memory and time of a training, estimated: `python -m genie.plan_memory model=paper trainer=fsdp`."""

from hydra.core.hydra_config import HydraConfig

from genie.common.cli import hydra_main


@hydra_main("plan_memory")
def main(config: dict) -> None:
    from genie.training.memory_plan.plan_memory import plan

    plan(config, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    main()
