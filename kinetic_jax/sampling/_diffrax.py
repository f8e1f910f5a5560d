"""The undocumented parts of Diffrax on which adaptive sampling rests, in one place.

`tests/sampling/test_diffrax.py` says which of them a new release of Diffrax has changed.
"""

from typing import Any, TypeAlias, TypeVar

import diffrax
import equinox as eqx
import numpy as np
from jaxtyping import Array, PyTree

T = TypeVar("T")
Terms: TypeAlias = PyTree[diffrax.AbstractTerm]
Scalar: TypeAlias = int | float | Array | np.ndarray  # a real number, as Diffrax takes it

# Diffrax has no result for this; the solve is never asked to raise, so its message is never seen.
STOPPED_NOT_FINITE = diffrax.RESULTS.internal_error


def term_of(terms: Terms) -> diffrax.ODETerm:
    """The user's term: solvers and controllers get it wrapped, for the direction of time."""
    return terms.term


def with_term(terms: T, term: diffrax.ODETerm) -> T:
    """`terms` with another term inside the wrapper.

    The wrapper stays, because the kind of a term decides how a controller chooses a first step.
    """
    return eqx.tree_at(lambda wrapper: wrapper.term, terms, term)


def scan_kind_of(solver: diffrax.AbstractSolver) -> Any:
    """The kind of loop over the stages of the method inside a solver; forward mode sets it."""
    inner: Any = solver
    while isinstance(inner, diffrax.AbstractWrappedSolver):
        inner = inner.solver
    return inner.scan_kind
