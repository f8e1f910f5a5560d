"""From data to noise: there and back, energies, phases, scores, and where it is refused."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kinetic_jax as kj
from kinetic_jax import sample
from kinetic_jax.fields import as_field
from kinetic_jax.sampling import encode
from tests.sampling.exact_laws import LAWS, in_float64

TIGHT = {"controller": diffrax.PIDController(rtol=1e-6, atol=1e-6)}
SOLVES = {
    "Heun": {"solver": diffrax.Heun(), "num_steps": 200},
    "Dopri5": {"solver": diffrax.Dopri5(), "num_steps": 20},
    "adaptive": TIGHT,
}
X0 = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
ENERGIES = ("total", "launch", "landing", "displacement", "excess", "length")


@pytest.mark.long
@pytest.mark.parametrize("solve", SOLVES)
def test_there_and_back(solve):
    """To 1e-4 in float32; the energies and the log density are those of the way there."""
    field, solve = LAWS["mixture"].field, SOLVES[solve]
    there = kj.sample(field, X0, log_density="exact", **solve)
    back = encode(field, there.x1, log_density="exact", **solve)
    np.testing.assert_allclose(back.x0, X0, atol=1e-4)
    np.testing.assert_array_equal(back.x1, there.x1)
    assert there.x0 is None
    for name in ENERGIES:
        one, other = getattr(back.energy, name), getattr(there.energy, name)
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(back.log_density, there.log_density, atol=1e-3)
    np.testing.assert_allclose(back.energy.launch + back.energy.landing, back.energy.total, 1e-6)


def test_the_default_solver_is_heun():
    field, x1 = LAWS["mixture"].field, X0
    one, other = (encode(field, x1, solver=s, num_steps=10) for s in (None, diffrax.Heun()))
    np.testing.assert_array_equal(one.x0, other.x0)
    assert one.num_evals.tolist() == [20] * 6


@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_steps_back_in_numpy(reference, grid):
    """Euler from the right end of each step, with everything that is read from noise to data."""
    wave, nodes, tau = reference.wave(), reference.grid(grid, 10), 0.37
    velocity, frame = reference.wave_numpy(wave), np.array([0.5, -1.0, 0.25])
    run = encode(
        wave, X0, solver=diffrax.Euler(), num_steps=10, grid=grid, tau_split=tau, frame=frame
    )
    x, path, rates = X0.astype(np.float64), [X0.astype(np.float64)], []
    for left, right in zip(nodes[-2::-1], nodes[:0:-1], strict=True):
        rates.append(velocity(right, x))
        x = x - (right - left) * rates[-1]
        path.append(x)
    u, steps = np.stack(rates[::-1], axis=1), np.diff(nodes)
    seen = np.sum((u - frame) ** 2, axis=2)
    bends = np.sum(np.diff(u, axis=1) ** 2, axis=2)
    np.testing.assert_allclose(run.x0, x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run.profile.ts, nodes[:-1], rtol=1e-7)
    np.testing.assert_allclose(run.profile.speed2, seen, rtol=1e-4)
    np.testing.assert_array_equal(run.profile.bend2[:, 0], 0)
    np.testing.assert_allclose(run.profile.bend2[:, 1:], bends, rtol=1e-4, atol=1e-6)
    early = nodes[:-1] < tau
    energies = {
        "launch": (seen * steps)[:, early].sum(axis=1) / 2,
        "landing": (seen * steps)[:, ~early].sum(axis=1) / 2,
        "displacement": np.sum((X0 - x - frame) ** 2, axis=1) / 2,
        "length": (np.sqrt(seen) * steps).sum(axis=1),
    }
    energies["total"] = energies["launch"] + energies["landing"]
    energies["excess"] = energies["total"] - energies["displacement"]
    for name, expected in energies.items():
        np.testing.assert_allclose(getattr(run.energy, name), expected, 1e-4, err_msg=name)


@pytest.mark.long
@pytest.mark.parametrize("solve", ["Heun", "adaptive"])
def test_phases_and_frames_of_a_gain(x64, solve):
    """Under kts, whose kink the steps of a controller end on, in a frame and with a mass."""
    field = kj.kts(0.3, 0.03, 0.45)(in_float64(LAWS["full"].field))
    # The length of a path that nearly comes to rest is not smooth, nor does a controller see it.
    rtol = {"Heun": 2e-4, "adaptive": 3e-3}[solve]
    solve = SOLVES[solve] | {"mass": np.array([1.0, 0.0, 2.0]), "frame": np.array([1.0, -1.0, 0.5])}
    there = kj.sample(field, X0.astype(np.float64), **solve)
    back = encode(field, there.x1, **solve)
    np.testing.assert_allclose(back.x0, X0, atol=1e-4)
    for name in ENERGIES:
        one, other = getattr(back.energy, name), getattr(there.energy, name)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("law", "solve"),
    [
        ("full", "Heun"),
        ("mixture", "Heun"),
        pytest.param("mixture", "adaptive", marks=pytest.mark.long),
    ],
)
def test_the_gradient_is_the_score(x64, law, solve):
    """∂ log p(x1)/∂x1, and log p of given points."""
    field, x1 = in_float64(LAWS[law].field), X0.astype(np.float64) / 2 + 0.5

    def total(x1):
        run = encode(field, x1, log_density="exact", **SOLVES[solve])
        return run.log_density.sum(), run.log_density

    score, log_density = jax.grad(total, has_aux=True)(x1)
    np.testing.assert_allclose(log_density, LAWS[law].log_density(x1), atol=1e-3)
    np.testing.assert_allclose(score, LAWS[law].score(x1), atol=1e-3)


@pytest.mark.long
def test_the_gradient_in_parameters(x64):
    """∂ log N(x; μ, s²)/∂μ = (x − μ)/s², and in log s ((x − μ)/s)² − 1."""
    x1, mean, scale = X0.astype(np.float64), np.array([0.5, 0.0, -0.5]), np.array([0.8, 1.0, 1.3])

    def total(mean, log_scale, **settings):
        field = kj.GaussianField(mean, jnp.exp(log_scale))
        return encode(field, x1, num_steps=200, **settings).log_density.sum()

    moved = (x1 - mean) / scale
    for settings in (
        {"log_density": "exact"},
        {"log_density": "hutchinson", "key": jax.random.key(0)},
    ):
        gradient = jax.grad(functools.partial(total, **settings), argnums=(0, 1))
        of_mean, of_scale = gradient(jnp.asarray(mean), jnp.log(scale))
        np.testing.assert_allclose(of_mean, (moved / scale).sum(axis=0), atol=1e-3)
        np.testing.assert_allclose(of_scale, (moved**2 - 1).sum(axis=0), atol=2e-3)


@pytest.mark.long
def test_empirical_flows(x64):
    """At t1 < 1 the log density is the bridge's, and so is its gradient."""
    rows = np.random.default_rng(2).normal(size=(6, 3))
    field, x1 = kj.EmpiricalField(rows, chunk_size=4), X0[:3].astype(np.float64) / 2
    solve = {"t1": 0.5, "solver": diffrax.Heun(), "num_steps": 100}

    def total(x1):
        run = encode(field, x1, log_density="exact", **solve)
        return run.log_density.sum(), run

    score, run = jax.grad(total, has_aux=True)(x1)
    bridge = functools.partial(field.log_density, 0.5)
    np.testing.assert_allclose(run.log_density, jax.vmap(bridge)(x1), atol=1e-3)
    np.testing.assert_allclose(score, jax.vmap(jax.grad(bridge))(x1), atol=1e-3)
    np.testing.assert_allclose(kj.sample(field, run.x0, **solve).x1, x1, atol=1e-4)


