"""Evaluation of a trained run on held-out episodes: `python -m genie.evaluate run=outputs/pong`."""

from genie.common.cli import hydra_main
from genie.common.errors import RunError
from genie.common.settings.commands import EvaluateConfig


@hydra_main("evaluate")
def main(config: EvaluateConfig) -> None:
    from genie.common.program import as_started
    from genie.common.tables import print_table
    from genie.evaluation.evaluate import evaluate_runs, report_folder
    from genie.evaluation.table import report_table
    from genie.publishing.report_page import draw_report

    evaluated = evaluate_runs(config)
    for one in evaluated:
        print_table(report_table(one.values))
        left_out = one.values["left_out"]
        for reason in dict.fromkeys(left_out.values()):
            parts = ", ".join(part for part in left_out if left_out[part] == reason)
            print(as_started(f"left out: {parts}, because {reason}"))
        print(f"figures, plots and videos: {one.folder}")
    if config.report:
        draw_report(evaluated, report_folder(config, evaluated))
    if failed := [f"{one.run}: {part}" for one in evaluated for part in one.values.get("failed", {})]:
        raise RunError(
            f"not measured, for the errors said above: {', '.join(failed)}; the other figures are written. "
            "GENIE_TRACE=1 shows where it went wrong"
        )


if __name__ == "__main__":
    main()
