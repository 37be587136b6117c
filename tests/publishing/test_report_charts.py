"""Lines are where their values are, on axes with readable ticks, and nothing of a curve is lost."""

import math

import pytest

from genie.publishing.report_charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    axis,
    chart,
    log_axis,
    thin,
)
from genie.publishing.report_curves import delta_psnr_chart, horizon_charts, overlay, training_charts


def places(path):
    return [tuple(map(float, point.split(","))) for point in path.removeprefix("M").split("L")]


def test_points_are_where_the_ticks_say():
    drawn = chart("t", [Series("a", [(0, 10.0), (5, 30.0), (10, 20.0)], "c0")], "x", "y")
    heights = {text: place for place, text in drawn.y_ticks}
    columns = {text: place for place, text in drawn.x_ticks}
    (first, middle, last) = places(drawn.lines[0].paths[0])
    assert first == (LEFT, heights["10"]) and last == (WIDTH - RIGHT, heights["20"]) and middle[1] == heights["30"]
    assert columns["0"] == LEFT and columns["10"] == WIDTH - RIGHT
    assert heights["10"] == HEIGHT - BOTTOM and heights["30"] == TOP  # up is more


@pytest.mark.parametrize(("low", "high"), [(0, 1), (31.9, 46.5), (-1e-7, 3e-7), (0, 123456), (5, 5), (0, 0), (-2, 7)])
def test_axes_cover_their_values_with_few_round_ticks(low, high):
    (start, end), ticks = axis(low, high)
    assert start <= low and high <= end and start < end and 2 <= len(ticks) <= 8
    steps = {round((b - a) / 10 ** math.floor(math.log10(b - a)), 6) for a, b in zip(ticks, ticks[1:], strict=False)}
    assert steps <= {1.0, 2.0, 5.0, 10.0}
    assert start - 1e-9 <= ticks[0] and ticks[-1] <= end + 1e-9


def test_steps_are_whole():
    assert axis(1, 4, whole=True, tight=True) == ((1, 4), [1, 2, 3, 4])
    assert all(tick == int(tick) for tick in axis(0, 1, whole=True, tight=True)[1])


def test_a_logarithmic_axis_has_powers_of_ten():
    assert log_axis(3e-5, 0.2)[1] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    drawn = chart("t", [Series("a", [(0, 1.0), (1, 10.0), (2, 100.0)], "c0")], "x", "y", log=True)
    ys = [y for _, y in places(drawn.lines[0].paths[0])]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_a_gap_stays_a_gap_and_is_told():
    points = [(0, 1.0), (1, 2.0), (2, None), (3, float("nan")), (4, 3.0), (5, 4.0), (6, float("inf")), (7, 5.0)]
    drawn = chart("t", [Series("a", points, "c0")], "x", "y")
    assert [len(places(path)) for path in drawn.lines[0].paths] == [2, 2]
    assert len(drawn.lines[0].marks) == 5  # the lonely point among them
    assert drawn.notes == ["a: some values are not finite"] and "1 at 0, 5 at 7" in drawn.summary


def test_a_line_without_any_finite_value_is_no_line():
    drawn = chart("t", [Series("a", [(0, None)], "c0"), Series("b", [(0, 1.0)], "c1")], "x", "y")
    assert [line.label for line in drawn.lines] == ["b"] and chart("t", [], "x", "y").lines == []


def test_thinning_keeps_spikes_and_order():
    points = [(step, 1.0) for step in range(10_000)]
    points[7777] = (7777, 50.0)
    points[123] = (123, -50.0)
    kept = thin(points)
    assert len(kept) <= MOST_POINTS and (7777, 50.0) in kept and (123, -50.0) in kept and kept == sorted(kept)


def test_error_bars_reach_as_far_as_the_spread():
    evaluation = {"delta_psnr": {"t1": 2.0, "t1_spread": 1.0, "t4": 4.0, "t4_spread": 0.0, "t4_pooled": 9.0}}
    drawn = delta_psnr_chart([("a", evaluation)])
    heights = {text: place for place, text in drawn.y_ticks}
    assert drawn.lines[0].bars == [(LEFT, heights["3"], heights["1"])]
    assert delta_psnr_chart([("a", {"delta_psnr": {"t1": 2.0}})]) is None and delta_psnr_chart([("a", {})]) is None


# ------------------------------------------------------------------ which lines share a chart


def test_what_all_runs_share_is_drawn_once_and_grey():
    one = {"val/psnr": [(1, 30.0)], "val/psnr_background": [(1, 34.0)], "val/psnr_copy_last": [(1, 33.0)]}
    other = one | {"val/psnr": [(1, 31.0)], "val/psnr_copy_last": [(1, 32.0)]}
    lines = [(line.label, line.style) for line in overlay([("a", one), ("b", other)], "psnr")]
    assert lines == [
        ("a: val", "c0"), ("b: val", "c1"), ("constant background", "b0"),
        ("a: copy of the last frame", "c0 faint"), ("b: copy of the last frame", "c1 faint"),
    ]  # fmt: skip


def test_a_chart_for_each_kind_of_metric(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,train/loss,val/loss,val/nmi\n10,0,1.0,,\n20,0,0.001,0.5,0.3\n")
    charts = training_charts([("a", path)])
    assert [one.title for one in charts] == ["loss", "nmi"]
    assert [(line.label, line.style) for line in charts[0].lines] == [("train", "c0 thin"), ("val", "c0")]
    assert [text for _, text in charts[0].y_ticks] == ["0.001", "0.01", "0.1", "1"]  # it falls far
    assert training_charts([("a", tmp_path / "none.csv")]) == []


def test_every_list_over_the_horizon_is_drawn_with_its_references(evaluation):
    charts = horizon_charts([("a", evaluation)])
    assert [one.chart.title for one in charts] == ["PSNR", "ball present"]
    assert [line.label for line in charts[1].chart.lines] == ["generated", "copy of the last frame"]
    assert charts[1].values[1][3] == [0.99, 0.98, 0.97]
