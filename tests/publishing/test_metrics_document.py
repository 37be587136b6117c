"""The index of metrics in docs/metrics.md is that of the declared metrics."""

from pathlib import Path

import pytest

from genie.publishing.metrics_document import BEGIN, END, PAGE, anchor, index, main, names, updated

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert updated(page) == page, "run python -m genie.publishing.metrics_document"


def test_a_changed_page_is_outdated_until_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PAGE.parent.mkdir()
    PAGE.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    monkeypatch.setattr("sys.argv", ["metrics_document", "--check"])
    with pytest.raises(SystemExit, match="is outdated"):
        main()
    assert "old" in PAGE.read_text()
    monkeypatch.setattr("sys.argv", ["metrics_document"])
    main()
    assert PAGE.read_text() == f"before\n\n{BEGIN}\n\n{index()}\n\n{END}\n\nafter\n"
    monkeypatch.setattr("sys.argv", ["metrics_document", "--check"])
    main()
    with pytest.raises(ValueError, match="has no lines"):
        updated("a page without marks")


def test_links_lead_to_headings():
    headings = [line.lstrip("# ") for line in (ROOT / PAGE).read_text().splitlines() if line.startswith("#")]
    targets = {anchor(heading) for heading in headings}
    found = {link.split(")")[0] for link in index().split("](#")[1:]}
    assert found and found <= targets


def test_patterns_as_they_are_read():
    assert names("a.{object}.{end:first|last}_t{t:d}[_by_horizon]") == "`a.<object>.{first,last}_t<t>(_by_horizon)`"
    assert names("val/x_{horizon:h[0-9]+|mean}") == "`val/x_{h<n>,mean}`"
