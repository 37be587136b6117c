"""Table of an evaluation.

Numbers as the printed table shows them.

The rows of the table for what is measured on a world of any kind.

The figures of an evaluation as a table: each beside what two trivial predictions reach on the same frames.
"""

import re

from rich import box
from rich.table import Table
from rich.text import Text


def number(value: float | None, digits: int = 2, none: str = "∞") -> str:
    """`none` stands for a figure that is not finite: in dB the PSNR of two equal videos."""
    return none if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.00"


def percent(share: float | None) -> str:
    """Of a share in [0, 1]; None: of nothing, such as the frames with a ball of clips that have none."""
    return "not measured" if share is None else f"{share:.1%}"


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


def report_table(report: dict) -> Table:
    """The table of `evaluation.json`'s contents; rows of parts that were left out are not there, of
    those that failed it says why."""
    title = f"{report['run']}: {report['clips']} clips of {report['split']}, PSNR in dB"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure")
    for name in ("value", "copy last", "background"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in (
        *_tokenizer(report),
        *_objects(report),
        *_lam(report),
        *_tokens(report),
        *_world(report),
        *world_rows(report),
    ):
        table.add_row(*map(Text, row))
    for part, reason in report.get("failed", {}).items():
        table.add_row(*map(Text, (part, "", "", "", f"not measured: {reason}")))
    return table


def _tokenizer(report: dict) -> list[tuple[str, ...]]:
    rows = []
    if tokenizer := report.get("tokenizer"):
        rows.append(_compared("tokenizer PSNR", tokenizer, "psnr"))
        rows.append(_compared("tokenizer SSIM", tokenizer, "ssim", digits=3))
        rows.append(_usage("tokenizer codes used", tokenizer))
    return rows


def _objects(report: dict) -> list[tuple[str, ...]]:
    rows = []
    for name, figures in report.get("objects", {}).items():
        control = percent(figures["false_alarms"]) if "false_alarms" in figures else "none"
        rows.append((f"{name} survives", percent(figures["survival"]), "", "", f"control {control}"))
    return rows


def _lam(report: dict) -> list[tuple[str, ...]]:
    rows = []
    if lam := report.get("lam"):
        rows.append(_compared("LAM next-frame PSNR", lam, "psnr"))
        rows.append(_usage("LAM codes used", lam))
        if "action_nmi" in lam:
            rows.append(("LAM NMI, true action", number(lam["action_nmi"]), "", "", "1: the same"))
            note = f"majority {percent(lam['action_accuracy_majority'])}"
            rows.append(("LAM best-match accuracy", percent(lam["action_accuracy"]), "", "", note))
    return rows


def _tokens(report: dict) -> list[tuple[str, ...]]:
    tokens, rows = report.get("tokens", {}), []
    for kind, label in (("token", "all"), ("object_token", "of objects"), ("changed_token", "that change")):
        if f"{kind}_accuracy" in tokens:
            note = f"cross-entropy {number(tokens[f'{kind}_cross_entropy'])} nats"
            shares = (percent(tokens[f"{kind}_accuracy{end}"]) for end in ("", "_copy_last"))
            rows.append((f"right tokens, {label}", *shares, "", note))
    if "jitter" in tokens:
        note = f"of the background {percent(tokens['background_jitter'])}" if "background_jitter" in tokens else ""
        rows.append(("jitter of tokens", percent(tokens["jitter"]), "", "", note))
    return rows


def _world(report: dict) -> list[tuple[str, ...]]:
    rows = []
    if rollout := report.get("rollout"):
        horizon = report["horizon"]
        for end, label in (("first", "frame 1"), ("last", f"frame {horizon}"), ("mean", "mean")):
            note = f"tokenizer alone {number(rollout[f'psnr_reconstruction_{end}'])}"
            rows.append(_compared(f"rollout PSNR, {label}", rollout, "psnr", f"_{end}", note=note))
        note = f"random actions {number(rollout['psnr_random_actions_mean'])}"
        rows[-1] = (*rows[-1][:-1], f"{rows[-1][-1]}, {note}")
        rows.append(_compared("rollout SSIM, mean", rollout, "ssim", "_mean", digits=3))
        won = f"{rollout['horizons_above_copy_last']}/{horizon}"
        rows.append(("rollout above copy last", won, "", "", "horizons"))
        milliseconds = 1000 * report["cost"]["rollout"]["seconds_per_frame"]
        rows.append(
            ("passes per frame", f"{rollout['passes_per_frame']:.1f}", "", "", f"{milliseconds:.0f} ms a frame")
        )
    if fvd := report.get("fvd"):
        rows.append(_distance("FVD", fvd, "value", "", 1))
        rows.append(_distance("KVD", fvd, "kvd", "kvd_", 2))
    for name, figures in report.get("rollout_objects", {}).items():
        rows.append(_followed(name, figures))
        rows += [*_in_rallies(name, figures), *_obeyed(name, figures)]
    delta = report.get("delta_psnr", {})
    for name in [name for name in delta if name[1:].isdigit()]:
        note = f"± {number(delta[f'{name}_spread'])}, pooled {number(delta[f'{name}_pooled'])}"
        rows.append((f"ΔPSNR, t = {name[1:]}", number(delta[name]), "", "", note))
    if simulated := [name for name in delta if name.endswith("_simulator")]:
        name = simulated[-1]
        tokens = f", by tokens {number(delta[f'{name}_tokens'])}" if f"{name}_tokens" in delta else ""
        note = f"pooled {number(delta[f'{name}_pooled'])}{tokens}"
        rows.append((f"… of the simulator, t = {name[1:-10]}", number(delta[name]), "", "", note))
    return rows


def _followed(name: str, figures: dict) -> tuple[str, ...]:
    """An object in rollouts: its share of frames, and that of the copied frame."""
    made, copied = figures["generated"], figures["copy_last"]
    in_place = f"in place {percent(made['in_place'])} (copy {percent(copied['in_place'])})"
    note = f"{in_place}, twice {percent(made['doubled'])}"
    return f"rollout has the {name}", percent(made["present"]), percent(copied["present"]), "", note


def _in_rallies(name: str, figures: dict) -> list[tuple[str, ...]]:
    """The same over the frames of rallies, beside the ceiling and the tracker; none in an evaluation from before."""
    if "rally" not in figures:
        return []
    rally = figures["rally"]
    made, others = rally["generated"], {"ceiling": rally["reconstruction"], "tracker": rally["constant_velocity"]}
    beside = ", ".join(f"{what} {percent(other['in_place'])}" for what, other in others.items())
    ends = "-".join(percent(made[f"in_place_{end}"]) for end in ("low", "high"))
    note = f"in place {percent(made['in_place'])} ({ends}; {beside}), twice {percent(made['doubled'])}"
    present = percent(made["present"]), percent(rally["copy_last"]["present"])
    return [(f"… in rallies, {rally['frames']} frames", *present, "", note)]


def _obeyed(name: str, figures: dict) -> list[tuple[str, ...]]:
    """Of the object that the actions move: how its displacements agree with the true ones."""
    if "obedience" not in figures:
        return []
    obeyed = figures["obedience"]
    parts = (
        f"{action} {number(moves['generated'], none='?')} (true {number(moves['true'], none='?')})"
        for action, moves in obeyed["actions"].items()
    )
    note = f"right direction {percent(obeyed['sign_accuracy'])}; pixels along {obeyed['axis']}: {', '.join(parts)}"
    return [(f"{name} obeys, correlation", number(obeyed["correlation"], none="not measured"), "", "", note)]


def _distance(label: str, fvd: dict, value: str, prefix: str, digits: int) -> tuple[str, ...]:
    """FVD or KVD, with what real videos score and the same comparison for generated ones."""
    baselines = [fvd.get(f"{value}_{name}") for name in ("copy_last", "background")]
    shown = ["" if value is None else number(value, digits) for value in baselines]
    unpaired, floor = (number(fvd[prefix + name], digits) for name in ("unpaired", "floor"))
    note = f"{fvd['videos']} videos; with other clips {unpaired}, real ones {floor}"
    return label, number(fvd[value], digits), *shown, note


def _compared(label: str, figures: dict, name: str, end: str = "", digits: int = 2, note: str = "") -> tuple[str, ...]:
    values = [figures[f"{name}{baseline}{end}"] for baseline in ("", "_copy_last", "_background")]
    return (label, *(number(value, digits) for value in values), note)


def _usage(label: str, figures: dict) -> tuple[str, ...]:
    return label, percent(figures["codebook_usage"]), "", "", f"perplexity {figures['codebook_perplexity']:.1f}"
