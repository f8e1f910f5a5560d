"""Log densities along the path: laws in closed form, orders, Hutchinson's estimate, arguments."""

import dataclasses
import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kinetic_jax as kj
from kinetic_jax.sampling import Trajectories
from kinetic_jax.sampling._density import rademacher
from tests.sampling.exact_laws import LAWS, in_float64

CONTROLLER = diffrax.PIDController(rtol=1e-5, atol=1e-5)
SOLVES = {
    "Heun": {"solver": diffrax.Heun(), "num_steps": 200},
    "Dopri5": {"solver": diffrax.Dopri5(), "num_steps": 20},
    "adaptive": {"controller": CONTROLLER},
}
X0 = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
FEW = {"solver": diffrax.Heun(), "num_steps": 10}
KEY = jax.random.key(3)


@pytest.mark.long
@pytest.mark.parametrize("solve", SOLVES)
@pytest.mark.parametrize("law", LAWS)
def test_exact_flows(law, solve):
    run = kj.sample(LAWS[law].field, X0, log_density="exact", **SOLVES[solve])
    expected = LAWS[law].log_density(np.asarray(run.x1, np.float64))
    np.testing.assert_allclose(run.log_density, expected, atol=1e-3)
    assert run.log_density.dtype == jnp.float32


@pytest.mark.parametrize(("solver", "order"), [(diffrax.Euler(), 1), (diffrax.Heun(), 2)])
def test_order_of_convergence(x64, solver, order):
    law, steps = LAWS["mixture"], np.array([20, 40, 80, 160])
    field, x0 = in_float64(law.field), X0.astype(np.float64)

    @jax.jit
    def ends(nodes):
        run = kj.sample(field, x0, grid=nodes, solver=solver, log_density="exact")
        return run.x1, run.log_density

    errors = []
    for number in steps:
        x1, log_density = ends(jnp.linspace(0, 1, number + 1))
        errors.append(np.abs(log_density - law.log_density(np.asarray(x1))).mean())
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope + order) < 0.15, errors


@pytest.mark.long
@pytest.mark.parametrize("solve", ["Heun", "adaptive"])
def test_under_a_gain(x64, solve):
    """The divergence of η v is η times that of v: of a Gaussian's flow the same at every x."""
    law, solve = LAWS["diagonal"], SOLVES[solve]
    alpha0, beta0 = 0.2, 0.03
    times = (np.arange(200_000) + 0.5) / 200_000
    t, variance = times[:, None], np.array([0.5, 1.5, 0.8]) ** 2
    rates = np.sum((t * variance - (1 - t)) / (t**2 * variance + (1 - t) ** 2), axis=1)
    growth = np.mean(np.asarray(kj.kts_gain(times, alpha0, beta0)) * rates)
    x0 = X0.astype(np.float64)
    run = kj.sample(kj.kts(alpha0, beta0)(in_float64(law.field)), x0, log_density="exact", **solve)
    expected = -np.sum(x0**2, axis=1) / 2 - 1.5 * np.log(2 * np.pi) - growth
    np.testing.assert_allclose(run.log_density, expected, atol=1e-4)


def test_before_the_end():
    """At t1 < 1 the density is that of x(t1), under an empirical flow the bridge's own."""
    rows = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32)
    field = kj.EmpiricalField(rows, chunk_size=4)
    run = kj.sample(field, X0, t1=0.7, log_density="exact", **SOLVES["Heun"])
    expected = jax.vmap(functools.partial(field.log_density, 0.7))(run.x1)
    np.testing.assert_allclose(run.log_density, expected, atol=1e-3)


def test_one_atom():
    """The divergence of (X − x)/(1 − t) is −d/(1 − t): log p grows by −d log(1 − t1)."""
    field = kj.EmpiricalField(np.ones((1, 3), np.float32))
    run = kj.sample(field, X0, t1=0.9, log_density="exact", **SOLVES["Heun"])
    expected = -np.sum(X0**2, axis=1) / 2 - 1.5 * np.log(2 * np.pi) - 3 * np.log(0.1)
    np.testing.assert_allclose(run.log_density, expected, atol=1e-3)


def test_hutchinson_within_three_standard_errors():
    """Over 1,000 probes a sample, without bias; 16 at a time have a sixteenth of the variance."""
    field, draws = LAWS["mixture"].field, 1000
    exact = np.asarray(kj.sample(field, X0, log_density="exact", **FEW).log_density)
    keys = jax.random.split(KEY, 6 * draws)
    settings = {"log_density": "hutchinson", "key": keys} | FEW

    def estimates(probes):
        run = kj.sample(field, np.repeat(X0, draws, axis=0), probes=probes, **settings)
        return np.asarray(run.log_density).reshape(6, draws)

    one, many = estimates(1), estimates(16)
    for numbers in (one, many):
        error = numbers.std(axis=1, ddof=1) / np.sqrt(draws)
        assert np.all(np.abs(numbers.mean(axis=1) - exact) < 3 * error)
    np.testing.assert_allclose(many.var(axis=1), one.var(axis=1) / 16, rtol=0.2)


