"""Links of the documents, as they are on the site."""

import pytest

pytest.importorskip("mkdocs")

from mkdocs.exceptions import PluginError  # noqa: E402

from docs.hooks import HOME, ROOT, content, outside, page_of, relinked  # noqa: E402

DATA, README = ROOT / "docs" / "data.md", ROOT / HOME


def test_links_to_pages_stay_and_links_to_the_repository_lead_to_its_pages():
    text = (
        "[a](play.md#keys) [b](../genie/world/sampler.py) [`c`](../outputs/README.md) "
        "[d](https://x.org) ![e](images/play.png)"
    )
    assert relinked(text, DATA, "data.md") == (
        "[a](play.md#keys) [b](repository/genie/world/sampler.py.md) [`c`](repository/outputs/README.md) "
        "[d](https://x.org) ![e](images/play.png)"
    )


def test_the_readme_is_the_first_page():
    text = "[a](docs/play.md) ![b](docs/images/play.webp) [c](CONTRIBUTING.md) [d](genie/world/sampler.py)"
    assert relinked(text, README, page_of(README)) == (
        "[a](play.md) ![b](images/play.webp) [c](repository/CONTRIBUTING.md) [d](repository/genie/world/sampler.py.md)"
    )
    contributing = ROOT / "CONTRIBUTING.md"
    assert relinked("[a](docs/play.md) [b](README.md)", contributing, page_of(contributing)) == (
        "[a](../play.md) [b](../index.md)"
    )


def test_code_is_left_as_it_is():
    text = "```python\nx = d[1](../genie/nothing.py)\n```\n\n    [a](../genie/nothing.py)\n"
    assert relinked(text, DATA, "data.md") == text


def test_a_link_to_nothing_ends_the_build():
    with pytest.raises(PluginError, match="docs/data.md links to ../genie/nothing.py"):
        relinked("[a](../genie/nothing.py)", DATA, "data.md")


def test_code_becomes_a_listing_that_is_not_searched():
    page = content(ROOT / "genie" / "world" / "sampler.py")
    assert "search: {exclude: true}" in page and "# genie/world/sampler.py" in page and "~~~~ python" in page


def test_what_pages_link_to_outside_of_docs():
    assert ROOT / "genie" / "world" / "sampler.py" in outside(ROOT / "docs" / "play.md")
    assert all(path.is_file() and not path.is_relative_to(ROOT / "docs") for path in outside(README))