def test_models_of_the_step():
    """Their velocities are means over steps forward: a size of 0 is bound to take them back."""

    def field(t, x, cond, dt):
        return (1 + dt) * jnp.ones_like(x)

    with pytest.raises(ValueError, match="field must have its step bound to be encoded"):
        encode(field, X0)
    with pytest.raises(ValueError, match="field must have its step bound with log_density"):
        sample(field, X0, log_density="exact")
    run = encode(as_field(field).with_step(0.0), X0, num_steps=4)
    np.testing.assert_allclose(run.x0, X0 - 1, rtol=1e-5, atol=1e-6)


def test_pytrees_conditions_and_a_mesh():
    def field(t, x, cond):
        return {"a": cond * jnp.sin(x["b"] * t).sum() * x["a"], "b": x["a"][0] * x["b"]}

    states = {"a": jnp.asarray(X0[:, :2]), "b": jnp.asarray(X0[:, 2:])}
    cond = jnp.linspace(0, 1, 6)

    def flat(t, x, cond):
        moved = field(t, {"a": x[:2], "b": x[2:]}, cond)
        return jnp.concatenate([moved["a"], moved["b"]])

    settings = {"num_steps": 8, "log_density": "hutchinson", "key": jax.random.key(1), "probes": 2}
    mesh = jax.make_mesh((4,), ("batch",))
    one, split = (encode(field, states, cond, mesh=m, **settings) for m in (None, mesh))
    rows = encode(flat, X0, cond, **settings)
    for run in (one, split):
        together = jnp.concatenate([run.x0["a"], run.x0["b"]], axis=1)
        np.testing.assert_allclose(together, rows.x0, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(run.x1["a"], states["a"])
        np.testing.assert_allclose(run.log_density, rows.log_density, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(run.energy.total, rows.energy.total, rtol=1e-5)
        np.testing.assert_allclose(run.profile.bend2, rows.profile.bend2, rtol=1e-3, atol=1e-6)


def test_on_a_sphere():
    """A turn by one radian, back along the same circle."""
    turn = jnp.asarray([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    field = kj.fields.on_manifold(lambda t, x, cond: turn @ x, kj.manifolds.Sphere())
    angle = np.array([0.3, 2.0])
    x1 = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1).astype(np.float32)
    run = encode(field, 2 * x1, num_steps=100)
    start = np.stack([np.cos(angle - 1), np.sin(angle - 1), 0 * angle], axis=1)
    np.testing.assert_allclose(run.x0, start, atol=1e-4)
    np.testing.assert_allclose(run.x1, x1, atol=1e-6)
    np.testing.assert_allclose(run.energy.total, 0.5, rtol=1e-4)
    np.testing.assert_allclose(run.profile.bend2, 0, atol=1e-6)


@pytest.mark.long
def test_failures_are_reported():
    x1 = np.array([[1.0], [40.0]], np.float32)

    def field(t, x, cond=None):
        return -jnp.exp(x)

    for solve in ({"num_steps": 4}, {"controller": TIGHT["controller"], "max_steps": 64}):
        run = encode(field, x1, log_density="exact", **solve)
        assert run.status[1] != 0
        assert not np.isfinite(run.x0[1, 0])
        np.testing.assert_array_equal(run.x1, x1)


ERRORS = (
    ({"t1": 1.5}, "t0, t1 must satisfy"),
    ({"num_steps": 0}, "num_steps must"),
    ({"grid": "backward"}, "grid must be"),
    ({"log_density": "exact", "t0": 0.2}, "t0 must be 0 with log_density"),
    ({"log_density": "hutchinson"}, "key must be one JAX random key"),
    ({"mass": -1.0}, "mass must not be negative"),
)


@pytest.mark.parametrize(("settings", "message"), ERRORS)
def test_arguments(own_messages, settings, message):
    with pytest.raises(ValueError, match=message):
        encode(LAWS["diagonal"].field, X0, **settings)


def test_fields_and_samples_that_cannot_be(own_messages):
    atoms = kj.EmpiricalField(X0)
    for field in (atoms, kj.kts(0.1)(atoms)):
        with pytest.raises(ValueError, match=r"t1 must be at most 0\.995\d* with encode"):
            encode(field, X0)
    with pytest.raises(ValueError, match=r"x1 must have the field's event shape, \(3,\)"):
        encode(atoms, X0[:, :2], t1=0.9)
    with pytest.raises(ValueError, match="x1 must be float32 or float64"):
        encode(atoms, np.ones((2, 3), int), t1=0.9)
    with pytest.raises(ValueError, match="x1"):
        encode(LAWS["full"].field, X0, jnp.zeros(4))
