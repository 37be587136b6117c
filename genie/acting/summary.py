"""What a play comes to: summary.json."""

from dataclasses import asdict
from typing import Any

import gymnasium as gym

from genie.acting.imagined import honesty_of
from genie.acting.results import RANDOM, ActingFolder, Row
from genie.acting.statistics import Estimate, difference_of, mean_of, share_of
from genie.common.profiling import now, software_versions


def summarise(folder: ActingFolder, config: dict[str, Any], env_id: str) -> dict[str, Any]:
    """The figures of all episodes that are over.

    `return`, `length`, `success` (the share of episodes above `success_above`; None where no threshold is known, and
    where one that is not `act.success` is of whole episodes and some were cut: `success_not_measured` says so) and
    `balls_returned` (of Pong: the share of an episode's balls, else None) of the agent and, under `random`, of the
    random policy; `difference` of the returns by Welch, with its standard error, and how many of these it is, and
    `difference_balls_returned` likewise; `decisions_per_second`; `imagined`: see `Honesty`, with the `horizon` of the
    plans.
    """
    settings, name = config["act"], config["act"]["name"]
    rows, others = folder.of(name, settings["episodes"]), folder.of(RANDOM, settings["episodes"])
    above = threshold(settings, env_id)
    cut = cut_short(rows if name == RANDOM else rows + others, settings) if above is not None else None
    judged = above if cut is None else None
    summary = {
        "run": str(config["run"]),
        "environment": env_id,
        "agent": name,
        "seed": config["seed"],
        "success_above": above,
        "success_not_measured": cut,
        **_figures(rows, judged),
        "decisions_per_second": _rate(rows),
        "random": _figures(others, judged),
        "difference": None,
        "difference_balls_returned": None,
        "imagined": None,
    }
    if name != RANDOM:
        summary["difference"] = _difference([row.return_ for row in rows], [row.return_ for row in others])
        if summary["balls_returned"] and summary["random"]["balls_returned"]:
            summary["difference_balls_returned"] = _difference(_shares(rows), _shares(others))
    honesty = honesty_of(folder.pairs)
    if honesty is not None:
        summary["imagined"] = {**asdict(honesty), "gap": _estimate(honesty.gap)}
    return {**summary, "date": now(), "versions": software_versions()}


def threshold(settings: dict[str, Any], env_id: str) -> float | None:
    """The return above which an episode is a success: `act.success`, else that of `act.thresholds` for this
    environment, else what Gymnasium's registry says; None where nobody knows."""
    if settings["success"] is not None:
        return float(settings["success"])
    if env_id in settings["thresholds"]:
        return float(settings["thresholds"][env_id])
    spec = gym.registry.get(env_id)
    return None if spec is None or spec.reward_threshold is None else float(spec.reward_threshold)


def cut_short(rows: list[Row], settings: dict[str, Any]) -> str | None:
    """Why success is not known: episodes that `act.max_steps` has cut, whose returns a threshold of whole ones says
    nothing about. None where all are whole, and where `act.success` says what counts in episodes of that length."""
    count = sum(row.cut for row in rows)
    if settings["success"] is not None or not count:
        return None
    return (
        f"{count} of {len(rows)} episodes were cut by act.max_steps={settings['max_steps']}, and the threshold is of "
        "whole ones: give a larger act.max_steps=, or with act.success= a threshold of such episodes"
    )


def _figures(rows: list[Row], above: float | None) -> dict[str, Any]:
    totals, shares = [row.return_ for row in rows], _shares(rows)
    success = None if above is None else _estimate(share_of([total > above for total in totals]))
    return {
        "episodes": len(rows),
        "return": _estimate(mean_of(totals)),
        "length": _estimate(mean_of([float(row.length) for row in rows])),
        "success": success,
        "balls_returned": _estimate(mean_of(shares)) if shares else None,
    }


def _shares(rows: list[Row]) -> list[float]:
    """Which share of its balls was returned, by episode that had some."""
    return [row.returned / row.balls for row in rows if row.balls]


def _difference(values: list[float], others: list[float]) -> dict[str, float]:
    difference = difference_of(values, others)
    errors = difference.mean / difference.std_error if difference.std_error else float("nan")
    return {**_estimate(difference), "standard_errors": errors}


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {name: value for name, value in asdict(estimate).items() if name != "count"}


def _rate(rows: list[Row]) -> float:
    seconds = sum(row.seconds for row in rows)
    return sum(row.length for row in rows) / seconds if seconds else float("nan")
