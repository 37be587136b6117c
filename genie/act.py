"""Plays the real environment by planning in a trained world: `python -m genie.act run=outputs/pong planner=cem`."""

from typing import Any

from genie.common.cli import hydra_main


@hydra_main("act")
def main(config: dict[str, Any]) -> float | None:
    from genie.agents.act import act, act_for_budgets, has_budgets  # seconds to import: --help need not wait for it

    return act_for_budgets(config) if has_budgets(config) else act(config)


if __name__ == "__main__":
    main()
