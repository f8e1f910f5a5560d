"""Every explicit solver on a fixed grid takes Diffrax's own steps, energy included."""

import diffrax
import equinox as eqx
import jax
import numpy as np
import pytest

from kinetic_jax import energy_state, energy_term, sample
from kinetic_jax.sampling._explicit import stages_of

# Stages that end the step; one that serves the error estimate or the next step only is not run.
CALLS = {
    diffrax.Euler: 1,
    diffrax.Midpoint: 2,
    diffrax.Heun: 2,
    diffrax.Ralston: 2,
    diffrax.Bosh3: 3,
    diffrax.Tsit5: 6,
    diffrax.Dopri5: 6,
    diffrax.Dopri8: 13,
}
STEPS = 8


@eqx.filter_jit
def plain_solves(field, solver, x0):
    """`diffrax.diffeqsolve` with constant steps, of one sample: of x alone, and with its energy."""

    def end(term, y0):
        solution = diffrax.diffeqsolve(
            term, solver, t0=0.0, t1=1.0, dt0=1 / STEPS, y0=y0, max_steps=STEPS
        )
        return jax.tree.map(lambda leaf: leaf[-1], solution.ys)

    alone = end(diffrax.ODETerm(lambda t, x, args: field(t, x)), x0)
    return alone, end(energy_term(field), energy_state(x0))


# Heun's is in tests/energy/test_term.py. The orders of all but Dopri8, of energy and excess too,
# are fitted in test_convergence.py.
@pytest.mark.long
@pytest.mark.parametrize(
    "solver",
    [diffrax.Euler(), diffrax.Tsit5(), diffrax.Dopri8()],
    ids=lambda solver: type(solver).__name__,
)
def test_a_fixed_grid_is_diffrax_with_constant_steps(reference, normal, solver):
    field, x0 = reference.wave(0), normal(1, 3, 3)
    result = jax.tree.map(np.asarray, sample(field, x0, solver=solver, num_steps=STEPS))
    for i in range(3):
        x1, state = plain_solves(field, solver, x0[i])
        np.testing.assert_allclose(result.x1[i], x1, rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(state.x, x1, rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(result.energy.total[i], state.energy, rtol=3e-6)
        np.testing.assert_allclose(result.energy.length[i], state.length, rtol=3e-6)
    np.testing.assert_array_equal(result.num_evals, np.full(3, STEPS * CALLS[type(solver)]))


def test_no_stage_is_run_that_the_end_does_not_need():
    assert {solver: len(stages_of(solver()).c) for solver in CALLS} == CALLS


def test_a_users_own_tableau(reference, normal):
    """Kutta's third-order rule, which Diffrax does not have: Simpson's weights for the energy."""

    class Kutta3(diffrax.AbstractERK):
        tableau = diffrax.ButcherTableau(
            a_lower=(np.array([0.5]), np.array([-1.0, 2.0])),
            b_sol=np.array([1 / 6, 2 / 3, 1 / 6]),
            b_error=np.array([0.0, 0.0, 0.0]),
            c=np.array([0.5, 1.0]),
        )
        interpolation_cls = diffrax.LocalLinearInterpolation

        def order(self, terms):
            return 3

    field, x0 = reference.wave(2), normal(3, 2, 3)
    velocity = reference.wave_numpy(field)
    result = sample(field, x0, solver=Kutta3(), num_steps=4)
    x, energy, h = x0.astype(np.float64), np.zeros(2), 0.25
    for i in range(4):
        t = i * h
        k1 = velocity(t, x)
        k2 = velocity(t + h / 2, x + h / 2 * k1)
        k3 = velocity(t + h, x - h * k1 + 2 * h * k2)
        squares = [np.sum(k**2, axis=1) for k in (k1, k2, k3)]
        energy += h / 12 * (squares[0] + 4 * squares[1] + squares[2])
        x = x + h / 6 * (k1 + 4 * k2 + k3)
    np.testing.assert_allclose(result.x1, x, rtol=5e-6, atol=5e-6)
    np.testing.assert_allclose(result.energy.total, energy, rtol=5e-6)
    np.testing.assert_array_equal(result.num_evals, [12, 12])
