"""Planning in a world, played in the environment: `python -m genie.act run=outputs/pong planner=cem`."""

from genie.common.cli import hydra_main
from genie.common.settings.commands import ActConfig


@hydra_main("act")
def main(config: ActConfig) -> float | None:
    from genie.agents.act import act, act_for_budgets, has_budgets

    return act_for_budgets(config) if has_budgets(config) else act(config)


if __name__ == "__main__":
    main()
