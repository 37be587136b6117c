"""What is installed works without the checkout, in an empty folder."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("genie", "data_modules", "callbacks", "conf", "hydra_plugins")
FALLBACK = "0.1.0"  # of pyproject.toml: the copy of the checkout has no git


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


def test_the_world_and_its_licence_are_in_it(installed):
    folder = Path("genie/pretrained")
    expected = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert folder / "pong" / "dynamics.safetensors" in expected and folder / "NOTICE.md" in expected
    assert {path.relative_to(installed) for path in (installed / folder).rglob("*") if path.is_file()} == expected
    (licences,) = installed.glob("genie_world-*.dist-info/licenses")
    assert (licences / "LICENSE").is_file() and (licences / folder / "NOTICE.md").is_file()


def test_the_program_is_in_it_and_minds_no_conf_of_the_users_own(installed, tmp_path, run):
    (tmp_path / "conf").mkdir()
    for theirs in ("conf/__init__.py", "callbacks.py"):
        (tmp_path / theirs).write_text("raise RuntimeError('not this one')")
    program = str(installed / "bin" / "genie")
    version = run(tmp_path, program, "--version", packages=installed)
    assert version.stdout == f"genie-world {FALLBACK}\n", version.stderr
    generate = ("generate", "run=pretrained/pong", "num_frames=2", "output=played.webp")
    process = run(tmp_path, program, *generate, packages=installed)
    assert process.returncode == 0 and (tmp_path / "played.webp").stat().st_size > 1000, process.stderr


def test_the_source_distribution_has_what_an_installation_needs_and_no_more(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        names = {PurePath(*PurePath(name).parts[1:]) for name in source.getnames()}
    needed = {path.relative_to(ROOT) for folder in PACKAGES for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert {path for path in needed if "__pycache__" not in path.parts} <= names
    others = {name.parts[0] for name in names if name.parts} - {*PACKAGES, "genie_world.egg-info"}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= others
    assert not others & {"tests", "outputs", "benchmarks", "docs", "data", ".github", ".ci", "dist", "build"}


def test_hydra_finds_the_search_with_optuna(installed, tmp_path, run):
    process = run(tmp_path, "-m", "genie.train", "--info", "plugins", packages=installed)
    assert process.returncode == 0 and "OptunaSweeper" in process.stdout, process.stderr


def test_training_runs_in_an_empty_folder(installed, tmp_path, run):
    where = run(tmp_path, "-c", "import genie; print(genie.__file__)", packages=installed)
    assert where.stdout.startswith(str(installed))
    process = run(tmp_path, "-m", "genie.train", "stage=tokenizer", "debug=fast", packages=installed)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "outputs" / "debug" / "tokenizer" / "checkpoints" / "last.ckpt").exists()
