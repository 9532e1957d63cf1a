"""The notebook beside the scenarios runs from top to bottom, and shows what it is committed with."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.places import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.notebook


def shown(notebook) -> list[list[list[str]]]:
    """Of each cell that runs, the kinds of what each output shows."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [[sorted(one.get("data", {one.output_type: ""})) for one in cell.outputs] for cell in cells]


def test_the_notebook_runs_and_shows_tables_and_figures(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the notebook shows figures by itself
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    shutil.copy(ROOT / "scenarios/quickstart.toml", tmp_path)
    committed = nbformat.read(ROOT / "scenarios/quickstart.ipynb", as_version=4)
    fresh = nbformat.read(ROOT / "scenarios/quickstart.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        fresh, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # an error in a cell is raised
    assert shown(fresh) == shown(committed)
    assert sum("image/png" in kinds for cell in shown(fresh) for kinds in cell) == 4
    assert sum("text/html" in kinds for cell in shown(fresh) for kinds in cell) == 4
    (printed,) = (one.text for cell in fresh.cells for one in cell.get("outputs", ()) if one.output_type == "stream")
    assert r"\toprule" in printed and (tmp_path / "runs/notebook/bandwidths/summary.csv").is_file()
