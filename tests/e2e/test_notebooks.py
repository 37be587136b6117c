"""The notebooks run from their first cell to their last, and what is kept of them is small."""

import base64
import importlib.util
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")


@pytest.fixture(scope="module")
def execute():
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(notebook, kind="image/png"):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [output.data[kind] for output in outputs if kind in output.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def text(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow
def test_the_first_world_runs_from_the_first_cell_to_the_last(execute, tmp_path):
    run = execute.executed(ROOT / "notebooks" / "first_world.ipynb", tmp_path)
    drawn, (play,) = pictures(run), pictures(run, "image/gif")
    assert len(drawn) == 9 and all(np.asarray(picture.convert("L")).std() > 5 for picture in drawn)
    assert play.n_frames == 21 and play.size == (256, 256)
    printed = text(run)
    assert sorted(re.findall(r"'(noop|up|down)'", printed)) == ["down", "noop", "up"]  # a latent action for each button
    assert (tmp_path / "outputs" / "mine" / "tokenizer" / "checkpoints" / "last.ckpt").exists()
    assert (tmp_path / "outputs" / "mine" / "evaluation" / "evaluation.json").exists()
    execute.with_pictures(ROOT / "notebooks" / "first_world.ipynb", run)  # raises where they are too large


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_small_and_name_no_machine(path, execute):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].source.startswith("%pip install") and "\n" not in cells[0].source
    assert all(cell.execution_count is None for cell in cells)
    kept = [output for cell in cells for output in cell.outputs]
    assert all(list(output.data) == ["image/png"] for output in kept)
    assert sum(len(output.data["image/png"]) for output in kept) < execute.LARGEST
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"(/tmp|/home|/root|/work|/content)/", sources)
    for target in re.findall(r"\]\((\.\./[^)#]+)", sources):
        assert (path.parent / target).exists(), target
