"""Numbers as a reader wants them. The exact value stands beside each in the page, in `<data value=…>`."""

from typing import Any

from genie.common.tables import short

MINUS = "−"


def number(value: Any, unit: str = "", digits: int = 2) -> str:
    """45.883 -> "45.88", 0.459 with the unit "%" -> "45.9". None stands for a number that is not finite: in dB the PSNR
    of equal videos, elsewhere a mean of nothing."""
    if value is None:
        return "∞" if unit == "dB" else "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if unit == "%":
        value *= 100
    if isinstance(value, int):
        digits = 0
    text = f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0: no "-0.00"
    return text.replace("-", MINUS)


def plain(value: Any) -> str:
    """A setting as it stands on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value)


def amount(value: float) -> str:
    """1138368 -> "1.14 M"."""
    return short(value, 1000, ("", " k", " M", " G", " T", " P"))


def duration(seconds: float) -> str:
    """48.2 -> "48 s", 3725 -> "1 h 02 min", 250 -> "4 min 10 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def day(date: str) -> str:
    """2025-01-31T12:00:00+00:00 -> "2025-01-31 12:00 UTC"."""
    return f"{date[:10]} {date[11:16]} UTC"
