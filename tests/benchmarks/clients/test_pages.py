"""The pages of the gallery: what they promise, and those that need no other package, run."""

import importlib.metadata
import json
import re

import jax
import numpy as np
import pytest

from benchmarks.clients._compare import LIMIT, gap_text
from benchmarks.clients._environment import pinned, requirements
from benchmarks.clients._page import GALLERY, MAX_GLUE, pages, read_page, run_page
from benchmarks.clients._record import END, RECORD, START, facts, read_record, table, verdict

PAGES = pages()
CLIENTS = read_record(RECORD)
NEEDED = [line for line in importlib.metadata.requires("kinetic_jax") if "extra ==" not in line]
OWN = {re.match(r"[\w-]+", line)[0] for line in NEEDED}
LIGHT = [name for name in PAGES if pinned(requirements(name, GALLERY)).keys() <= OWN]
CONSTRAINTS = GALLERY / "requirements" / "constraints.txt"


def test_gallery_has_the_clients_that_were_asked_for():
    asked = {"gensbi", "ott-jax", "hackable_diffusion", "bayesflow", "equinox", "haiku", "function"}
    assert set(PAGES) >= asked | {"dit", "diffrax", "edm", "ddpm"}


@pytest.mark.parametrize("name", PAGES)
def test_glue_is_short(name):
    page = read_page(PAGES[name])
    assert 0 < len(page.glue) <= MAX_GLUE
    assert "import kinetic_jax as kj" in page.glue
    assert set(facts(page)) == {"predicts", "clock"}


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_what_the_committed_run_printed(name):
    client = CLIENTS[name]
    assert verdict(client) is None
    assert {"x1", "E"} <= set(client["differences"])
    assert read_page(PAGES[name]).output == client["output"]
    for difference, gap in client["differences"].items():
        assert f"{difference} {gap_text(gap)}" in client["output"]


@pytest.mark.parametrize("name", PAGES)
def test_requirements_are_pinned(name):
    constraints = pinned([CONSTRAINTS])
    pins = pinned(requirements(name, GALLERY))
    assert pins
    assert pins.items() <= {**constraints, **pins}.items()
    assert all(constraints[package] == version for package, version in pins.items())
    assert pins.items() <= CLIENTS[name]["versions"].items()


def test_curvature_of_ott_is_twice_the_excess_by_dimension():
    differences = CLIENTS["ott-jax"]["differences"]
    assert differences["curvature"] <= LIMIT
    theirs, ours = (
        re.search(rf"^{name}: (.*)$", CLIENTS["ott-jax"]["output"], re.MULTILINE)[1].split()
        for name in ("curvature", "2 x excess / d")
    )
    assert theirs == ours


def test_table_is_that_of_the_record():
    text = (GALLERY / "README.md").read_text()
    assert text.split(START)[1].split(END)[0].strip() == table(CLIENTS).strip()
    assert json.loads(RECORD.read_text())["limit"] == LIMIT


def test_two_or_more_pages_are_light():
    assert set(LIGHT) == {"function", "equinox", "diffrax", "dit", "edm", "ddpm"}


@pytest.mark.long
@pytest.mark.parametrize("name", LIGHT)
def test_x1_and_energy_are_those_of_a_loop_in_numpy(name):
    # Pages are users' code: Optax's Adam, for one, promotes dtypes.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result, output = run_page(read_page(PAGES[name]))
    assert {"x1", "E"} <= set(result.differences)
    assert max(result.differences.values()) <= LIMIT
    assert str(result) in output
    # The weights come from the same keys with every JAX and Flax, and so do the energies.
    np.testing.assert_allclose(result.energies.mean(), CLIENTS[name]["energy"], rtol=1e-3)
