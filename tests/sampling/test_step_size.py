"""Networks that take the size of the step: v = a c + b dt, whose Euler sums are known.

Everything runs on the same grid and batch, so that programs are shared.
"""

import functools

import diffrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kinetic_jax import (
    cfg,
    cfm_loss,
    chain,
    energy_term,
    fit,
    from_linen,
    from_nnx,
    from_reversed_time,
    kts,
    kts_gain,
    sample,
)
from kinetic_jax.fields import (
    WrappedField,
    as_field,
    from_prediction,
    from_scaled_time,
    linear_schedule,
)
from kinetic_jax.fields._step import over_step
from kinetic_jax.jobs import JobSettings, open_job, run_job
from kinetic_jax.sampling import sweep
from kinetic_jax.transforms import clock_matched, guide, smooth

GRID = np.array([0.0, 0.125, 0.25, 0.625, 0.75, 1.0])
T, H = GRID[:-1], np.diff(GRID)
A, B = np.array([1.0, -2.0]), np.array([3.0, 0.5])
X0 = np.zeros((3, 2), np.float32)
COND = np.float32([1.0, 2.0, -1.0])
ADAPTIVE = diffrax.PIDController(rtol=1e-3, atol=1e-3)


class Shortcut(nnx.Module):
    """v = a c + b dt, a batch at a time, with arguments in an order of its own."""

    def __init__(self):
        self.a, self.b = nnx.Param(jnp.array(A[None], float)), nnx.Param(jnp.array(B[None], float))

    def __call__(self, dt, x, t, c=None):
        assert dt.shape == t.shape == x.shape[:1]
        c = jnp.ones_like(t) if c is None else c
        return self.a * c[:, None] + self.b * dt[:, None] + 0 * x


class LinenShortcut(nn.Module):
    """v = b dt."""

    @nn.compact
    def __call__(self, dt, x):
        return self.param("b", lambda key: jnp.array(B[None], float)) * dt[:, None] + 0 * x


@functools.cache
def shortcut():
    return from_nnx(Shortcut(), call=lambda net, t, x, cond, dt: net(dt, x, t, cond))


def of_step(t, x, cond, dt):
    """v = dt b, of one sample."""
    return dt * jnp.asarray(B, x.dtype)


def summed(*, eta=1.0, cond=1.0, scale=1.0, h=H):
    """Σ h η (a c + b scale h)."""
    return np.sum((h * eta)[:, None] * (A * cond + scale * B * h[:, None]), axis=0)


def ends_at(field, expected, cond=None, **options):
    run = sample(field, X0, cond, grid=GRID, **options)
    np.testing.assert_allclose(run.x1, np.broadcast_to(expected, X0.shape), rtol=1e-5, atol=1e-6)
    return run


def test_each_step_of_a_grid_is_passed_on():
    run = ends_at(shortcut(), summed())
    speeds = np.sum((A + B * H[:, None]) ** 2, axis=1)
    np.testing.assert_allclose(run.profile.speed2, np.tile(speeds, (3, 1)), rtol=1e-5)
    np.testing.assert_allclose(run.energy.total, np.sum(H * speeds) / 2, rtol=1e-5)


def test_every_stage_gets_the_size_of_the_whole_step():
    ends_at(shortcut(), summed(), solver=diffrax.Heun())


def test_linen_functions_and_a_number_of_the_users_own():
    expected = summed(cond=0.0)
    net = LinenShortcut()
    variables = net.init(jax.random.key(0), jnp.zeros(1), jnp.zeros((1, 2)))
    call = lambda module, variables, t, x, cond, dt: module.apply(variables, dt, x)  # noqa: E731
    ends_at(from_linen(net, variables, call=call), expected)
    ends_at(of_step, expected)
    ends_at(jax.tree_util.Partial(of_step), expected)
    # A dt that has a value is the user's own.
    ends_at(functools.partial(of_step, dt=2.0), 2 * B)


def test_args_and_dt():
    model = Shortcut()
    call = lambda net, args, t, x, cond, dt: args["r"] * net(dt, x, t, cond)  # noqa: E731
    ends_at(from_nnx(model, call=call, args={"r": 2.0}), 2 * summed())


