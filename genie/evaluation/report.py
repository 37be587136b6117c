"""The figures of an evaluation as a table: each beside what two trivial predictions reach on the same frames."""

from rich.table import Table
from rich.text import Text


def report_table(report: dict) -> Table:
    """The table of `evaluation.json`'s contents; rows of parts that were left out are not there."""
    title = f"{report['run']}: {report['clips']} clips of {report['split']}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("figure")
    for name in ("value", "copy last", "background"):
        table.add_column(name, justify="right")
    table.add_column("note", overflow="fold")
    for row in _rows(report):
        table.add_row(*map(Text, row))  # as text: [dB] is no markup
    return table


def _rows(report: dict) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    tokenizer, lam = report.get("tokenizer"), report.get("lam")
    if tokenizer:
        rows.append(_compared("tokenizer PSNR [dB]", tokenizer, "psnr"))
        rows.append(_compared("tokenizer SSIM", tokenizer, "ssim", digits=3))
        usage = f"perplexity {tokenizer['codebook_perplexity']:.0f}"
        rows.append(("tokenizer codes used", _percent(tokenizer["codebook_usage"]), "", "", usage))
    for name, figures in report.get("objects", {}).items():
        alarms = f"control: {_percent(figures['false_alarms'])}" if "false_alarms" in figures else "no control"
        rows.append((f"{name} survives", _percent(figures["survival"]), "", "", f"{alarms}, {figures['seen']} seen"))
    if lam:
        rows.append(_compared("LAM next frame PSNR [dB]", lam, "psnr"))
        usage = f"perplexity {lam['codebook_perplexity']:.1f}"
        rows.append(("LAM codes used", _percent(lam["codebook_usage"]), "", "", usage))
        if "action_nmi" in lam:
            rows.append(
                ("LAM NMI with the true action", f"{lam['action_nmi']:.2f}", "", "", "0: unrelated, 1: the same")
            )
            note = f"always the most common: {_percent(lam['action_accuracy_majority'])}"
            rows.append(("LAM accuracy, best matching", _percent(lam["action_accuracy"]), "", "", note))
    if rollout := report.get("rollout"):
        horizon = report["horizon"]
        for end, number in (("first", 1), ("last", horizon), ("mean", None)):
            label = f"frame {number}" if number else f"mean of {horizon} frames"
            note = f"tokenizer alone {rollout[f'psnr_reconstruction_{end}']:.2f}"
            rows.append(_compared(f"rollout PSNR [dB], {label}", rollout, "psnr", f"_{end}", note=note))
        won = f"{rollout['horizons_above_copy_last']} of {horizon}"
        rows.append(("rollout above copy last", won, "", "", "horizons"))
    delta = report.get("delta_psnr", {})
    for name in [name for name in delta if name[1:].isdigit()]:
        note = f"± {delta[f'{name}_spread']:.2f} over seeds, pooled {delta[f'{name}_pooled']:.2f}"
        rows.append((f"ΔPSNR [dB], t = {name[1:]}", f"{delta[name]:.2f}", "", "", note))
    return rows


def _compared(label: str, figures: dict, name: str, end: str = "", digits: int = 2, note: str = "") -> tuple[str, ...]:
    values = [figures[f"{name}{baseline}{end}"] for baseline in ("", "_copy_last", "_background")]
    return (label, *(_number(value, digits) for value in values), note)


def _number(value: float | None, digits: int = 2) -> str:
    """None stands for a figure that is not finite: the PSNR of two equal videos."""
    return "∞" if value is None else f"{value:.{digits}f}"


def _percent(share: float) -> str:
    return f"{share:.1%}"
