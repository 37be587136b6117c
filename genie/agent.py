"""Agent loop, collecting data and training by turns: `python -m genie.agent experiment=pong`."""

from genie.common.cli import hydra_main
from genie.common.overrides import given_overrides


@hydra_main("agent")
def main(config: dict) -> None:
    from genie.training.agent_loop import run_agent_loop

    run_agent_loop(config, given_overrides())


if __name__ == "__main__":
    main()
