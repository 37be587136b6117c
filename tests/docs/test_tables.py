"""Tables of results are those that their files give."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from docs import tables
from docs.result_tables import TABLES
from docs.tables import Table, by_run, cell, load, main, outdated, written
from genie.common.errors import UserError

RESULTS = SimpleNamespace(
    pong=SimpleNamespace(psnr=50.26, share=0.912, curve=[1.04, 2.0], date="2026-01-31", none=None),
    peers=SimpleNamespace(one=SimpleNamespace(psnr="38.25"), none=SimpleNamespace(source="nothing")),
)
NOT_MEASURED = {  # rows without any figure
    "pong": ["FVD", "… against other real clips (real ones there)"],
    "demo": ["100 frames after the prompt"],
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The folder of README.md and docs/, elsewhere."""
    shutil.copytree("docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.py", "images"))
    shutil.copyfile("README.md", tmp_path / "README.md")
    monkeypatch.chdir(tmp_path)


def test_the_documents_are_up_to_date():
    assert outdated() == {}, "run python -m docs.tables"


def test_a_changed_digit_is_found_and_mended(copy, monkeypatch, capsys):
    page, before = Path("README.md"), Path("README.md").read_text()
    page.write_text(before.replace("15.5 dB", "25.5 dB"))
    monkeypatch.setattr("sys.argv", ["tables", "--check"])
    with pytest.raises(SystemExit, match=r"README.md: a table differs"):
        main()
    shown = capsys.readouterr().out
    assert "-| **Pong**, the shipped world" in shown and "25.5 dB" in shown
    assert "25.5 dB" in page.read_text()  # nothing is written
    monkeypatch.setattr("sys.argv", ["tables"])
    main()
    assert page.read_text() == before


def test_a_changed_file_changes_the_page(copy):
    file = Path("docs", "results", "demo.json")
    file.write_text(file.read_text().replace('"t4": 12.5824', '"t4": 13.5824'))
    assert set(outdated()) == {Path("README.md"), Path("docs", "results.md")}


def test_cells():
    assert cell("{pong.psnr:.1f} dB", RESULTS) == "50.3 dB"
    assert cell("{pong.share:.1%}, {pong.curve[0]:.1f}", RESULTS) == "91.2%, 1.0"
    assert cell("{peers.one.psnr:.1f}", RESULTS) == "38.25"  # as it was published
    for missing in ("{pong.fvd:.1f}", "{pong.curve[2]:.1f}", "{pong.none:.1f}"):
        assert cell(missing, RESULTS) == ""
        assert cell((missing, "{pong.date}"), RESULTS) == "2026-01-31"
    with pytest.raises(UserError, match="docs/results/coinrun.json is not there"):
        cell("{coinrun.psnr}", RESULTS)


def test_a_run_in_each_row_and_no_row_without_a_figure():
    table = by_run(
        "world", {"PSNR": "{.psnr:.1f}", "share": "{.share:.0%}"}, {"ours": "pong", "x": "peers.one", "y": "peers.none"}
    )
    assert list(table.lines(RESULTS, Path("README.md"))) == [
        "| world | PSNR | share |",
        "|---|---|---|",
        "| ours | 50.3 | 91% |",
        "| x | 38.25 | |",
    ]


def test_marks_of_unknown_tables_and_tables_without_a_page(monkeypatch):
    text = "a\n<!-- table: x -->\nold\n<!-- end of table -->\nb\n"
    table = Table(["figure", "value"], [["PSNR", "{pong.psnr:.0f}"]])
    new = written(text, Path("docs", "a.md"), {"x": table}, RESULTS)
    assert new == "a\n<!-- table: x -->\n\n| figure | value |\n|---|---|\n| PSNR | 50 |\n\n<!-- end of table -->\nb\n"
    with pytest.raises(UserError, match="there is no table x; there are y"):
        written(text, Path("docs", "a.md"), {"y": table}, RESULTS)
    monkeypatch.setattr(tables, "pages", list)
    with pytest.raises(UserError, match="is on no page"):
        outdated()


@pytest.mark.parametrize("name", TABLES)
def test_only_known_rows_have_no_figure(name):
    """A path that is misspelt would leave its row out."""
    results = load()
    rows = {row[0] for row in TABLES[name].filled(results)}
    known = NOT_MEASURED.get(name, [])
    missing = [row[0] for row in TABLES[name].rows if cell(row[0], results) not in rows]
    assert len(missing) == len(known) and all(one.startswith(start) for one, start in zip(missing, known, strict=True))
    for column in range(len(TABLES[name].header)):
        assert any(row[column] for row in TABLES[name].filled(results)), TABLES[name].header[column]
