"""Canaries of the undocumented parts of Diffrax on which adaptive sampling rests."""

from collections.abc import Callable

import diffrax
import equinox as eqx
import jax.numpy as jnp
import pytest

from kinetic_jax.sampling._diffrax import scan_kind_of, term_of, with_term


class Spy(diffrax.AbstractWrappedSolver):
    """Notes the terms and the `scan_kind` that a solve gives to its solver."""

    solver: diffrax.AbstractSolver
    note: Callable = eqx.field(static=True)

    term_structure = property(lambda self: self.solver.term_structure)
    interpolation_cls = property(lambda self: self.solver.interpolation_cls)
    term_compatible_contr_kwargs = property(lambda self: self.solver.term_compatible_contr_kwargs)
    scan_kind = property(lambda self: self.solver.scan_kind)

    def order(self, terms):
        return self.solver.order(terms)

    def strong_order(self, terms):
        return self.solver.strong_order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def init(self, terms, *args):
        return self.solver.init(terms, *args)

    def step(self, terms, *args):
        self.note((terms, self.scan_kind))
        return self.solver.step(terms, *args)

    def func(self, terms, *args):
        return self.solver.func(terms, *args)


def noted(**options):
    own = diffrax.ODETerm(lambda t, y, args: -y)
    notes = []
    diffrax.diffeqsolve(
        own, Spy(diffrax.Tsit5(), notes.append), 0.0, 1.0, 0.1, jnp.ones(2), max_steps=16, **options
    )
    terms, scan_kind = notes[-1]
    return own, terms, scan_kind


def test_a_solver_gets_the_term_in_one_wrapper():
    own, terms, _ = noted()
    assert term_of(terms).vector_field is own.vector_field
    assert not hasattr(term_of(terms), "term")
    other = diffrax.ODETerm(lambda t, y, args: y)
    replaced = with_term(terms, other)
    assert type(replaced) is type(terms)
    assert term_of(replaced).vector_field is other.vector_field


def test_forward_mode_sets_the_scan_kind():
    wrapped = diffrax.HalfSolver(diffrax.Tsit5(scan_kind="lax"))
    assert scan_kind_of(wrapped) == "lax"
    assert scan_kind_of(diffrax.Tsit5()) is None
    _, _, scan_kind = noted(adjoint=diffrax.ForwardMode())
    assert scan_kind == "lax"


def test_a_result_that_no_solve_of_ours_has_otherwise():
    with pytest.raises(AttributeError):
        _ = diffrax.RESULTS.not_finite  # if there is one now, use it for STOPPED_NOT_FINITE
    assert diffrax.RESULTS.internal_error != diffrax.RESULTS.successful
    assert diffrax.RESULTS.internal_error != diffrax.RESULTS.max_steps_reached
