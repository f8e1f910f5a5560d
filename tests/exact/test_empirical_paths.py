"""Paths of `EmpiricalField` on flows whose end is known: one atom, and rows."""

import diffrax
import equinox as eqx
import jax
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, cfg, energy_state, energy_term, gain, kts, sample

ATOM = np.array([[3.0, -1.0, 2.0, 0.5]], np.float32)
X0 = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
SOLVERS = [diffrax.Euler(), diffrax.Midpoint(), diffrax.Heun(), diffrax.Bosh3(), diffrax.Tsit5()]


@pytest.mark.long
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_one_atom_is_reached_by_every_solver(solver, grid):
    """On [0, 1], where Heun, Bosh3 and Tsit5 look at t = 1, at which v* is 0/0."""
    result = sample(EmpiricalField(ATOM), X0, solver=solver, num_steps=20, grid=grid)
    np.testing.assert_allclose(result.x1, np.broadcast_to(ATOM, X0.shape), atol=2e-4)
    energy = np.sum((ATOM - X0) ** 2, axis=1) / 2
    np.testing.assert_allclose(result.energy.total, energy, rtol=1e-4)


@pytest.mark.long
def test_one_atom_under_adaptive_control():
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    result = sample(EmpiricalField(ATOM), X0, controller=controller).check()
    np.testing.assert_allclose(result.x1, np.broadcast_to(ATOM, X0.shape), atol=1e-3)
    energy = np.sum((ATOM - X0) ** 2, axis=1) / 2
    np.testing.assert_allclose(result.energy.total, energy, rtol=1e-3)


class Constant(eqx.Module):
    """The number is traced: one program for all of them."""

    eta: jax.Array

    def __call__(self, t):
        return self.eta


@pytest.mark.parametrize("eta", [0.75, 1.0, 1.5, 2.0])
def test_one_atom_under_a_constant_gain(eta, x64):
    """E = η² ||X − x0||²/(2 (2η − 1)), singular at the end for η < 1: hence the fine end."""
    nodes = 1 - np.linspace(1, 0, 2001) ** 4
    gained = gain(Constant(jax.device_put(eta)))(EmpiricalField(np.float64(ATOM)))
    result = sample(gained, np.float64(X0), solver=diffrax.Heun(), grid=nodes)
    energy = eta**2 * np.sum((ATOM - np.float64(X0)) ** 2, axis=1) / (2 * (2 * eta - 1))
    np.testing.assert_allclose(result.energy.total, energy, rtol=2e-3)


def test_one_atom_under_a_linear_launch(x64):
    """||X − x(τ)|| = ||X − x0|| (1 − τ)^{1 + α0 (1 − 1/τ)} e^{−α0}."""
    alpha0, tau = 0.3, 0.6
    launched = kts(alpha0=alpha0)(EmpiricalField(np.float64(ATOM)))
    x1 = sample(launched, np.float64(X0), solver=diffrax.Bosh3(), num_steps=400, t1=tau).x1
    left = np.linalg.norm(ATOM - np.asarray(x1), axis=1)
    left /= np.linalg.norm(ATOM - np.float64(X0), axis=1)
    np.testing.assert_allclose(left, (1 - tau) ** (1 + alpha0 * (1 - 1 / tau)) * np.exp(-alpha0))


@pytest.mark.parametrize("seed", range(5))
def test_paths_end_on_rows(seed):
    rng = np.random.default_rng(seed)
    data, x0 = np.float32(3 * rng.normal(size=(20, 3))), np.float32(rng.normal(size=(24, 3)))
    x1 = sample(EmpiricalField(data), x0, solver=diffrax.Heun(), num_steps=60).x1
    nearest = np.min(np.linalg.norm(np.asarray(x1)[:, None] - data[None], axis=2), 1)
    assert (nearest < 2e-2).all()


def test_numbers_do_not_recompile(compilations):
    x0 = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    for seed in range(3):
        rows = np.random.default_rng(seed).normal(size=(30, 6)).astype(np.float32)
        sample(kts(0.01 * seed)(EmpiricalField(rows)), x0, num_steps=3)
        if seed == 0:
            before = compilations()
    assert compilations() == before


def test_guided_by_class():
    data = np.float32([[4.0, 0.0], [0.0, 4.0], [-4.0, 0.0]])
    field = EmpiricalField(data, labels=np.array([0, 1, 1]))
    guided = cfg(1.5, field.null_cond)(field)
    x0 = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    x1 = sample(guided, x0, np.zeros(8, np.int32), num_steps=100).x1
    np.testing.assert_allclose(x1, np.broadcast_to(data[0], (8, 2)), atol=0.1)


def test_other_peoples_solves_stay_finite():
    """A Diffrax solve of their own looks at t = 1 itself: v* is finite there, 0 on an atom."""
    field = EmpiricalField(ATOM)
    on_it = jax.device_put(ATOM[0])
    np.testing.assert_array_equal(field(1.0, on_it), np.zeros(4))
    rates = energy_term(field).vf(1.0, energy_state(on_it), None)
    assert np.isfinite(rates.energy)