def test_under_transforms():
    eta = np.asarray(kts_gain(T, 0.2, 0.01), np.float64)
    shaped = kts(0.2, 0.01)
    ends_at(shaped(shortcut()), summed(eta=eta))
    guided = cfg(3.0, np.float32(0.5))
    expected = np.array([summed(eta=eta, cond=0.5 + 3 * (c - 0.5)) for c in COND])
    ends_at(chain(guided, shaped)(shortcut()), expected, COND)
    ends_at(smooth(0.1, 2, jax.random.key(0))(shortcut()), summed())


@pytest.mark.parametrize("which", ["both", "field", "other"])
def test_guidance_passes_it_to_both_fields(which):
    def still(t, x, cond=None):
        return jnp.asarray(A, x.dtype) + 0 * x

    field, other = (shortcut() if which in ("both", name) else still for name in ("field", "other"))
    scale = {"both": 1.0, "field": 0.25, "other": 0.75}[which]
    ends_at(guide(other, 0.25)(field), summed(scale=scale))


def test_on_clocks_of_other_models():
    """The step is that of the model's own clock, and positive."""
    ends_at(from_scaled_time(shortcut(), time_scale=10.0), summed(scale=10.0))
    ends_at(from_reversed_time(shortcut(), time_scale=10.0), -summed(scale=10.0))
    matched = clock_matched(kts(0.2, 0.01))
    eta = np.interp(T, matched.nodes, matched.rate)
    expected = np.sum((eta * H)[:, None] * (A + B * (eta * H)[:, None]), axis=0)
    ends_at(matched(shortcut()), expected)


def test_a_saved_time_between_nodes_is_reached_by_its_own_step():
    """And one on a node by none: a model of log dt is not asked for the log of 0."""
    times = np.array([0.0, 0.125, 0.5, 1.0])
    run = sample(shortcut(), X0, grid=GRID, save_at=times)
    at_node = np.cumsum(H[:, None] * (A + B * H[:, None]), axis=0)
    between = at_node[1] + 0.25 * (A + B * 0.25)
    expected = np.array([np.zeros(2), at_node[0], between, at_node[-1]])
    np.testing.assert_allclose(run.path, np.tile(expected, (3, 1, 1)), rtol=1e-5, atol=1e-6)
    logs = sample(lambda t, x, cond, dt: jnp.log(dt) + 0 * x, X0, grid=GRID, save_at=times).check()
    np.testing.assert_allclose(logs.path[:, 1], 0.125 * np.log(0.125), rtol=1e-5)


def test_sweep():
    runs = sweep(shortcut(), X0, alpha0=[0.0, 0.2], beta0=[0.01], grid=GRID)
    for run, alpha0 in zip(runs.x1[:, 0, 0], (0.0, 0.2), strict=True):
        eta = np.asarray(kts_gain(T, alpha0, 0.01), np.float64)
        np.testing.assert_allclose(run, np.tile(summed(eta=eta), (3, 1)), rtol=1e-5)


def test_a_job(tmp_path):
    """Its start points are noise; the shift is the same for all. It goes on where it stopped."""
    settings = JobSettings(n=3, shard_size=2, grid=GRID)
    run_job(shortcut(), tmp_path, settings, event_shape=(2,), say=None)
    (tmp_path / "shard-00001.npz").unlink()
    run_job(shortcut(), tmp_path, settings, event_shape=(2,), say=None)
    shards = list(open_job(tmp_path).check().shards())
    for shard in shards:
        displacement = np.sum(summed() ** 2) / 2
        np.testing.assert_allclose(shard.energy.displacement, displacement, rtol=1e-5)
    bound = shortcut().with_step(0.5)
    with pytest.raises(ValueError, match="holds a job with field = another one"):
        run_job(bound, tmp_path, settings, event_shape=(2,), say=None)
    adaptive = JobSettings(n=3, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="field must have its step bound with rtol and atol"):
        run_job(shortcut(), tmp_path / "none", adaptive, event_shape=(2,), say=None)
    assert not (tmp_path / "none").exists()


