"""What is installed works without the checkout, in an empty folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("genie", "data_modules", "callbacks", "conf", "hydra_plugins")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the package was installed from a copy of the checkout, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(folder / "installed")]
    command = [sys.executable, "-m", "pip", "install", *options, str(folder / "source")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    shutil.rmtree(folder / "source")
    return folder / "installed"


def test_every_configuration_is_in_it(installed):
    expected = {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")}
    assert expected and {path.relative_to(installed) for path in (installed / "conf").rglob("*.yaml")} == expected


@pytest.mark.parametrize(
    ("folder", "one"),
    [
        ("genie/play_server/page", "index.html"),
        ("genie/common/page", "rating.js"),
        ("genie/labeling/curate_page", "app.js"),
        ("genie/labeling/rate_page", "app.js"),
        ("genie/publishing/templates", "style.css"),
    ],
)
def test_the_pages_are_in_it(installed, folder, one):
    names = {path.name for path in (ROOT / folder).iterdir()}
    assert one in names and {path.name for path in (installed / folder).iterdir()} == names


def test_hydra_finds_the_search_with_optuna(installed, tmp_path, run):
    process = run(tmp_path, "-m", "genie.train", "--info", "plugins", packages=installed)
    assert process.returncode == 0 and "OptunaSweeper" in process.stdout, process.stderr


def test_training_runs_in_an_empty_folder(installed, tmp_path, run):
    where = run(tmp_path, "-c", "import genie; print(genie.__file__)", packages=installed)
    assert where.stdout.startswith(str(installed))
    process = run(tmp_path, "-m", "genie.train", "stage=tokenizer", "debug=fast", packages=installed)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "outputs" / "debug" / "tokenizer" / "checkpoints" / "last.ckpt").exists()
