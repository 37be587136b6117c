"""Training of one stage: `python -m genie.train stage=tokenizer`. `--help` explains the groups."""

from hydra.core.hydra_config import HydraConfig

from genie.common.cli import hydra_main, in_sweep


@hydra_main("train")
def main(config: dict) -> float | None:
    from genie.training.train import train

    if not in_sweep():
        return train(config)
    from genie.training.sweeps import recorded_job

    with recorded_job(config, HydraConfig.get()) as record:
        record["value"] = train(config, job=record["job"])
        return record["value"]


if __name__ == "__main__":
    main()