@pytest.mark.long
@pytest.mark.parametrize("solve", ["Heun", "adaptive"])
def test_hutchinson_is_exact_where_dimensions_are_independent(solve):
    field, solve = LAWS["diagonal"].field, SOLVES[solve]
    exact, estimate = (
        kj.sample(field, X0, log_density=kind, key=key, **solve).log_density
        for kind, key in (("exact", None), ("hutchinson", KEY))
    )
    np.testing.assert_allclose(estimate, exact, atol=1e-5)


def test_an_estimate_depends_on_the_key_of_its_sample_alone():
    field = LAWS["mixture"].field
    keys = jax.vmap(functools.partial(jax.random.fold_in, KEY))(jnp.arange(6))

    def estimates(rows, key, probes=2):
        settings = {"log_density": "hutchinson", "key": key, "probes": probes}
        return np.asarray(kj.sample(field, X0[rows], **settings, **FEW).log_density)

    together = estimates(slice(None), keys)
    np.testing.assert_allclose(estimates(slice(None), KEY), together, rtol=1e-6)
    np.testing.assert_allclose(estimates(slice(2, 5), keys[2:5]), together[2:5], rtol=1e-6)
    raw = jax.random.key_data(keys)
    np.testing.assert_allclose(estimates(slice(None), raw), together, rtol=1e-6)
    assert not np.allclose(estimates(slice(None), jax.random.key(4)), together)
    for more in (3, 9):
        probes = rademacher(keys, more, jnp.asarray(X0))
        np.testing.assert_array_equal(probes[:, :2], rademacher(keys, 2, jnp.asarray(X0)))
        np.testing.assert_array_equal(np.abs(probes), 1)


@pytest.mark.long
def test_nothing_else_changes(x64):
    """The path, the steps of a controller, and what a mass, a frame or saving leaves alone."""
    field, x0 = in_float64(LAWS["mixture"].field), X0.astype(np.float64)
    for solve in ({"controller": CONTROLLER}, FEW):
        plain, exact = (kj.sample(field, x0, log_density=kind, **solve) for kind in (None, "exact"))
        assert plain.log_density is None
        np.testing.assert_array_equal(plain.num_evals, exact.num_evals)
        without = dataclasses.replace(exact, log_density=None)
        for pair in zip(jax.tree.leaves(plain), jax.tree.leaves(without), strict=True):
            np.testing.assert_allclose(*pair, rtol=1e-9, atol=1e-12)
    measured = {"mass": 2.0, "frame": np.ones(3), "save_at": [0.25, 1.0]}
    other = kj.sample(field, x0, log_density="exact", **measured, **solve)
    np.testing.assert_allclose(other.log_density, exact.log_density, rtol=1e-12)
    np.testing.assert_allclose(other.path[:, -1], other.x1, rtol=1e-12)


@pytest.mark.long
def test_over_a_mesh():
    """The keys of rows are split as the batch is, which does not divide by the devices."""
    mesh, field = jax.make_mesh((4,), ("batch",)), LAWS["mixture"].field
    hutchinson = {"log_density": "hutchinson", "key": KEY}
    loose = {"controller": diffrax.PIDController(rtol=1e-2, atol=1e-2), "solver": diffrax.Heun()}
    for settings in ({"log_density": "exact"} | FEW, hutchinson | FEW, hutchinson | loose):
        split, alone = (kj.sample(field, X0, mesh=m, **settings) for m in (mesh, None))
        np.testing.assert_allclose(split.log_density, alone.log_density, rtol=1e-5, atol=1e-5)


def test_pytrees_and_conditions():
    """A molecule's positions and types are one vector; the condition of a row is its own."""
    weight = jnp.asarray(np.random.default_rng(4).normal(size=(6, 6)), jnp.float32)

    def flat(t, x, cond):
        return cond * jnp.tanh(weight @ x)

    def tree(t, x, cond):
        moved = flat(t, jnp.concatenate([x["a"].reshape(-1), x["b"]]), cond)
        return {"a": moved[:4].reshape(2, 2), "b": moved[4:]}

    x0 = np.random.default_rng(5).normal(size=(3, 6)).astype(np.float32)
    states = {"a": jnp.asarray(x0[:, :4].reshape(3, 2, 2)), "b": jnp.asarray(x0[:, 4:])}
    cond = np.array([0.0, 1.0, 2.0], np.float32)
    for settings in ({"log_density": "exact"}, {"log_density": "hutchinson", "key": KEY}):
        one = kj.sample(flat, x0, cond, **settings, **FEW)
        other = kj.sample(tree, states, cond, **settings, **FEW)
        np.testing.assert_allclose(one.log_density, other.log_density, rtol=1e-6)
        standard = -np.sum(x0**2, axis=1) / 2 - 3 * np.log(2 * np.pi)
        assert abs(one.log_density[0] - standard[0]) < 1e-5  # at rest
        assert np.all(np.abs(one.log_density[1:] - standard[1:]) > 1e-2)


