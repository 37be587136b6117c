"""Line charts as SVG: positions of lines, ticks and labels, drawn by templates/chart.html.

Not by matplotlib, so that a dark page gets light lines, points have tooltips, and forty charts stay small. Positions
are in the units of a picture of `WIDTH` x `HEIGHT`.
"""

import math
from dataclasses import dataclass, field

WIDTH, HEIGHT = 420, 236
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 10, 40
MOST_POINTS = 240  # of a line: about one for every two pixels
MARKED_POINTS = 24  # a line of fewer points shows them


@dataclass
class Series:
    """One line. `points` (x, y) in order of x, y None or not finite where there is a gap; `style` a class of style.css;
    `spread`: how far an error bar reaches below and above each point."""

    label: str
    points: list[tuple[float, float | None]]
    style: str
    spread: list[tuple[float, float]] | None = None


@dataclass
class Line:
    """A series in the units of the picture: `paths` (one for each stretch without a gap), `marks` (x, y, tooltip) and
    `bars` (x, y above, y below)."""

    label: str
    style: str
    paths: list[str]
    marks: list[tuple[float, float, str]]
    bars: list[tuple[float, float, float]]


@dataclass
class Chart:
    """A chart with ticks (position, text); `summary` describes it in words."""

    title: str
    x_label: str
    y_label: str
    summary: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    notes: list[str] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(title: str, series: list[Series], x_label: str, y_label: str, log: bool = False) -> Chart:
    """The chart of series; `log`: a logarithmic y axis, for positive values."""
    series = [one for one in series if _finite(one)]
    notes = [f"{one.label}: some values are not finite" for one in series if len(_finite(one)) < len(one.points)]
    xs = [x for one in series for x, _ in _finite(one)]
    ys = [y for one in series for y in _heights(one)]
    x_range, x_values = axis(min(xs, default=0), max(xs, default=1), whole=True, tight=True)
    y_range, y_values = log_axis(min(ys), max(ys)) if log and ys else axis(min(ys, default=0), max(ys, default=1))

    def x_place(x: float) -> float:
        return round(LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT), 1)

    def y_place(y: float) -> float:
        low, high, y = (math.log10(v) for v in (*y_range, y)) if log else (*y_range, y)
        return round(HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    return Chart(
        title, x_label, y_label, f"{title}. " + "; ".join(map(_in_words, series)),
        [_line(one, x_place, y_place) for one in series],
        [(x_place(value), tick_text(value)) for value in x_values],
        [(y_place(value), tick_text(value)) for value in y_values],
        notes,
    )  # fmt: skip


def axis(low: float, high: float, whole: bool = False, tight: bool = False) -> tuple[tuple[float, float], list[float]]:
    """The range of an axis and its ticks, at most six, at multiples of 1, 2 or 5 times a power of ten.

    `whole`: ticks at whole numbers only; `tight`: the range is that of the values.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    step = next(step for step in _steps((high - low) / 6) if (high - low) / step <= 6 and (step >= 1 or not whole))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if not tight:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = first * step, last * step
    return (low, high), [round(number * step, 12) for number in range(first, last + 1)]


def log_axis(low: float, high: float) -> tuple[tuple[float, float], list[float]]:
    """The same for a logarithmic axis of positive values: ticks at powers of ten, over few of these at 2 and 5 too."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    low, high = low / 1.1, high * 1.1
    inside = [tick for tick in ticks if low <= tick <= high]
    return (low, high), inside[:: -(-len(inside) // 6) or 1]


def thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` of the points: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= MOST_POINTS:
        return points
    kept = []
    count = MOST_POINTS // 2
    for index in range(count):
        stretch = points[index * len(points) // count : (index + 1) * len(points) // count]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept


def tick_text(value: float) -> str:
    """A short number: 2000 -> "2,000", 0.5 -> "0.5", 1e-05 -> "1e-5"."""
    if value and abs(value) < 1e-3 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{value:,.6g}".replace("-", "−")


def _steps(least: float) -> list[float]:
    decade = 10.0 ** math.floor(math.log10(least))
    return [factor * decade * more for more in (1, 10, 100) for factor in (1, 2, 5)] + [1.0]


def _finite(series: Series) -> list[tuple[float, float]]:
    return [(x, y) for x, y in series.points if y is not None and math.isfinite(y)]


def _heights(series: Series) -> list[float]:
    spread = series.spread or [(0.0, 0.0)] * len(series.points)
    pairs = zip(series.points, spread, strict=True)
    return [end for (_, y), (below, above) in pairs if y is not None and math.isfinite(y)
            for end in (y - below, y + above)]  # fmt: skip


def _line(series: Series, x_place, y_place) -> Line:
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in series.points:
        if y is None or not math.isfinite(y):
            stretches.append([])
        else:
            stretches[-1].append((x, y))
    places = [[(x_place(x), y_place(y)) for x, y in thin(stretch)] for stretch in stretches if stretch]
    paths = ["M" + "L".join(f"{x:g},{y:g}" for x, y in stretch) for stretch in places if len(stretch) > 1]
    few = _finite(series) if len(series.points) <= MARKED_POINTS else [s[0] for s in stretches if len(s) == 1]
    marks = [(x_place(x), y_place(y), f"{series.label}, {tick_text(x)}: {y:.4g}") for x, y in few]
    bars = []
    for (x, y), (below, above) in zip(series.points, series.spread or [], strict=False):
        if y is not None and math.isfinite(y) and (below or above):
            bars.append((x_place(x), y_place(y + above), y_place(y - below)))
    return Line(series.label, series.style, paths, marks, bars)


def _in_words(series: Series) -> str:
    (first, start), (last, end) = _finite(series)[0], _finite(series)[-1]
    return f"{series.label}: {start:.4g} at {tick_text(first)}, {end:.4g} at {tick_text(last)}"
