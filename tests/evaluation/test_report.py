"""The printed table says so where nothing could be counted."""

from genie.evaluation.report import report_table


def test_an_object_that_is_in_no_clip_is_not_measured():
    shares = {"present": None, "in_place": None, "doubled": 0.0}
    report = {
        "run": "outputs/x",
        "clips": 4,
        "split": "test",
        "horizon": 2,
        "objects": {"ball": {"survival": None, "false_alarms": None}},
        "rollout_objects": {"ball": {"generated": shares, "copy_last": shares}},
    }
    table = report_table(report)
    rows = list(zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True))
    assert rows[0][:2] == ("ball survives", "not measured")
    assert rows[1] == (
        "rollout has the ball", "not measured", "not measured", "",
        "in place not measured (copy not measured), twice 0.0%",
    )  # fmt: skip
