"""The library's answers where the answer is known in closed form."""

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import cumulative_simpson, simpson

from kinetic_jax import GaussianField, gain, kts, sample

TIGHT = diffrax.PIDController(rtol=1e-6, atol=1e-6)


class Constant(eqx.Module):
    velocity: np.ndarray

    def __call__(self, t, x, cond=None):
        return self.velocity


class OneAtom(eqx.Module):
    """v = (X − x)/(1 − t), the optimal field of a training set of one; 0 where x has landed."""

    atom: np.ndarray

    def __call__(self, t, x, cond=None):
        left = 1 - t
        arrived = left <= 0
        return jnp.where(arrived, 0.0, 1.0) * (self.atom - x) / jnp.where(arrived, 1.0, left)


class ConstantGain(eqx.Module):
    eta: np.ndarray

    def __call__(self, t):
        return self.eta


SOLVERS = {
    "euler": {"num_steps": 7},
    "heun": {"solver": diffrax.Heun(), "num_steps": 7},
    "tsit5": {"solver": diffrax.Tsit5(), "num_steps": 7},
}


@pytest.mark.parametrize("name", SOLVERS)
def test_constant_field(normal, name):
    """By steps of its own, see test_status.py."""
    velocity, x0 = np.array([3.0, -4.0], np.float32), normal(0, 3, 2)
    result = sample(Constant(velocity), x0, **SOLVERS[name])
    np.testing.assert_allclose(result.x1, x0 + velocity, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.energy.total, 12.5, rtol=1e-5)
    np.testing.assert_allclose(result.energy.displacement, 12.5, rtol=1e-5)
    np.testing.assert_allclose(result.energy.excess, 0.0, atol=1e-4)
    np.testing.assert_allclose(result.energy.length, 5.0, rtol=1e-5)


def test_energy_sums_over_dimensions_and_carries_the_half():
    """128 dimensions at speed 2 each: ½ · 128 · 4, in whatever shape the event has."""
    for event in ((128,), (2, 8, 8)):
        result = sample(
            Constant(np.full(event, 2, np.float32)), np.zeros((1, *event), np.float32), num_steps=3
        )
        np.testing.assert_allclose(result.energy.total, 256.0, rtol=1e-6)


def gaussian_energy(mean, scale, x0):
    """Oracle 2 of the paper's appendix, in float64."""
    x0, mean = np.asarray(x0, np.float64), np.asarray(mean, np.float64)
    quadratic = (1 + scale**2 - np.pi * scale / 2) * np.sum(x0**2, axis=1) / 2
    return mean @ mean / 2 + (scale - 1) * x0 @ mean + quadratic


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
@pytest.mark.parametrize(
    "solver", [diffrax.Dopri5(), diffrax.Bosh3()], ids=lambda s: type(s).__name__
)
def test_gaussian_under_adaptive_control(normal, solver, scale):
    """Tsit5 is in test_adaptive.py, with its launch."""
    mean, x0 = np.array([1.0, -2.0, 0.5]), normal(1, 5, 3)
    field = GaussianField(mean.astype(np.float32), scale)
    controller = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    result = sample(field, x0, solver=solver, controller=controller, max_steps=512).check()
    assert result.energy.total.dtype == jnp.float32
    np.testing.assert_allclose(result.energy.total, gaussian_energy(mean, scale, x0), rtol=1e-3)
    x1 = mean + scale * x0
    np.testing.assert_allclose(result.x1, x1, rtol=1e-3, atol=1e-3)
    displacement = np.sum((x1 - x0) ** 2, axis=1) / 2
    np.testing.assert_allclose(result.energy.displacement, displacement, rtol=2e-3, atol=1e-3)


def test_gaussian_energy_needs_no_adaptive_control(normal):
    mean, x0 = np.array([1.0, -2.0, 0.5]), normal(1, 5, 3)
    field = GaussianField(mean.astype(np.float32), 0.3)
    result = sample(field, x0, solver=diffrax.Heun(), num_steps=200)
    np.testing.assert_allclose(result.energy.total, gaussian_energy(mean, 0.3, x0), rtol=1e-3)


ATOM = np.array([2.0, -1.0])


def distance(x, atom=ATOM):
    return np.linalg.norm(np.asarray(x, np.float64) - atom, axis=1)


@pytest.mark.long
@pytest.mark.parametrize("eta", [0.8, 1.0, 1.5])
def test_one_atom_under_a_constant_gain(normal, eta):
    """E = η² ||X − x0||² / (2 (2η − 1)) up to t = 1; here up to t1, where it has a closed form."""
    x0, t1 = normal(2, 4, 2), 0.95
    field = gain(ConstantGain(np.float32(eta)))(OneAtom(ATOM.astype(np.float32)))
    result = sample(field, x0, controller=TIGHT, t1=t1, max_steps=512).check()
    exact = eta**2 * distance(x0) ** 2 / (2 * (2 * eta - 1))
    # The integrand is η² D² (1 − t)^{2η − 2}/2.
    np.testing.assert_allclose(
        result.energy.total, exact * (1 - (1 - t1) ** (2 * eta - 1)), rtol=1e-3
    )
    np.testing.assert_allclose(distance(result.x1) / distance(x0), (1 - t1) ** eta, rtol=1e-3)


