"""One step of an explicit Runge–Kutta method, from Diffrax's own tableau.

Same arithmetic as `solver.step`, unrolled over the stages. Diffrax's general step loops over
stages through buffers (it also serves implicit, adaptive and stochastic solves), which costs a
two-stage solver several per cent of an MLP's time; `benchmarks/speed/overhead.py` prints the ratio.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax.sampling._diffrax import Scalar


class Stages(NamedTuple):
    """The stages that reach the end of a step; hashable, so that it can be static.

    Attributes:
        c: where in the step each stage lies, from 0 to 1.
        a: for each stage the weights of the stages before it.
        b: the weights of the stages in the step.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


def stages_of(solver: diffrax.AbstractSolver) -> Stages:
    """The stages of an explicit one-step ODE solver.

    A last stage that serves only the error estimate or the next step (FSAL) is left out: on a
    fixed grid it is the first stage of the next step anyway.

    Raises:
        ValueError: if the solver is not `Euler` or an explicit Runge–Kutta method.
    """
    require_explicit(solver)
    if isinstance(solver, diffrax.Euler):
        return Stages((0.0,), ((),), (1.0,))
    tableau = solver.tableau  # type: ignore[attr-defined]
    num = int(np.max(np.flatnonzero(tableau.b_sol))) + 1

    def floats(weights: Iterable[Any]) -> tuple[float, ...]:
        return tuple(float(weight) for weight in weights)

    return Stages(
        floats((0.0, *tableau.c))[:num],
        ((), *(floats(row) for row in tableau.a_lower))[:num],
        floats(tableau.b_sol)[:num],
    )


def require_explicit(solver: diffrax.AbstractSolver) -> None:
    """Raises unless `solver` is `Euler` or a single-tableau explicit Runge–Kutta method."""
    # A wrapped solver (HalfSolver) answers isinstance for the one inside, but steps differently.
    explicit = not isinstance(solver, diffrax.AbstractWrappedSolver) and (
        isinstance(solver, diffrax.Euler)
        or (
            isinstance(solver, diffrax.AbstractERK)
            and isinstance(solver.tableau, diffrax.ButcherTableau)
        )
    )
    require(
        explicit,
        "solver",
        type(solver).__name__,
        "be an explicit one-step ODE solver of Diffrax (Euler, Midpoint, Heun, Ralston, Bosh3, "
        "Tsit5, Dopri5, Dopri8 or your own diffrax.AbstractERK); multi-step, implicit and SDE "
        "solvers have no energy quadrature of their own",
    )


def stage_point(
    stages: Stages,
    rates: list[Float[Array, "*event"]],
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    x: Float[Array, "*event"],
    arrival: Float[Array, ""] | None,
) -> tuple[Float[Array, ""], Float[Array, "*event"]]:
    """Time and position of the next stage, given the rates of those before it.

    No stage looks beyond `arrival`, if there is one; see `before_arrival`.
    """
    c, weights = stages.c[len(rates)], stages.a[len(rates)]
    step, time = t1 - t0, stage_time(c, t0, t1)
    position = advance(x, weighted_sum(weights, rates), step)
    if arrival is not None and c != 0:
        return before_arrival(arrival, t0, x, time, position)
    return time, position


def stage_time(c: float, t0: Float[Array, ""], t1: Float[Array, ""]) -> Float[Array, ""]:
    """The time of a stage; t1 itself, not t0 + 1·h: no rounding at the right end."""
    return t0 if c == 0 else t1 if c == 1 else t0 + c * (t1 - t0)


def before_arrival(
    arrival: Float[Array, ""], t0: Scalar, y0: PyTree[Any], t: Scalar, y: PyTree[Any]
) -> tuple[Array, PyTree[Any]]:
    """A stage at (t, y) of a step from (t0, y0), moved back along their chord if past `arrival`.

    A field that is 0/0 at the end of its path has a limit along the path that arrives there. On
    a straight path, as one atom's is, the chord is the path, and the limit is exact.
    """
    time, share = share_before(arrival, t0, t)

    def move(start: Array, end: Array) -> Array:
        return jnp.where(t > arrival, start + share.astype(end.dtype) * (end - start), end)

    return time, jax.tree.map(move, y0, y)


def share_before(arrival: Float[Array, ""], t0: Scalar, t: Scalar) -> tuple[Array, Array]:
    """The time of a stage, moved back if past `arrival`, and its share of the way from t0 to t."""
    # Never further back than half way: steps may be far smaller than 1 − arrival.
    time = jnp.where(t > arrival, jnp.maximum(arrival, t0 + (t - t0) / 2), t)
    length = jnp.asarray(t - t0)  # 0 where a saved time lies on a node
    return time, (time - t0) / jnp.where(length == 0, jnp.ones_like(length), length)


def weighted_sum(weights: tuple[float, ...], ks: list[PyTree[Any]]) -> PyTree[Any]:
    """Σ w_i k_i over the non-zero weights; None if there is none."""
    terms = [(w, k) for w, k in zip(weights, ks, strict=True) if w != 0]
    if not terms:
        return None
    total = _scaled(*terms[0])
    for weight, k in terms[1:]:
        total = jax.tree.map(lambda a, b: a + b, total, _scaled(weight, k))
    return total


def _scaled(weight: float, k: PyTree[Any]) -> PyTree[Any]:
    return k if weight == 1 else jax.tree.map(lambda leaf: weight * leaf, k)


def advance(y: PyTree[Any], rate: PyTree[Any] | None, step: Float[Array, ""]) -> PyTree[Any]:
    """`y + step · rate`, leaf by leaf."""
    if rate is None:
        return y
    return jax.tree.map(lambda a, b: a + step.astype(a.dtype) * b, y, rate)
