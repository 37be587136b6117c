"""Each figure is one row with what it is compared with beside it; directions and definitions are known ones."""

from pathlib import Path

import pytest

from genie.evaluation.catalogue import evaluated_metrics
from genie.publishing.report_curves import horizon_charts
from genie.publishing.report_figures import groups, meaning, rows
from genie.publishing.report_page import differences, duration, number, plain, stages

ROOT = Path(__file__).parents[2]


def test_references_stand_beside_their_figure(evaluation):
    found = {row.path: {called: other.cells[0].value for called, other in row.references.items()}
             for row in rows([evaluation], comparable=False)}  # fmt: skip
    assert found["tokenizer.psnr"] == {"copy of the last frame": 33.0625}
    assert found["objects.ball.survival"] == {"false alarms": 0.0019, "positions": 647, "of the control": 555}
    assert found["lam.action_accuracy"] == {"always the most common": 0.4603}
    assert found["rollout.psnr_mean"] == {"copy of the last frame": 32.5202}
    assert found["rollout_objects.ball.present"] == {"copy of the last frame": 0.9875}
    assert found["delta_psnr.t4"] == {"true simulator": 9.8765} and found["delta_psnr.t1"] == {}
    assert found["fvd.value"] == {"from real videos of other moments": 600.25, "real videos from these": 88.7654}
    assert "delta_psnr.t1_spread" not in found and "tokenizer.psnr_copy_last" not in found


def test_a_reference_without_its_figure_is_a_row_of_its_own():
    found = [row.path for row in rows([{"rollout": {"horizons_above_copy_last": 3, "x_spread": 1.0}}], False)]
    assert found == ["rollout.horizons_above_copy_last", "rollout.x_spread"]


def test_a_spread_belongs_to_its_figure(evaluation):
    row = next(row for row in rows([evaluation], False) if row.path == "delta_psnr.t1")
    assert (row.cells[0].value, row.cells[0].spread) == (2.7092, 0.3355)


@pytest.fixture
def rally():
    """An evaluation with rallies of the ball."""
    made = {"in_place": 0.5, "in_place_low": 0.25, "in_place_high": 0.875, "in_place_by_horizon": [0.75, None],
            "in_place_low_by_horizon": [0.5, None], "in_place_high_by_horizon": [0.875, None]}  # fmt: skip
    tracker = {"in_place": 0.625, "in_place_low": 0.5, "in_place_high": 0.75, "in_place_by_horizon": [0.625, 0.625]}
    return {"rollout_objects": {"ball": {"rally": {"generated": made, "constant_velocity": tracker}}}}


def test_an_interval_belongs_to_its_figure_and_to_its_reference(rally):
    (row,) = rows([rally], False)
    assert row.path == "rollout_objects.ball.rally.in_place" and row.meaning.label == "ball in place, in rallies"
    assert row.cells[0].interval == (0.25, 0.875)
    assert row.references["constant velocity"].cells[0].interval == (0.5, 0.75)


def test_the_interval_of_a_curve_is_drawn_on_its_points(rally):
    (one,) = horizon_charts([("a", rally)])
    made, tracker = one.chart.lines
    assert (made.label, len(made.bars)) == ("generated", 1) and not tracker.bars
    x, above, below = made.bars[0]
    (_, place, _), *_ = made.marks
    assert above < place < below and (below - place) == pytest.approx(2 * (place - above), abs=0.2)
    assert [label for _, label, _, _ in one.values] == ["generated", "constant velocity"]


def test_parts_come_in_the_order_of_the_model_and_unknown_ones_last(evaluation):
    backwards = dict(reversed(evaluation.items()))
    names = [group.name for group in groups([backwards], False)]
    assert names[:3] == ["tokenizer", "objects", "lam"] and names[-1] == "novelty"


def test_equal_values_are_not_ranked():
    row = next(iter(rows([{"tokenizer": {"psnr": 1.0}}, {"tokenizer": {"psnr": 1.0}}, {}], True)))
    assert [cell and cell.best for cell in row.cells] == [False, False, None]


def test_definitions_are_where_they_say():
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    headings = {line.lstrip("# ") for line in lines if line.startswith("#")}
    definitions = {metric.definition for metric in evaluated_metrics() if metric.definition}
    assert {one.section for one in definitions} <= headings
    assert len({one.name for one in definitions}) == len(definitions)


def test_the_figures_of_the_command_line_are_known():
    for path in (
        "tokenizer.psnr",
        "objects.ball.survival",
        "lam.action_nmi",
        "rollout.psnr_last",
        "delta_psnr.t2_pooled",
    ):
        assert meaning(path).better == "higher" and meaning(path).definition
    assert meaning("fvd.value").better == "lower" and meaning("fvd.speed").better is None
    assert meaning("delta_psnr.t16").label == "ΔPSNR, t = 16"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(45.883, "dB"), "45.88"),
        (number(0.98614, "%", 1), "98.6"),
        (number(-0.001), "0.00"),
        (number(-1.5), "−1.50"),
        (number(None, "dB"), "∞"),
        (number(None), "–"),
        (number(12345), "12,345"),
        (plain([1, None, True, "a"]), "[1, null, true, a]"),
        (duration(3725), "1 h 02 min"),
        (duration(59.7), "1 min 00 s"),
        (duration(4.25), "4.2 s"),
    ],
)
def test_numbers_as_they_are_read(shown, expected):
    assert shown == expected


# ------------------------------------------------------------------ what is on disk


def test_sizes_are_those_of_the_model(make_run, build):
    sizes = stages(make_run())[0].sizes
    stage = build("tokenizer")
    assert sizes.parameters == {"tokenizer": sum(p.numel() for p in stage.model.parameters())}
    assert (sizes.tokens_per_frame, sizes.flops) == (16, stage.example_flops())


def test_a_configuration_of_another_version_has_no_sizes(make_run):
    found = stages(make_run(flavour="strange"))[0]
    assert found.sizes is None and "flavour" in found.why_no_sizes


def test_only_what_differs_and_matters():
    one = {"name": "a", "run_dir": "x", "model": {"width": 8, "depth": 2}, "old": 1, "recipe": {"lam": {"lr": 1}}}
    other = {"name": "b", "run_dir": "y", "model": {"width": 16, "depth": 2}, "new": [2]}
    assert differences([one, other]) == {"model.width": [8, 16], "old": [1, None], "new": [None, [2]]}
