"""The notebooks run from top to bottom, on small settings."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

# Every notebook keeps its sizes in one cell tagged "parameters", which is replaced here.
SMALL = {
    "quickstart": """
TOY_SAMPLES = 20
TRAIN_IMAGES, TRAINING_STEPS, WIDTH = 32, 100, 16
DIGIT_SAMPLES = 80
""",
}


def _names(source):
    return {name.strip() for line in source.splitlines() if "=" in line
            for name in line.split("=")[0].split(",")}  # fmt: skip


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert _names(parameters.source) == _names(SMALL[path.stem])
    parameters.source = SMALL[path.stem]
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 5
    assert not list(tmp_path.iterdir()), "an installed package is not installed again"


def test_no_notebook_installs_jax():
    for path in NOTEBOOKS.glob("*.ipynb"):
        source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        assert "colab.research.google.com" in source
        assert "pip install jax" not in source
        assert '"-c", "keep-jax.txt"' in source
