"""What a report does not hold, and why: nothing is missing without a word."""

from genie.evaluation.evaluate import PARTS, Evaluated
from genie.reporting.glossary import GROUPS
from genie.reporting.media import Medium
from genie.reporting.results import StageResults


def left_out(run: Evaluated, stages: list[StageResults], media: list[Medium]) -> list[tuple[str, str]]:
    """(what, why) for everything of one run that is not shown."""
    reasons = [*run.values.get("left_out", {}).items()]
    reasons += [(part, f"not measured: {why}") for part, why in run.values.get("failed", {}).items()]
    reasons += [(part, why) for part, why in _parts(run) if part not in dict(reasons)]
    if not stages:
        reasons.append(("configuration, sizes and training", f"{run.run} holds no config.yaml of a stage"))
    reasons += [(f"sizes of the {stage.name}", stage.why_no_sizes) for stage in stages if stage.sizes is None]
    for what, missing, why in (
        ("training curves", [stage.name for stage in stages if not stage.metrics.is_file()], "there is no metrics.csv"),
        ("time and memory of training", [stage.name for stage in stages if not stage.record], "there is no run.json"),
    ):
        if missing:
            reasons.append((f"{what} ({', '.join(missing)})", why))
    reasons += [(medium.file, medium.why_not) for medium in media if medium.why_not]
    if not media:
        reasons.append(("videos and pictures", f"{run.folder} holds none"))
    if "cost" not in run.values:
        reasons.append(("time and memory of the evaluation", "evaluation.json does not record them"))
    if "provenance" not in run.values:
        reasons.append(("date, command and versions of the evaluation", "evaluation.json does not record them"))
    return reasons


def _parts(run: Evaluated) -> list[tuple[str, str]]:
    """Parts that were not asked for, and figures that this evaluation does not know of."""
    asked = run.values.get("provenance", {}).get("settings", {}).get("parts")
    absent = [] if asked is None else [part for part in PARTS if part not in asked]
    reasons = [(part, f"not asked for: parts=[{','.join(asked)}]") for part in absent]
    known = {*absent, *run.values.get("left_out", {}), *run.values.get("failed", {})}
    if "rollout" in known:  # what is measured on rollouts goes with them
        known |= {"rollout_objects", "delta_psnr", "fvd"}
    unknown = [title for part, title in GROUPS.items() if part not in {*run.values, *known}]
    return reasons + [(title, "evaluation.json holds no such figures") for title in unknown]
