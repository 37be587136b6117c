"""Execution of the notebooks: `python -m notebooks.execute` runs each from its first cell and keeps its pictures.

A cell that installs packages is skipped. What else a cell shows (texts, times, animations) is not kept, so that a
notebook changes only where its pictures do.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
LARGEST = 300_000  # characters of all pictures of a notebook, in base64
SECONDS = 1200  # of one cell, on a machine that does other things, too


def executed(path: Path, folder: Path) -> NotebookNode:
    """A copy of a notebook with the outputs of its cells, run by this interpreter in `folder`. Raises nbclient's
    CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("%pip")]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # of !python
        "PYTHONPATH": str(HERE.parent),
    }
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env=environment)
    return notebook


def with_pictures(path: Path, run: NotebookNode) -> NotebookNode:
    """The notebook with the pictures of its execution `run`. Raises ValueError where they are too large."""
    notebook = nbformat.read(path, as_version=4)
    outputs = {cell.id: cell.get("outputs", []) for cell in run.cells}
    total = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        pictures = [
            output.data["image/png"] for output in outputs.get(cell.id, []) if "image/png" in output.get("data", {})
        ]
        total += sum(map(len, pictures))
        cell.execution_count = None
        cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": picture}) for picture in pictures]
    if total > LARGEST:
        raise ValueError(f"the pictures of {path} are {total:,} characters: draw smaller ones, at most {LARGEST:,}")
    return notebook


def main() -> None:
    for path in sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(with_pictures(path, executed(path, Path(folder))), path)
        print(path)


if __name__ == "__main__":
    main()