# Solvers that give no weight to t = 1, where the guard stands in for 0/0.
@pytest.mark.parametrize("solver", [diffrax.Euler(), diffrax.Midpoint(), diffrax.Bosh3()])
def test_one_atom_is_reached_at_the_end(normal, solver):
    """The path is straight: the solver lands on the atom, with E = ½ ||X − x0||²."""
    x0 = normal(2, 4, 2)
    field = OneAtom(ATOM.astype(np.float32))
    result = sample(field, x0, solver=solver, num_steps=10).check()
    np.testing.assert_allclose(result.x1, np.broadcast_to(ATOM, (4, 2)), atol=1e-5)
    np.testing.assert_allclose(result.energy.total, distance(x0) ** 2 / 2, rtol=1e-4)


def test_one_atom_energy_diverges_at_gain_one_half(normal):
    """At η = ½ it grows like −log(1 − t1): the same amount for every decade of 1 − t1."""
    x0 = normal(2, 4, 2)
    field = gain(ConstantGain(np.float32(0.5)))(OneAtom(ATOM.astype(np.float32)))
    for t1 in (0.9, 0.99, 0.999):
        result = sample(field, x0, controller=TIGHT, t1=t1, max_steps=512).check()
        exact = -np.log1p(-t1) * distance(x0) ** 2 / 8
        np.testing.assert_allclose(result.energy.total, exact, rtol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("alpha0", [-0.3, 0.5])
def test_one_atom_at_the_end_of_a_linear_launch(normal, alpha0):
    tau, x0 = 0.6, normal(3, 4, 2)
    field = kts(alpha0)(OneAtom(ATOM.astype(np.float32)))
    result = sample(field, x0, controller=TIGHT, t1=tau, max_steps=512).check()
    ratio = (1 - tau) ** (1 + alpha0 * (1 - 1 / tau)) * np.exp(-alpha0)
    np.testing.assert_allclose(distance(result.x1) / distance(x0), ratio, rtol=1e-4)


# Each shape once: a launch knows nothing of the landing. Others meet in test_fixed_reference.py.
SHAPES = [("linear", "exponential"), ("constant", "linear"), ("exponential", "constant")]


@pytest.mark.parametrize(("launch", "landing"), SHAPES)
def test_one_atom_approaches_as_the_gain_says(reference, normal, launch, landing):
    """||X − x(t)|| = ||X − x0|| exp(−∫ η/(1 − t')), and E = ½ ∫ (η ||X − x||/(1 − t))²."""
    alpha0, beta0, tau, t1, x0 = 0.5, 0.02, 0.45, 0.9, normal(4, 3, 2)
    shaped = kts(alpha0, beta0, tau, launch=launch, landing=landing)
    field = shaped(OneAtom(ATOM.astype(np.float32)))
    # τ is node 300 of 600, and no midpoint meets the jump of the gain there.
    result = sample(field, x0, solver=diffrax.Midpoint(), num_steps=600, t1=t1).check()

    # Simpson's rule on each phase apart: the gain may jump at τ.
    shrunk, expected = 0.0, {}
    for phase, low, high in (("launch", 0.0, tau), ("landing", tau, t1)):
        t = np.linspace(low, high, 2001)
        inside = t - 1e-8 * (phase == "launch")  # the launch's own limit at τ
        eta = np.array([reference.eta(s, alpha0, beta0, tau, launch, landing) for s in inside])
        exponent = shrunk + cumulative_simpson(eta / (1 - t), x=t, initial=0.0)
        expected[phase] = simpson((eta * np.exp(-exponent) / (1 - t)) ** 2 / 2, x=t)
        shrunk = exponent[-1]
    np.testing.assert_allclose(distance(result.x1) / distance(x0), np.exp(-shrunk), rtol=5e-4)
    for phase, energy in expected.items():
        np.testing.assert_allclose(
            getattr(result.energy, phase), energy * distance(x0) ** 2, rtol=5e-4
        )


class TwoAtoms(eqx.Module):
    """The optimal field of a training set of two, of equal weight."""

    atoms: np.ndarray

    def __call__(self, t, x, cond=None):
        left = jnp.maximum(1 - t, 1e-6)
        residual = x[None] - t * self.atoms
        logits = -jnp.sum(residual**2, axis=1) / (2 * left**2)
        weights = jnp.exp(logits - jnp.max(logits))
        return ((weights / jnp.sum(weights)) @ self.atoms - x) / left


def test_two_atoms_end_on_one_of_them(normal):
    atoms = np.array([[2.0, 0.0], [-2.0, 1.0]])
    x0 = normal(5, 16, 2)
    result = sample(TwoAtoms(atoms.astype(np.float32)), x0, num_steps=50).check()
    gaps = np.linalg.norm(np.asarray(result.x1)[:, None] - atoms, axis=2)
    assert np.all(gaps.min(axis=1) / gaps.max(axis=1) < 1e-5)
    assert set(np.argmin(gaps, axis=1)) == {0, 1}
