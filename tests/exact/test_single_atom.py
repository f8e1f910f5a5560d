"""The landing on one row: against formulas, SciPy's quadrature, and the sampler."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kinetic_jax import EmpiricalField, cfg, chain, gain, identity, kts, sample
from kinetic_jax.exact import single_atom

LAUNCH = {
    "linear": lambda q: q,
    "constant": lambda q: 1.0,
    "exponential": lambda q: np.expm1(3 * q) / np.expm1(3),
}
LANDING = {
    "exponential": lambda s: np.expm1(3 * s),
    "linear": lambda s: s,
    "constant": lambda s: 1.0,
}
BETA0 = {"exponential": 1 / 64, "linear": 0.3125, "constant": 0.3125}
TAU = 0.625  # binary fractions throughout: float32 and float64 mean the same gain


class Varying(eqx.Module):
    """A spike, a step or waves: which of them is traced, so that one program has them all."""

    share: np.ndarray

    def __call__(self, u):
        spike = 1 + 2 * jnp.exp(-(((u - 0.5) / 0.01) ** 2) / 2)
        step = jnp.where(u < 0.37, 1.5, 0.8)
        wave = 1 + 0.4 * jnp.sin(200 * u)
        shapes = (spike, step, wave, 1 + 0.5 * (1 - u) ** 2, 1 + 0.4 * jnp.sin(9 * u))
        return sum(self.share[i] * shape for i, shape in enumerate(shapes))


def by_hand(launch, landing):
    """η in the launch and in the landing, in NumPy."""
    return (
        lambda t: 1 + 0.3125 * LAUNCH[launch](1 - t / TAU),
        lambda t: 1 - BETA0[landing] * LANDING[landing]((t - TAU) / (1 - TAU)),
    )


# Each gain, made in the precision of the test, with its two phases written out; every shape once.
GAINS = {
    f"{launch} {landing}": (
        functools.partial(kts, 0.3125, BETA0[landing], TAU, launch=launch, landing=landing),
        by_hand(launch, landing),
    )
    for launch, landing in zip(LAUNCH, LANDING, strict=True)  # phases do not meet
} | {
    "ssc": (lambda: gain(Varying(np.eye(5)[3])), 2 * (lambda t: 1 + 0.5 * (1 - t) ** 2,)),
    "wavy": (lambda: gain(Varying(np.eye(5)[4])), 2 * (lambda t: 1 + 0.4 * np.sin(9 * t),)),
}


def seven(t):
    """A time as often as there are times in the first test, with which others share programs."""
    return np.full(7, float(t))


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", GAINS)
def test_against_an_ode_solver_and_the_sampler(name):
    """d ratio/dt = −η ratio/(1 − t) and dE/dt = ½ η² ratio²/(1 − t)², by SciPy; and in `sample`."""
    make, phases = GAINS[name]
    fn = make()
    times = (0.2, TAU, 0.65, 0.9, 0.999)
    found = single_atom(fn, np.array([0.0, *times, 1.0]))
    assert (found.ratio[0], found.energy[0]) == (1, 0)
    state, start = np.array([1.0, 0.0]), 0.0
    for i, t in enumerate(times):
        eta = phases[int(start >= TAU)]
        rates = lambda t, y, eta=eta: (  # noqa: E731
            -eta(t) * y[0] / (1 - t), (eta(t) * y[0] / (1 - t)) ** 2 / 2
        )  # fmt: skip
        solved = solve_ivp(rates, (start, t), state, method="DOP853", rtol=1e-11, atol=1e-14)
        state, start = solved.y[:, -1], t
        np.testing.assert_allclose([found.ratio[i + 1], found.energy[i + 1]], state, rtol=1e-8)
    assert found.ratio[-1] == 0
    assert found.energy[-1] > found.energy[-2]
    row = np.array([[1.0, -2.0, 0.5]])
    x0 = np.random.default_rng(0).normal(size=(4, 3))
    run = sample(
        fn(EmpiricalField(row)), x0, solver=diffrax.Heun(), num_steps=1440, t1=0.9,
        save_at=np.array([0.2, TAU, 0.9]),
    ).check()  # fmt: skip
    start = np.linalg.norm(row - x0, axis=1)
    left = np.linalg.norm(np.asarray(run.path) - row[None], axis=2) / start[:, None]
    # A shape that jumps at tau_split is met to first order.
    near = {"rtol": 1e-3 if "constant" in name else 1e-4}
    np.testing.assert_allclose(left, np.tile(np.asarray(found.ratio)[[1, 2, 4]], (4, 1)), **near)
    np.testing.assert_allclose(run.energy.total, float(found.energy[4]) * start**2, **near)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("eta", [0.6, 1.0, 1.7, 3.0, 50.0, 100.0])
def test_a_constant_gain(eta):
    t = np.linspace(0, 1, 7)
    found = single_atom(eta, t)
    np.testing.assert_allclose(found.ratio, (1 - t) ** eta, rtol=1e-10, atol=1e-300)
    wanted = eta**2 * (1 - (1 - t) ** (2 * eta - 1)) / (2 * (2 * eta - 1))
    np.testing.assert_allclose(found.energy, wanted, rtol=1e-8, atol=1e-300)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("alpha0", "tau"), [(0.1, 0.6), (0.5, 0.3), (1.0, 0.8)])
def test_a_linear_launch(alpha0, tau):
    shaped = kts(alpha0, tau_split=tau)
    wanted = (1 - tau) ** (1 + alpha0 * (1 - 1 / tau)) * np.exp(-alpha0)
    np.testing.assert_allclose(single_atom(shaped, seven(tau)).ratio, wanted, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_gains_that_vary_fast():
    """Their exponents are known: ∫ η/(1 − t) dt."""
    t = 0.99
    nodes, weights = np.polynomial.legendre.leggauss(40)
    look = jax.jit(lambda eta, t: eta(t))
    edges = np.concatenate([np.linspace(0, 0.37, 400), np.linspace(0.37, t, 1600)[1:]])
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    at = (middle[:, None] + half[:, None] * nodes).ravel()
    for eta in map(Varying, np.eye(5)[:3]):
        values = np.asarray(look(eta, at)).reshape(len(half), -1)
        rate = values / (1 - at.reshape(len(half), -1))
        exponent = np.sum(half[:, None] * weights * rate)
        ratio = single_atom(gain(eta), seven(t)).ratio
        np.testing.assert_allclose(ratio, np.exp(-exponent), rtol=1e-6)


def line(start, slope):
    """A function of time; what it encloses is an argument of its program."""
    start, slope = jax.device_put((float(start), float(slope)))
    return lambda t: start + slope * t


def test_half_precision_is_computed_in_single():
    half = single_atom(jnp.bfloat16(1.0), jnp.bfloat16(0.5))
    assert half.ratio.dtype == np.float32
    np.testing.assert_allclose(half.ratio, 0.5, rtol=1e-6)


def test_a_linear_launch_in_single_precision():
    found = single_atom(kts(0.5, tau_split=TAU), np.full(7, TAU, np.float32))
    assert found.ratio.dtype == found.energy.dtype == np.float32
    wanted = (1 - TAU) ** (1 + 0.5 * (1 - 1 / TAU)) * np.exp(-0.5)
    np.testing.assert_allclose(found.ratio, wanted, rtol=1e-5)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_what_a_gain_may_be():
    by_function, by_transform = (single_atom(g, seven(0.3)).ratio for g in (kts(0.1).fn, kts(0.1)))
    np.testing.assert_array_equal(by_function, by_transform)
    assert np.all(np.isnan(single_atom(line(0, np.nan), seven(1)).ratio))


@pytest.mark.usefixtures("x64")
def test_one_program_for_all_numbers(compilations):
    for i, alpha0 in enumerate((0.1, 0.2, 0.3)):
        single_atom(kts(alpha0), seven(0.1 * i))
        single_atom(1.0 + alpha0, seven(0.1 * i))
        single_atom(line(1, alpha0), seven(0.1 * i))
        if i == 0:
            before = compilations()
    assert compilations() == before


@pytest.mark.usefixtures("x64")
def test_where_the_energy_diverges():
    for number in (0.5, 0.3):
        found = single_atom(number, seven(1))
        assert np.all(np.isinf(found.energy))
        np.testing.assert_array_equal(found.ratio, 0)
    # A gain that ends at nought leaves a part of the way: ∫ (1 − t)/(1 − t) dt = 1.
    np.testing.assert_allclose(single_atom(line(1, -1), seven(1)).ratio, np.exp(-1), rtol=1e-5)
    away = single_atom(kts(beta0=0.2, allow_reversal=True), seven(1))
    assert np.all(np.isinf(away.ratio))


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_derivatives():
    """Slopes of the ratio's logarithm and of the energy, whose sum is not 0 by chance."""

    @jax.jit
    @jax.value_and_grad
    def ends(numbers):
        found = single_atom(kts(numbers[0], numbers[1], numbers[2]), 0.95)
        return jnp.log(found.ratio) + 0.7 * found.energy

    at, step = np.array([0.2, 0.01, 0.6]), 1e-5
    slopes = ends(at)[1]
    for i, change in enumerate(step * np.eye(3)):
        quotient = (ends(at + change)[0] - ends(at - change)[0]) / (2 * step)
        np.testing.assert_allclose(slopes[i], quotient, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1.5), r"t must lie in \[0, 1\], got 1.5"),
        (("linear", 0.5), "gain must be what kts or gain returned.* got 'linear'"),
        ((jnp.ones(3), 0.5), "gain must be what kts or gain returned"),
        ((identity(), 0.5), "gain must be what kts or gain returned.* got Identity"),
        ((chain(kts(0.1)), 0.5), "gain must be what kts or gain returned.* got Chain"),
        ((cfg(2.0, 0), 0.5), "gain must be what kts or gain returned"),
        ((kts(0.1)(EmpiricalField(np.ones((2, 1), np.float32))), 0.5), "gain must be what kts"),
        ((lambda t: jnp.ones(2) * t, 0.5), r"gain must return one number for one time, got"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        single_atom(*arguments)