@pytest.mark.long
def test_a_bound_step_stays():
    field = shortcut().with_step(0.5)
    assert not field.needs_step
    ends_at(field, A + B * 0.5)
    ends_at(kts(0.1)(field).with_step(2.0).field, A + B * 0.5)
    run = sample(field, X0, controller=ADAPTIVE)
    np.testing.assert_allclose(run.x1, np.tile(A + B * 0.5, (3, 1)), rtol=1e-5)
    one = field(jnp.array(0.0), jnp.zeros(2))
    np.testing.assert_allclose(one, A + B * 0.5, rtol=1e-6)
    # Traced: another number compiles nothing, and it has a derivative.
    slope = jax.jacfwd(lambda dt: shortcut().with_step(dt)(jnp.array(0.0), jnp.zeros(2)))
    np.testing.assert_allclose(slope(0.5), B, rtol=1e-6)


def test_training_leaves_a_bound_step_alone():
    data, optimizer = np.ones((4, 2), np.float32), optax.adamw(1e-2)
    options = {"key": jax.random.key(0), "num_steps": 2, "optimizer": optimizer, "batch_size": 2}
    bound = shortcut().with_step(0.5)
    trained = fit(bound, data, **options).field
    assert float(trained.dt) == 0.5
    assert np.all(np.abs(np.concatenate(jax.tree.leaves(trained.state)) - [A, B]) > 1e-3)
    # A callable pytree, whose arrays are all trained but for the step.
    scaled = jax.tree_util.Partial(lambda w, t, x, cond, dt: w * x + dt, jnp.array(0.3))
    trained = fit(as_field(scaled).with_step(0.5), data, **options).field
    assert float(trained.dt) == 0.5
    assert abs(float(trained.function.args[0]) - 0.3) > 1e-3


def test_where_no_step_is_known_it_must_be_bound(own_messages, compilations):
    field, key = shortcut(), jax.random.key(0)
    optimizer = optax.sgd(0.1)
    before = compilations()
    for call, where in (
        (lambda: field(jnp.array(0.0), jnp.zeros(2)), "when it is called"),
        (lambda: kts(0.1)(field)(jnp.array(0.0), jnp.zeros(2)), "when it is called"),
        (lambda: as_field(of_step)(jnp.array(0.0), jnp.zeros(2)), "when it is called"),
        (lambda: sample(field, X0, controller=ADAPTIVE), "with a controller"),
        (lambda: energy_term(kts(0.1)(of_step)), "in a solve of your own"),
        (lambda: cfm_loss(field, key, X0), "in training"),
        (
            lambda: fit(field, X0, key=key, num_steps=1, optimizer=optimizer, batch_size=1),
            "in training",
        ),
    ):
        with pytest.raises(ValueError, match=f"field must have its step bound {where}.*, as by .*"):
            call()
    assert compilations() - before <= 2  # zeros, say
    for step, message in (
        (-0.1, "dt must not be negative, got -0.1"),
        (np.nan, "dt must be finite"),
        ("x", "dt must be an array of numbers"),
        (np.ones(2), "dt must be one number"),
    ):
        with pytest.raises(ValueError, match=message):
            field.with_step(step)
    with pytest.raises(ValueError, match="call must be callable as call"):
        from_nnx(Shortcut(), call=lambda net, t, dt, x, cond: net(dt, x, t))
    with pytest.raises(ValueError, match="which takes other arguments"):
        sample(lambda t, x, cond, step: x, X0)


def test_a_model_of_another_path_cannot_take_it():
    schedule = linear_schedule(reverse=True)
    with pytest.raises(ValueError, match="model must not take the size of the step"):
        from_prediction(shortcut(), predicts="velocity", schedule=schedule)
    bound = from_prediction(shortcut().with_step(0.5), predicts="velocity", schedule=schedule)
    ends_at(bound, -(A + B * 0.5))


def test_a_field_of_the_users_own():
    """It overrides `needs_step` and `with_step`, or is a `WrappedField`."""

    class Doubled(WrappedField):
        def __call__(self, t, x, cond=None):
            return 2 * self.field(t, x, cond)

    ends_at(Doubled(shortcut()), 2 * summed())


def test_other_fields_cost_nothing():
    """They come back unchanged, and no operation is recorded."""
    plain = kts(0.1)(lambda t, x, cond=None: x)
    assert plain.with_step(0.1) is plain

    def step(t0, t1):
        assert over_step(plain, t0, t1) is plain
        return t0

    assert jax.make_jaxpr(step)(0.0, 0.1).eqns == []
