"""The notebooks run from top to bottom, on small settings."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.long

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

# Every notebook keeps its sizes in one cell tagged "parameters", which is replaced here.
SMALL = {
    "quickstart": """
TOY_SAMPLES = 20
TRAIN_IMAGES, TRAINING_STEPS, WIDTH = 32, 100, 16
DIGIT_SAMPLES = 80
""",
    "energy": "SAMPLES, STEPS = 40, 10",
    "goldilocks": "SAMPLES, STEPS = 80, 20",
    "shaping": "SAMPLES, STEPS = 60, 20",
    "copies": "SAMPLES, STEPS = 150, 40",
    "tpu_benchmark": """
SUITES = ("memory",)
ROUNDS, QUICK = 1, True
""",
}


def _names(source):
    return {name.strip() for line in source.splitlines() if "=" in line
            for name in line.split("=")[0].split(",")}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Runs a notebook on its small settings, and returns its outputs."""

    def run(name):
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        assert _names(parameters.source) == _names(SMALL[name])
        parameters.source = SMALL[name]
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=300, resources=resources).execute()
        return [output for cell in notebook.cells for output in cell.get("outputs", ())]

    return run


def test_every_notebook_is_run():
    assert set(SMALL) == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


def test_quickstart(run, tmp_path):
    assert (
        len([output for output in run("quickstart") if "image/png" in output.get("data", {})]) >= 5
    )
    assert not list(tmp_path.iterdir()), "an installed package is not installed again"


@pytest.mark.parametrize(
    ("name", "pictures"), [("energy", 4), ("goldilocks", 3), ("shaping", 3), ("copies", 2)]
)
def test_notebooks_on_the_models_that_ship(run, tmp_path, name, pictures):
    outputs = run(name)
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) >= pictures
    assert not list(tmp_path.iterdir())


def test_tpu_benchmark(run, tmp_path):
    (table,) = [o["data"]["text/markdown"] for o in run("tpu_benchmark") if "data" in o]
    assert "| memory | a further step of a sample" in table
    (results,) = tmp_path.iterdir()  # an installed package is not installed again
    (path,) = results.iterdir()
    assert path.name.endswith("-quick.json")
    assert list(json.loads(path.read_text())["suites"]) == ["memory"]


def test_no_notebook_installs_jax():
    for path in NOTEBOOKS.glob("*.ipynb"):
        source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        assert "colab.research.google.com" in source
        assert "pip install jax" not in source
        assert '"-c", "keep-jax.txt"' in source


@pytest.mark.parametrize("package", ["matplotlib", "scipy", "sklearn"])
def test_no_notebook_has_plotting_or_statistics_of_its_own(package):
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        assert package not in code.replace("%matplotlib inline", ""), path.name
