from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """The paths of docs/ are those from the repository's folder."""
    monkeypatch.chdir(ROOT)
