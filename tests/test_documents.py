"""The commands that the documents show are commands: every key, group and choice in them exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python -m (genie\.\w+(?:[ \t]+[^\s`|#][^\s`|]*)*)")


def commands() -> list[tuple[str, str]]:
    """(document, command) of every command shown, continued lines joined, alternatives reduced to the first."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", " ").replace("\\|", "|")
        text = re.sub(r"(=\w+)(\|\w+)+", r"\1", text)
        found += [(document.name, match.strip()) for match in COMMAND.findall(text)]
    return sorted(set(found))


def test_the_readme_shows_commands():
    assert len([1 for document, _ in commands() if document == "README.md"]) >= 6


@pytest.mark.parametrize(("document", "command"), commands(), ids=lambda value: value)
def test_a_documented_command_composes(document, command):
    words = [word for word in shlex.split(command) if word not in ("-m", "--multirun", "--help", "…", "...")]
    if "--cfg" in words:
        return
    # a sweep's list of values is not one value
    words = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in words]
    run = subprocess.run([sys.executable, "-m", *words, "--cfg", "job"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_linked_files_exist():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
