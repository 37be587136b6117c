"""What the table says: means, spreads, and a dash where nothing was measured."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from genie.training.ablation import digits, rich_table, summary, write_tables


def world(variant, seed):
    return SimpleNamespace(variant=variant, seed=seed, path=Path(f"worlds/{variant}{seed}"))


@pytest.fixture
def report():
    figures = {("a", 0): (1.0, 2.0), ("a", 1): (3.0, 2.5), ("b", 0): (10.0, None), ("b", 1): (20.0, 4.0)}
    measured = [(world(*key), dict(zip(("PSNR", "FVD"), pair, strict=True))) for key, pair in figures.items()]
    return {"title": "T", "command": "python -m genie.ablate x", "variants": summary(measured)}


def test_mean_and_spread_over_seeds(report):
    figures = report["variants"]["a"]["figures"]
    assert figures["PSNR"] == {"values": [1.0, 3.0], "mean": 2.0, "spread": pytest.approx(2**0.5)}
    assert report["variants"]["b"]["worlds"] == {"0": "worlds/b0", "1": "worlds/b1"}


def test_a_figure_that_one_seed_lacks_is_not_averaged_over_the_others(report):
    assert report["variants"]["b"]["figures"]["FVD"] == {"values": [None, 4.0], "mean": None, "spread": None}


def test_one_seed_has_no_spread():
    entry = summary([(world("a", 0), {"PSNR": 33.0})])["a"]["figures"]["PSNR"]
    assert (entry["mean"], entry["spread"]) == (33.0, None)


def test_the_three_files_say_the_same(report, tmp_path):
    write_tables(tmp_path, report)
    assert json.loads((tmp_path / "ablation.json").read_text()) == report
    text = (tmp_path / "table.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["", "PSNR", "FVD"]
    assert rows[2:] == [["a", "2.000 ± 1.4", "2.250 ± 0.4"], ["b", "15.00 ± 7.1", "–"]]
    assert "–: not measured." in text and "standard deviation over seeds" in text and report["command"] in text
    with open(tmp_path / "table.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["variant"], first["seeds"], float(first["PSNR"])) == ("a", "0 1", 2.0)
    assert float(first["PSNR, spread"]) == pytest.approx(2**0.5) and second["FVD"] == second["FVD, spread"] == ""


def test_the_terminal_shows_every_figure(report):
    console = Console(width=80, record=True)
    console.print(rich_table(report))
    text = console.export_text()
    assert all(word in text for word in ("PSNR", "FVD", "15.00 ± 7.1", "–"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.000"), (0.98612, "0.986"), (4.8123, "4.812"), (33.456, "33.46"), (-0.5, "-0.500"), (1234.6, "1235"),
     (52345.2, "52345")],
)  # fmt: skip
def test_digits(value, shown):
    assert digits(value, 4) == shown
