"""The printed table says so where nothing could be counted."""

from genie.evaluation.table import report_table


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


def test_rallies_stand_beside_their_ceiling_and_the_tracker():
    shares = {"present": 0.5, "in_place": 0.25, "doubled": 0.0}
    rally = {
        "frames": 40,
        "generated": {**shares, "in_place_low": 0.125, "in_place_high": 0.375},
        "copy_last": shares,
        "reconstruction": {**shares, "in_place": 0.875},
        "constant_velocity": {"present": 1.0, "in_place": 0.625},
    }
    moves = {"up": {"generated": -1.5, "true": -3.25, "transitions": 9}}
    obeyed = {"correlation": 0.75, "sign_accuracy": 0.9, "axis": "y", "actions": moves}
    figures = {"generated": shares, "copy_last": shares, "rally": rally, "obedience": obeyed}
    table = report_table({"run": "x", "clips": 4, "split": "test", "rollout_objects": {"player": figures}})
    rows = list(zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True))
    assert rows[1:] == [
        ("… in rallies, 40 frames", "50.0%", "50.0%", "",
         "in place 25.0% (12.5%-37.5%; ceiling 87.5%, tracker 62.5%), twice 0.0%"),
        ("player obeys, correlation", "0.75", "", "",
         "right direction 90.0%; pixels along y: up -1.50 (true -3.25)"),
    ]  # fmt: skip
