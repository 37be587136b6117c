"""Measures a trained run on held-out episodes: `python -m genie.evaluate run=outputs/pong`."""

from typing import Any

from genie.cli import hydra_main


@hydra_main("evaluate")
def main(config: dict[str, Any]) -> None:
    # seconds to import: --help and a misspelt key need not wait for it
    from rich.console import Console

    from genie.evaluation.report import report_table
    from genie.evaluation.run import evaluate

    report, folder = evaluate(config)
    Console().print(report_table(report))
    for part, reason in report["left_out"].items():
        print(f"left out: {part}, because {reason}")
    print(f"figures, plots and videos: {folder}")


if __name__ == "__main__":
    main()
