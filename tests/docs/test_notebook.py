"""Claims about the tutorial notebook: every cell runs, and it keeps no outputs that could go stale."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "quant.ipynb"


def test_the_notebook_keeps_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of the notebook's own packages: hansa's come up in the kernel
def test_every_cell_runs_and_the_state_helps() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    check = "assert (with_state['rmse'] < alone['rmse']).all()"
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = "".join(
        str(output["data"].get("text/plain", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    )
    for words in ("model-shared", "q05", "coverage", "lsi_everybody", "is_stressed"):
        assert words in shown
