"""metrics.csv keeps every row and every bit, and a resumed run neither repeats nor loses one."""

from callbacks.metrics_csv import MetricsCSV
from genie.runs.metrics_file import last_values, read_metrics


def test_values_come_back_bit_for_bit_also_when_columns_are_added(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(path)
    logger.log_metrics({"train/loss": 0.1 + 0.2, "epoch": 0}, step=0)
    logger.log_metrics({"val/loss": 1e-17, "epoch": 0}, step=0)
    logger.log_metrics({"train/loss": 1 / 3, "epoch": 1}, step=1)
    assert read_metrics(path) == [
        {"step": 1, "train/loss": 0.1 + 0.2, "epoch": 0},
        {"step": 1, "val/loss": 1e-17, "epoch": 0},
        {"step": 2, "train/loss": 1 / 3, "epoch": 1},
    ]
    assert path.read_text().splitlines()[0] == "step,train/loss,epoch,val/loss"
    assert last_values(path)["train/loss"] == 1 / 3


def test_a_resumed_run_keeps_rows_up_to_its_step_and_appends(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(path)
    for step in range(5):
        logger.log_metrics({"train/loss": float(step)}, step=step)
    resumed = MetricsCSV(path, resume_step=3)
    resumed.log_metrics({"train/loss": 30.0}, step=3)
    assert [(row["step"], row["train/loss"]) for row in read_metrics(path)] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 30),
    ]


def test_a_new_run_starts_with_an_empty_file(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsCSV(path).log_metrics({"train/loss": 1.0}, step=0)
    new = MetricsCSV(path)
    assert len(read_metrics(path)) == 1  # not before it starts
    assert new.experiment == path and read_metrics(path) == []


def test_half_a_line_of_a_killed_run_is_no_row(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(path)
    logger.log_metrics({"train/loss": 1.0, "train/rate": 2.0}, step=0)
    with open(path, "a") as file:
        file.write("2,0.5")
    assert [row["step"] for row in read_metrics(path)] == [1]
    MetricsCSV(path, resume_step=2).log_metrics({"train/loss": 3.0}, step=1)
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_a_last_number_that_was_cut_short_is_no_number(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsCSV(path).log_metrics({"train/loss": 1.0}, step=0)
    with open(path, "a") as file:
        file.write("2,0.123456789\n3,0.12")  # of 0.123456789
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