def test_networks_in_half_precision():
    def field(t, x, cond=None):
        return 2 * x.astype(jnp.bfloat16)

    run = kj.sample(field, X0, log_density="exact", num_steps=4)
    standard = -np.sum(X0.astype(np.float64) ** 2, axis=1) / 2 - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(run.log_density, standard - 6, rtol=1e-6)


def test_a_density_that_is_not_finite_is_a_failure():
    """√x is 0 at 0, where its derivative is infinite."""

    def field(t, x, cond=None):
        return jnp.sqrt(x)

    x0 = np.array([[0.0, 1.0], [1.0, 1.0]], np.float32)
    assert kj.sample(field, x0, num_steps=2).status.tolist() == [0, 0]
    run = kj.sample(field, x0, num_steps=2, log_density="exact")
    assert run.status.tolist() == [1, 0]


@pytest.mark.parametrize("of_gradient", [False, True])
def test_nothing_of_the_size_of_jacobians_is_held(of_gradient):
    batch, size = 16, 512
    weight = jnp.zeros((size, size))
    x0 = jnp.zeros((batch, size))

    def total(x0, weight):

        def field(t, x, cond):
            return jnp.tanh(weight @ x)

        return kj.sample(field, x0, num_steps=2, log_density="exact").log_density.sum()

    function = jax.grad(total, argnums=0) if of_gradient else total
    memory = jax.jit(function).lower(x0, weight).compile().memory_analysis()
    assert memory.temp_size_in_bytes < batch * size * size * 4 / 4


def test_results_pass_through_export():
    exported = jax.export.export(
        jax.jit(lambda x: kj.sample(LAWS["diagonal"].field, x, num_steps=2, log_density="exact"))
    )(X0)
    run = jax.export.deserialize(exported.serialize()).call(X0)
    assert isinstance(run, Trajectories)
    assert run.log_density.shape == (6,)


SPHERE = kj.fields.on_manifold(lambda t, x, cond: x, kj.manifolds.Sphere())
ERRORS = (
    ({"log_density": "trace"}, "log_density must be None, 'exact' or 'hutchinson', got 'trace'"),
    ({"log_density": True}, "log_density must be None, 'exact' or 'hutchinson', got True"),
    ({"log_density": "hutchinson"}, "key must be one JAX random key"),
    (
        {"log_density": "hutchinson", "key": jax.random.split(KEY, 4)},
        "be one key, or one for each of 6 rows, got",
    ),
    ({"log_density": "hutchinson", "key": KEY, "probes": 0}, "probes must"),
    ({"log_density": "hutchinson", "key": KEY, "probes": 1.5}, "probes must"),
    ({"log_density": "exact", "key": KEY}, "key must be left out unless log_density='hutchinson'"),
    ({"key": KEY}, "key must be left out unless log_density='hutchinson'"),
    ({"log_density": "exact", "probes": 2}, "probes must be left out unless"),
    ({"log_density": "exact", "t0": 0.1}, "t0 must be 0 with log_density.*got 0.1"),
    ({"log_density": "exact", "t0": 0.1, "controller": CONTROLLER}, "t0 must be 0"),
    ({"log_density": "exact", "grid": [0.5, 1.0]}, "t0 must be 0 with log_density.*got 0.5"),
)


@pytest.mark.parametrize(("settings", "message"), ERRORS)
def test_arguments(own_messages, settings, message):
    with pytest.raises(ValueError, match=message):
        kj.sample(LAWS["diagonal"].field, X0, **settings)


def test_fields_without_a_log_density(own_messages):
    with pytest.raises(ValueError, match="log_density must be left out on a manifold, got 'exact'"):
        kj.sample(SPHERE, X0, log_density="exact")
    atoms = kj.EmpiricalField(X0)
    message = "t1 must be at most 0.99507.* with log_density, the last time .*, got 1"
    with pytest.raises(ValueError, match=message):
        kj.sample(atoms, X0, log_density="exact")
    last = float(atoms.arrival(jnp.float32))
    run = kj.sample(atoms, X0, t1=last, num_steps=2, log_density="exact")
    assert run.status.tolist() == [0] * 6
