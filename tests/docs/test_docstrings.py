"""Public docstrings are complete, and the check that says so refuses incomplete ones."""

import importlib
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from kinetic_jax._checks import require


@pytest.fixture(scope="module")
def load():
    """Loads a module of `docs/_ext`, as Sphinx does."""
    folder = str(Path(__file__).parents[2] / "docs" / "_ext")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


def halved(x: float, *rest: float) -> float:
    """Half of a number.

    Args:
        x: the number, not negative.
        *rest: more of them.

    Returns:
        The half.

    Raises:
        ValueError: if the number is negative.

    Example:
        >>> halved(2.0)
        1.0
    """
    require(x >= 0, "x", x, "not be negative")
    return x / 2


def raising(x: float) -> None:
    if x < 0:
        raise ValueError("x must not be negative")


def silent() -> None:
    pass


class Halves(NamedTuple):
    """The halves of a number.

    Attributes:
        left, right: equal.
    """

    left: float
    right: float

    def sum(self) -> float:
        return self.left + self.right


class Halver:
    """Halves numbers.

    Args:
        factor: a half.
    """

    def __init__(self, factor: float, digits: int = 3):
        raising(factor)
        require(digits > 0, "digits", digits, "be positive")


def test_complete_docstring_lacks_nothing(load):
    assert list(load("docstrings").missing(halved)) == []


@pytest.mark.parametrize(
    ("begin", "end", "part"),
    [
        ("Half of a number.", "Half of a number.\n\n", "a docstring"),
        ("        x: the number", "        *rest", "the argument x"),
        ("        *rest: more of them.", "\n", "the argument rest"),
        ("    Returns:", "    Raises:", "Returns"),
        ("    Raises:", "    Example:", "Raises"),
        ("        >>> halved(2.0)", "\n", "an example"),
    ],
)
def test_each_part_is_asked_for(load, monkeypatch, begin, end, part):
    before, _, after = halved.__doc__.partition(begin)
    rest = after[after.index(end) :] if end in after else ""
    if part == "a docstring":
        rest = after
    monkeypatch.setattr(halved, "__doc__", before + rest)
    assert list(load("docstrings").missing(halved)) == [part]


def test_a_function_needs_what_it_does(load):
    missing = load("docstrings").missing
    assert list(missing(silent)) == ["a docstring", "an example"]
    assert list(missing(raising)) == ["a docstring", "the argument x", "Raises", "an example"]


def test_classes_by_kind(load):
    missing = load("docstrings").missing
    assert list(missing(Halves)) == ["a docstring of its member sum"]
    assert list(missing(Halver)) == ["the argument digits", "Raises", "an example"]


def test_attributes_are_described_one_by_one(load, monkeypatch):
    monkeypatch.setattr(Halves, "__doc__", "The halves.\n\nAttributes:\n    left: one.\n")
    monkeypatch.delattr(Halves, "sum")
    assert list(load("docstrings").missing(Halves)) == ["the attribute right"]


def test_every_public_name_is_complete(load):
    assert load("docstrings").incomplete() == {}


def test_every_public_name_has_a_page(load):
    names = load("public_names")
    described = {id(thing) for own in names.pages().values() for thing in own.values()}
    for module, value in names.modules().items():
        for name, thing in names.names_of(value).items():
            is_ours = getattr(thing, "__module__", "kinetic_jax").startswith("kinetic_jax")
            assert id(thing) in described or not is_ours, (module, name)


def test_records_come_after_what_returns_them(load):
    page = load("api_pages").page("kinetic_jax.metrics")
    functions, records = page.split("Results and records")
    for name in ("roc_auc", "transport_bounds", "FrechetReference"):
        assert f"kinetic_jax.metrics.{name}\n" in functions
    for name in ("RocAuc", "TransportBounds"):
        assert f"kinetic_jax.metrics.{name}\n" in records


def test_docstrings_become_markup_that_reads_the_same(load):
    text = (
        "|x| of `(batch, *event)` and x_i*\n\n>>> 2 * 3\n6\n\n| a | b |\n|---|---|\n| 1 | `c` |\n"
    )
    assert "\n".join(load("api_pages").to_rst(text.split("\n"))) == (
        "\\|x\\| of ``(batch, *event)`` and x_i\\*\n\n>>> 2 * 3\n6\n\n.. list-table::\n"
        "   :header-rows: 1\n\n   * - a\n     - b\n   * - 1\n     - ``c``\n"
    )
