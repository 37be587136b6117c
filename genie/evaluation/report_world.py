"""The rows of the table for what is measured on a world of any kind."""

import re

from genie.evaluation.report_cells import number, percent

Row = tuple[str, str, str, str, str]  # figure, value, copy of the last one, background, note
ERRORS = {"pixel_error": "pixels", "token_error": "tokens", "state_error": "states"}


def world_rows(report: dict) -> list[Row]:
    """Of the parts prediction, reward, imagination, long_rollout and planning, as far as they are there."""
    parts = (_prediction, _rewards, _imagination, _long_rollout, _planning)
    return [row for part in parts for row in part(report)]


def _prediction(report: dict) -> list[Row]:
    figures, rows = report.get("prediction", {}), []
    horizon = report.get("horizon")
    for kind, what in ERRORS.items():
        for end, label in (("first", "step 1"), ("last", f"step {horizon}")):
            if f"{kind}_{end}" in figures:
                values = (number(figures[f"{kind}{video}_{end}"], 4) for video in ("", "_copy_last"))
                rows.append((f"error of {what}, {label}", *values, "", ""))
    if rows:
        rows.append(("prediction below copy last", f"{figures['horizons_below_copy_last']}/{horizon}", "", "", "steps"))
    return rows


def _rewards(report: dict) -> list[Row]:
    rows = []
    for states, figures in report.get("reward", {}).items():
        if "reward_mse" in figures:
            trivial = (f"always {name} {number(figures[f'reward_mse_always_{name}'], 4)}" for name in ("zero", "mean"))
            rows.append((f"reward MSE, {states}", number(figures["reward_mse"], 4), "", "", ", ".join(trivial)))
        for sign, size in (("positive", "> 0"), ("negative", "< 0")):
            if f"recall_{sign}" in figures:
                note = f"{_precision(figures, sign)}, of {figures[f'{sign}_rewards']}"
                rows.append((f"rewards {size} found, {states}", percent(figures[f"recall_{sign}"]), "", "", note))
            elif figures.get(f"{sign}_rewards") == 0:
                rows.append((f"rewards {size} found, {states}", "", "", "", "not measured: the clips hold none"))
        if "terminal_recall" in figures:
            note = f"{_precision(figures, 'terminal')}, of {figures['terminals']}"
            rows.append((f"ends found, {states}", percent(figures["terminal_recall"]), "", "", note))
        elif figures.get("terminals") == 0:
            rows.append((f"ends found, {states}", "", "", "", "not measured: the clips hold none"))
        if "return_pearson_correlation" in figures:
            order = figures.get("preference_accuracy")
            note = f"pairs in the right order {'not measured' if order is None else percent(order)}"
            value = number(figures["return_pearson_correlation"], 3)
            rows.append((f"returns agree, {states}", value, "", "", note))
    return rows


def _precision(figures: dict, case: str) -> str:
    share = figures.get(f"precision_{case}", figures.get(f"{case}_precision"))
    return "precision not measured: none is predicted" if share is None else f"precision {percent(share)}"


def _imagination(report: dict) -> list[Row]:
    rows = []
    for name, cost in report.get("imagination", {}).items():
        if found := re.fullmatch(r"b(\d+)_h(\d+)", name):
            note = f"steps a second; {cost['seconds']:.1f} s, {cost['peak_mb']:.0f} MB, {cost['own_mb']:.0f} for it"
            label = f"imagining {found[1]} x {found[2]} steps"
            rows.append((label, f"{cost['steps_per_second']:.0f}", "", "", note))
    return rows


def _long_rollout(report: dict) -> list[Row]:
    figures, rows = report.get("long_rollout", {}), []
    frames, real = figures.get("frames"), "game" if "game" in figures.get("real_frames", {}) else "recorded"
    for name in [name for name, one in figures.items() if isinstance(one, dict) and "presence_error" in one]:
        one = figures[name]
        share = f"real {percent(one[real]['present'])}, twice {percent(one['generated']['doubled'])}"
        speeds = "no speeds" if one["speed_ks"] is None else f"speeds differ by {one['speed_ks']:.2f} (KS)"
        note = f"{share}, {speeds}"
        rows.append((f"{frames} frames have the {name}", percent(one["generated"]["present"]), "", "", note))
    if points := figures.get("points"):
        note = f"real {number(points[real]['per_1000_frames'], 1)}"
        rows.append(("points per 1000 frames", number(points["generated"]["per_1000_frames"], 1), "", "", note))
    if flicker := figures.get("flicker"):
        ratios = [number(flicker.get(whose, {}).get("ratio"), none="not measured") for whose in ("generated", real)]
        rows.append((f"flicker, each {flicker['period']} frames", ratios[0], "", "", f"1: none; real {ratios[1]}"))
    fvd = figures.get("fvd", {})
    for name in [name for name in fvd if re.fullmatch(r"at_\d+", name)]:
        played = f"the real game {number(fvd[f'{name}_game'], 1)}, " if f"{name}_game" in fvd else ""
        note = f"{fvd['videos']} videos; {played}recorded ones {number(fvd['floor'], 1)}"
        rows.append((f"FVD from frame {name[3:]}", number(fvd[name], 1), "", "", note))
    return rows


def _planning(report: dict) -> list[Row]:
    figures, rows = report.get("planning", {}), []
    for name, play in figures.items():
        if found := re.fullmatch(r"c(\d+)_h(\d+)", name):
            note = [f"± {number(play['return_spread'])}"] if "return_spread" in play else []
            note += [f"success {percent(play['success'])}"] if "success" in play else []
            note += [] if "return_spread" in play else ["no interval: one episode"]
            note.append(f"random {number(figures['return_random'], none='not measured')}")
            label = f"return, {found[1]} plans x {found[2]}"
            rows.append((label, number(play["return"], none="not measured"), "", "", ", ".join(note)))
    return rows
