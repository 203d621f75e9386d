"""The notebooks run from beginning to end, and are kept with what they showed."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
assert NOTEBOOKS, "no notebook is there"


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shortened(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with two epochs of training: how well its model does is not looked at here."""
    for cell in code(notebook):
        cell.source = re.sub(r"epochs=\d+", "epochs=2", cell.source)
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_was_kept_with(path: Path, tmp_path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in code(kept)] == list(range(1, len(code(kept)) + 1))
    again = shortened(nbformat.read(path, as_version=4))
    NotebookClient(again, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for before, after in zip(code(kept), code(again), strict=True):
        kinds = [[output.output_type for output in cell.outputs] for cell in (before, after)]
        assert kinds[0] == kinds[1], before.source
