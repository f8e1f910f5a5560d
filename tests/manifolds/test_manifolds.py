"""Manifolds: their maps against NumPy and SciPy, and paths on them against their closed forms."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from kinetic_jax import EmpiricalField, cfg, cfm_loss, energy_term, kts, kts_gain, noise, sample
from kinetic_jax.fields import Field, on_manifold
from kinetic_jax.jobs import JobSettings, run_job
from kinetic_jax.manifolds import FlatTorus, SpecialOrthogonal, Sphere
from kinetic_jax.sampling import sweep
from kinetic_jax.transforms import guide, smooth

MANIFOLDS = {
    "sphere": (Sphere(), (3,)),
    "product of spheres": (Sphere(), (2, 4)),
    "torus": (FlatTorus(np.array([1.0, 2.0, 0.5], np.float32)), (3,)),
    "rotations": (SpecialOrthogonal(3), (3, 3)),
    "rotations in four dimensions": (SpecialOrthogonal(4), (4, 4)),
}
AXIS = np.array([0.3, -1.0, 2.0])
CROSS = np.array([[0, -AXIS[2], AXIS[1]], [AXIS[2], 0, -AXIS[0]], [-AXIS[1], AXIS[0], 0]])
LEFT = np.array([[0.0, 1.1, -0.4], [-1.1, 0.0, 0.7], [0.4, -0.7, 0.0]])
SOLVERS = {
    "Euler": (diffrax.Euler(), 1),
    "Midpoint": (diffrax.Midpoint(), 2),
    "Heun": (diffrax.Heun(), 2),
}


@pytest.fixture(params=MANIFOLDS)
def points(request):
    """A manifold, points of it, and tangent vectors at them."""
    manifold, shape = MANIFOLDS[request.param]
    x0 = noise(jax.random.key(0), np.arange(6), shape)
    x = jax.vmap(manifold.nearest)(x0)
    return manifold, x, jax.vmap(manifold.tangent)(x, x0 - 0.5)


def error_of(manifold, x):
    """How far points are off the manifold."""
    x = np.asarray(x, np.float64)
    if isinstance(manifold, Sphere):
        return np.abs(np.sum(x**2, axis=-1) - 1).max()
    if isinstance(manifold, SpecialOrthogonal):
        off = np.swapaxes(x, -1, -2) @ x - np.eye(x.shape[-1])
        return max(np.abs(off).max(), np.abs(np.linalg.det(x) - 1).max())
    return max(np.max(-x), np.max(x - np.asarray(manifold.period)), 0.0)


@pytest.mark.long
def test_maps(points):
    """Each geodesic is as long as its velocity, up to where a shorter way leads round."""
    manifold, x, v = points

    def of_one(x, v):
        length = jnp.sqrt(manifold.inner(x, v, v))
        short = 0.2 * v / length
        end, far = manifold.exp(x, short), manifold.exp(x, v)
        again = manifold.tangent(x, manifold.tangent(x, v)) - manifold.tangent(x, v)
        there, back = manifold.distance(x, end), manifold.distance(end, x)
        return end, far, again, there, back, manifold.distance(x, x), manifold.exp(x, 0 * v) - x

    end, far, again, there, back, none, still = jax.vmap(of_one)(x, v)
    for rows in (x, end, far):
        assert error_of(manifold, rows) < 2e-6
    np.testing.assert_allclose(there, 0.2, rtol=1e-5)
    np.testing.assert_allclose(back, there, rtol=1e-5)
    for nothing in (again, none, still):
        np.testing.assert_allclose(nothing, 0, atol=2e-6)


@pytest.mark.long
def test_distances_to_far_points():
    """Angles of 0.001, 3 and π, and the shorter way round a torus."""
    for angle in (1e-3, 3.0, np.pi):
        turned = jnp.array([np.cos(angle), np.sin(angle), 0])
        x = jnp.array([1.0, 0.0, 0.0])
        np.testing.assert_allclose(Sphere().distance(x, turned), angle, rtol=1e-5)
        turn = jnp.asarray(scipy.linalg.expm(angle * CROSS / np.linalg.norm(AXIS)), jnp.float32)
        rotations = SpecialOrthogonal(3)
        np.testing.assert_allclose(rotations.distance(jnp.eye(3), turn), angle, rtol=2e-4)
    two = scipy.linalg.block_diag(*(scipy.linalg.expm(a * LEFT[:2, :2] / 1.1) for a in (0.5, 1.5)))
    far = SpecialOrthogonal(4).distance(jnp.eye(4), jnp.asarray(two, jnp.float32))
    np.testing.assert_allclose(far, np.sqrt(0.5**2 + 1.5**2), rtol=1e-5)
    ends = jnp.array([[0.05, 0.4], [0.95, 0.1]])
    np.testing.assert_allclose(FlatTorus().distance(*ends), np.hypot(0.1, 0.3), rtol=1e-5)
    np.testing.assert_array_equal(FlatTorus().nearest(jnp.array([-1e-9, 1.0])), [0.0, 0.0])


def geodesic_of(name):
    """A field whose paths are geodesics, points that it moves along them, and their lengths."""
    if name == "sphere":  # great circles round the axis, at a radian per unit of time
        turn = jnp.asarray(CROSS / np.linalg.norm(AXIS), jnp.float32)
        x0 = np.linalg.svd(AXIS[None])[2][1:].astype(np.float32)  # across the axis
        return (lambda t, x, cond=None: turn @ x), x0, np.ones(2)
    if name == "rotations":
        rate = jnp.asarray(CROSS / 2, jnp.float32)
        x0 = jax.vmap(SpecialOrthogonal(3).nearest)(noise(jax.random.key(1), np.arange(2), (3, 3)))
        return (lambda t, x, cond=None: x @ rate), x0, np.full(2, np.linalg.norm(AXIS) / 2)
    velocity = jnp.array([0.3, 0.9, -0.2])
    x0 = np.array([[0.9, 1.9, 0.1], [0.1, 0.2, 0.3]], np.float32)
    return (lambda t, x, cond=None: velocity), x0, np.full(2, np.linalg.norm(velocity))


@pytest.mark.long
@pytest.mark.parametrize("name", ["sphere", "rotations", "torus"])
def test_a_geodesic_has_the_energy_of_its_length(name):
    field, x0, length = geodesic_of(name)
    field = on_manifold(field, MANIFOLDS[name][0])
    run = sample(field, x0, num_steps=20)
    np.testing.assert_allclose(run.energy.total, length**2 / 2, rtol=1e-5)
    np.testing.assert_allclose(run.energy.length, length, rtol=1e-5)
    np.testing.assert_allclose(run.energy.displacement, length**2 / 2, rtol=2e-5)
    np.testing.assert_allclose(run.energy.excess, 0, atol=1e-5)
    np.testing.assert_allclose(run.profile.bend2, 0, atol=1e-6)
    # A gain changes the pace alone.
    shaped = sample(kts(0.2, 0.01)(field), x0, num_steps=20)
    eta = np.asarray(kts_gain(np.arange(20) / 20, 0.2, 0.01), np.float64)
    np.testing.assert_allclose(shaped.energy.total, length**2 / 2 * np.mean(eta**2), rtol=1e-5)
    np.testing.assert_allclose(shaped.energy.length, length * np.mean(eta), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_convergence(solver, x64):
    """Small circles on the sphere, and rotations that turn from both sides."""
    method, order = SOLVERS[solver]
    x0 = np.random.default_rng(0).normal(size=(2, 3))
    x0 /= np.linalg.norm(x0, axis=1, keepdims=True)
    turn, left, right = jnp.asarray(CROSS), jnp.asarray(LEFT), jnp.asarray(CROSS / 2)
    frames = np.linalg.qr(np.random.default_rng(1).normal(size=(2, 3, 3)))[0]
    frames *= np.linalg.det(frames)[:, None, None]
    for field, manifold, start, exact in (
        (lambda t, x, cond=None: turn @ x, Sphere(), x0, x0 @ scipy.linalg.expm(CROSS).T),
        (
            lambda t, x, cond=None: left @ x + x @ right,
            SpecialOrthogonal(3),
            frames,
            scipy.linalg.expm(LEFT) @ frames @ scipy.linalg.expm(CROSS / 2),
        ),
    ):
        errors, counts = [], np.array([32, 64])
        for count in counts:
            grid = np.linspace(0, 1, count + 1)
            run = sample(on_manifold(field, manifold), start, solver=method, grid=grid)
            errors.append(np.abs(np.asarray(run.x1) - exact).max())
            assert error_of(manifold, run.x1) < 1e-12
        fitted = -np.diff(np.log(errors)) / np.diff(np.log(counts))
        np.testing.assert_allclose(fitted, order, atol=0.1)
        speed = np.linalg.norm(CROSS @ x0.T, axis=0)
        if start is x0:  # constant along the circle
            np.testing.assert_allclose(run.energy.total, speed**2 / 2, rtol=3 / 64)
            assert np.all(np.asarray(run.energy.excess) > 0.01)


def test_a_path_round_the_torus_is_longer_than_the_way_back():
    field = on_manifold(lambda t, x, cond=None: jnp.array([2.3, -0.4, 1.0]), FlatTorus())
    run = sample(field, noise(jax.random.key(0), np.arange(4), (3,)), num_steps=30)
    np.testing.assert_allclose(run.energy.total, (2.3**2 + 0.4**2 + 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(run.energy.displacement, (0.3**2 + 0.4**2) / 2, rtol=1e-4)
    np.testing.assert_allclose(run.energy.excess, (2.3**2 + 1 - 0.3**2) / 2, rtol=1e-4)


def test_a_thousand_steps_stay_on_it(points):
    manifold, x, _ = points
    shape = x.shape[1:]
    ambient = jnp.asarray(np.random.default_rng(3).normal(size=shape), jnp.float32)
    run = sample(
        on_manifold(lambda t, x, cond=None: 5 * jnp.cos(9 * t) * ambient + x, manifold),
        noise(jax.random.key(5), np.arange(6), shape),
        num_steps=1000,
    )
    assert error_of(manifold, run.x1) < 1e-6
    total, displacement = run.energy.total, run.energy.displacement
    assert np.all(total - displacement > -1e-6 * total)
    np.testing.assert_allclose(run.energy.excess, total - displacement, rtol=1e-3)


@pytest.mark.long
def test_guidance_sweeps_and_jobs(tmp_path):
    """All of them see a field that moves on its manifold, whichever wraps the other."""
    turn = jnp.asarray(CROSS, jnp.float32)

    def plain(t, x, cond=None):
        return (1.0 if cond is None else cond) * (turn @ x)

    x0, cond = noise(jax.random.key(0), np.arange(3), (3,)), np.full(3, 0.5, np.float32)
    inside, outside = (
        cfg(2.0, 0.0)(on_manifold(plain, Sphere())),
        on_manifold(cfg(2.0, 0.0)(plain), Sphere()),
    )
    first, second = (sample(field, x0, cond, num_steps=8) for field in (inside, outside))
    np.testing.assert_allclose(first.x1, second.x1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.energy.total, second.energy.total, rtol=1e-5)
    exact = np.asarray(x0, np.float64) / np.linalg.norm(x0, axis=1, keepdims=True)
    bends, arriving = [], exact @ CROSS.T
    for _ in range(8):  # 2 v_c is v for cond = ½: geodesic steps in NumPy
        v = exact @ CROSS.T
        bends.append(np.sum((v - arriving) ** 2, axis=1))
        speed = np.linalg.norm(v, axis=1, keepdims=True)
        angle = speed / 8
        arriving = np.cos(angle) * v - np.sin(angle) * speed * exact  # transported along
        exact = np.cos(angle) * exact + np.sin(angle) / speed * v
    np.testing.assert_allclose(first.x1, exact, atol=1e-5)
    np.testing.assert_allclose(first.profile.bend2, np.array(bends).T, rtol=1e-4, atol=1e-5)
    assert first.profile.bend2[:, 1:].min() > 1e-3

    field = on_manifold(plain, Sphere())
    runs = sweep(field, x0, beta0=[0.0, 0.02], num_steps=8)
    alone = sample(kts(0.0, 0.02)(field), x0, num_steps=8)
    np.testing.assert_allclose(runs.x1[0, 1, 0], alone.x1, rtol=1e-6)
    np.testing.assert_allclose(runs.energy.excess[0, 1, 0], alone.energy.excess, atol=1e-6)

    settings = JobSettings(n=3, shard_size=2, num_steps=8, beta0=0.02)
    job = run_job(field, tmp_path, settings, event_shape=(3,), x0=lambda i: x0[i], say=None)
    x1 = np.concatenate([shard.x1 for shard in job.check().shards()])
    np.testing.assert_allclose(x1, alone.x1, rtol=1e-6)
    other = on_manifold(lambda t, x, cond=None: 1.01 * (turn @ x), Sphere())
    with pytest.raises(ValueError, match="holds a job"):
        run_job(other, tmp_path, settings, event_shape=(3,), x0=lambda i: x0[i], say=None)


@pytest.mark.long
def test_saved_times_gradients_and_meshes():
    """Between nodes a shorter step; gradients at points of the manifold; a batch that is split."""
    rate = jnp.asarray(CROSS / 2, jnp.float32)
    field = on_manifold(lambda t, x, cond=None: x @ rate, SpecialOrthogonal(3))
    frames = jax.vmap(SpecialOrthogonal(3).nearest)(noise(jax.random.key(1), np.arange(4), (3, 3)))
    run = sample(field, frames, num_steps=4, save_at=np.array([0.3]))
    turned = frames @ scipy.linalg.expm(0.3 * CROSS / 2)
    np.testing.assert_allclose(run.path[:, 0], turned, atol=1e-5)
    weights = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)

    def end(x0):
        return jnp.sum(weights * sample(field, x0, num_steps=4).x1)

    gradient, step = jax.grad(end)(frames), 1e-2
    direction = np.random.default_rng(1).normal(size=frames.shape).astype(np.float32)
    change = (end(frames + step * direction) - end(frames - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), change, rtol=2e-3)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
    split = jax.device_put(frames, jax.NamedSharding(mesh, jax.P("batch")))
    np.testing.assert_allclose(sample(field, split, num_steps=4, mesh=mesh).x1, run.x1, atol=1e-6)


def test_an_arrival_is_along_the_geodesic():
    """One atom, at which the field is 0/0: a Heun step that ends there, as in flat space."""
    field, x0 = EmpiricalField([[0.25, 0.75]]), np.array([[0.2, 0.6], [0.4, 0.9]], np.float32)
    settings = {"solver": diffrax.Heun(), "num_steps": 10}
    torus, plane = (sample(f, x0, **settings) for f in (on_manifold(field, FlatTorus()), field))
    np.testing.assert_allclose(torus.x1, [[0.25, 0.75]] * 2, atol=1e-5)
    np.testing.assert_allclose(torus.energy.total, plane.energy.total, rtol=1e-4)


def test_averages_over_neighbours_on_the_manifold():
    rate, eye = jnp.asarray(CROSS / 2, jnp.float32), np.eye(3, dtype=np.float32)[None]
    around = smooth(0.5, 64, jax.random.key(0))
    field = around(on_manifold(lambda t, x, cond=None: x @ rate, SpecialOrthogonal(3)))
    energy = sample(field, eye, num_steps=4).energy.total
    plain = np.sum(AXIS**2) / 8
    assert 0.3 * plain < energy < plain  # a mean of rotated velocities is shorter


@pytest.mark.long
def test_noise_is_uniform(tmp_path):
    """Directions, rotations and angles of 2π; and that is where the runs of a job begin."""
    z = noise(jax.random.key(3), np.arange(4000), (3, 3))
    angles = FlatTorus(2 * np.pi)
    shares = np.histogram(jax.vmap(angles.from_normal)(z), 4, (0, 2 * np.pi))[0] / z.size
    np.testing.assert_allclose(shares, 0.25, atol=0.02)
    for manifold in (Sphere(), SpecialOrthogonal(3)):
        x = np.asarray(jax.vmap(manifold.from_normal)(z), np.float64)
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.04)
        np.testing.assert_allclose((x**2).mean(axis=0), 1 / 3, atol=0.03)
    field = on_manifold(lambda t, x, cond=None: jnp.zeros_like(x), angles)
    settings = JobSettings(n=4, shard_size=4, num_steps=1)
    job = run_job(field, tmp_path, settings, event_shape=(2,), say=None, batch_size=4)
    key = jax.random.wrap_key_data(np.zeros(2, np.uint32), impl="threefry2x32")
    starts = jax.vmap(angles.from_normal)(noise(key, np.arange(4), (2,)))
    np.testing.assert_allclose(next(job.shards()).x1, starts, rtol=1e-6)


class Wrong(Field):
    def __call__(self, t, x, cond=None):
        return jnp.ones(1)


@pytest.mark.long
def test_what_a_manifold_cannot_have(own_messages):
    x0, field = jnp.ones((2, 3)), on_manifold(lambda t, x, cond=None: x, Sphere())
    for call, message in (
        (lambda: sample(field, x0, solver=diffrax.Bosh3()), "solver must have at most two stages"),
        (
            lambda: sample(field, x0, controller=diffrax.PIDController(rtol=1e-3, atol=1e-3)),
            "controller must be left out for a field on a manifold",
        ),
        (lambda: sample(field, x0, mass=1.0), "mass must be left out on a manifold"),
        (lambda: sample(field, jnp.ones((2, 1))), "x0 must be vectors of at least two numbers"),
        (lambda: sample(field, {"x": x0}), "x0 must be an array on a manifold"),
        (lambda: sweep(field, x0, solver=diffrax.Tsit5()), "solver must have at most two stages"),
        (lambda: energy_term(field), "field must move in flat space"),
        (lambda: cfm_loss(field, jax.random.key(0), x0), "field must move in flat space"),
        (lambda: on_manifold(field, Sphere()), "field must be in flat space"),
        (lambda: guide(field, 0.5)(lambda t, x, c: x), "other must be on the field's manifold"),
        (
            lambda: sample(on_manifold(Wrong(), Sphere()), x0),
            "the field's output must have the shape",
        ),
        (lambda: on_manifold(lambda t, x, c: x, "sphere"), "manifold must be a kinetic_jax.mani"),
        (lambda: FlatTorus(0.0), "period must be positive"),
        (lambda: SpecialOrthogonal(1), "n must be a whole number >= 2"),
        (
            lambda: sample(on_manifold(lambda t, x, c: x, SpecialOrthogonal(3)), x0),
            "x0 must be 3 x 3 matrices",
        ),
        (
            lambda: sample(on_manifold(lambda t, x, c: x, FlatTorus(np.ones(2))), x0),
            "x0 must be arrays to which periods",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
