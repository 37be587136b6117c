"""Recording of an environment into episode files: `python -m genie.record data=pong`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from genie.common.cli import hydra_main


@hydra_main("record", resolve=False)  # the group `data` also has keys that only training can resolve
def main(cfg: DictConfig) -> None:
    from genie.datasets.record import record, replace_environment

    replace_environment(cfg, HydraConfig.get().overrides.task)
    record(cfg.data, overwrite=cfg.overwrite)


if __name__ == "__main__":
    main()
