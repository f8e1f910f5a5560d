"""Samples completed by one evaluation, after a gain, an early stop or noise."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import (
    EmpiricalField,
    GaussianField,
    cfg,
    chain,
    from_reversed_time,
    gain,
    identity,
    kts,
    kts_gain,
    noise,
    sample,
)
from kinetic_jax.exact import single_atom
from kinetic_jax.fields import (
    WrappedField,
    as_field,
    edm_schedule,
    from_prediction,
    linear_schedule,
    on_manifold,
)
from kinetic_jax.manifolds import Sphere
from kinetic_jax.sampling import complete, encode, shifted_grid, sweep
from kinetic_jax.transforms import cfg_zero_star, clock_matched, guide, ssc

ROW = np.array([3.0, -1.0, 2.0], np.float32)
SHAPES = ("linear", "constant", "exponential")
PID = diffrax.PIDController(rtol=1e-4, atol=1e-4)
RUNS = {
    "Euler": {},
    "seven steps": {"num_steps": 7},
    "Heun": {"solver": diffrax.Heun(), "num_steps": 20},
    "Tsit5, cosine": {"solver": diffrax.Tsit5(), "num_steps": 10, "grid": "cosine"},
    "Midpoint, shifted": {"solver": diffrax.Midpoint(), "grid": shifted_grid(30, 3.0)},
    "stopped early": {"num_steps": 90, "t1": 0.9},
    "adaptive": {"controller": PID},
    "adaptive, stopped early": {"controller": PID, "t1": 0.8},
}
TRANSFORMS = {
    "none": identity(),
    "kts": kts(0.05, 0.02),
    "an overshoot": gain(lambda t: 1.3),
    "ssc": ssc(0.5, 2.0),
    "clock-matched": clock_matched(kts(0.1, 0.05)),
    "two gains": chain(kts(0.1, 0.02), gain(lambda t: 1 - 0.2 * t)),
    "a gain inside guidance": chain(
        kts(0.1, 0.04), guide(ssc(0.2, 1.0)(EmpiricalField(ROW[None])), 0.7)
    ),
}


def starts(n=4):
    return np.asarray(noise(jax.random.key(0), jnp.arange(n), (3,)))


def one_row():
    return EmpiricalField(ROW[None])


def require_completed(field, run, x0, **options):
    """The run ends at X + r (x0 − X), and one evaluation leads to X."""
    left = np.asarray(run.residual)[:, None] * (x0 - ROW)
    np.testing.assert_allclose(run.x1, ROW + left, rtol=0, atol=5e-4)
    np.testing.assert_allclose(complete(field, run), np.broadcast_to(ROW, x0.shape), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize(
    "transform", [kts(0.3, 0.04), gain(lambda t: 1.3)], ids=["kts", "constant"]
)
def test_one_row_by_every_solver_and_grid(transform, options):
    field, x0 = transform(one_row()), starts()
    require_completed(field, sample(field, x0, **options), x0)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_one_row_under_every_transform_that_knows_its_gain(transform):
    field, x0 = transform(one_row()), starts()
    require_completed(field, sample(field, x0, num_steps=30), x0)


@pytest.mark.parametrize("launch", SHAPES)
@pytest.mark.parametrize("landing", SHAPES)
def test_one_row_for_every_pair_of_shapes(launch, landing):
    """In one program for all strengths, each completed inside it."""
    field, x0 = one_row(), starts()
    ends, left = sweep(
        field, x0, alpha0=[0.0, 0.1, 1.0], beta0=[0.0, 0.02, 0.05], tau_split=[0.3, 0.6],
        launch=launch, landing=landing, num_steps=40,
        reduce=lambda run: (complete(field, run), run.residual),
    )  # fmt: skip
    np.testing.assert_allclose(ends, np.broadcast_to(ROW, ends.shape), atol=1e-4)
    nodes = np.arange(40) / 40
    for i, alpha0 in enumerate((0.0, 0.1, 1.0)):
        for j, beta0 in enumerate((0.0, 0.02, 0.05)):
            for k, tau in enumerate((0.3, 0.6)):
                shapes = {"launch": launch, "landing": landing}
                eta = np.asarray(
                    kts_gain(jnp.asarray(nodes), alpha0, beta0, tau, **shapes), np.float64
                )
                product = np.prod(1 - eta / 40 / (1 - nodes))  # Euler's
                np.testing.assert_allclose(left[i, j, k], product, atol=2e-6)


@pytest.mark.long
def test_the_residual_of_fine_steps_is_the_closed_form():
    transform, time = kts(0.2, 0.04), 0.95
    exact = float(single_atom(transform, time).ratio)
    errors = [
        abs(
            float(sample(transform(one_row()), starts(1), num_steps=n, t1=time).residual[0]) - exact
        )
        for n in (100, 200, 400)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 1, atol=0.15)
    adaptive = sample(transform(one_row()), starts(1), t1=time, controller=PID).residual[0]
    assert abs(float(adaptive) - exact) < 1e-3


def test_a_path_that_begins_late_has_less_left():
    x0 = starts()
    begun = 0.25 * ROW + 0.75 * x0
    run = sample(one_row(), begun, t0=0.25, t1=0.5, num_steps=5)
    np.testing.assert_allclose(run.residual, 0.5, atol=1e-6)
    np.testing.assert_allclose(run.x1, 0.5 * ROW + 0.5 * x0, atol=1e-5)
    np.testing.assert_allclose(complete(one_row(), run), np.broadcast_to(ROW, x0.shape), atol=1e-4)


def test_any_field_moves_on_by_its_velocity_at_the_time_of_its_noise():
    """x1 + r v(1 − r, x1), v without the gain, by NumPy; without one nothing moves."""
    matrix, x0 = (
        np.array([[0.5, -1.0], [0.25, 2.0]], np.float32),
        noise(jax.random.key(1), jnp.arange(5), (2,)),
    )

    def field(t, x, cond):
        return jnp.sin(3 * t) * (matrix @ x) + cond

    cond = np.arange(5, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    run = sample(kts(0.1, 0.05)(field), x0, cond, num_steps=10)
    r, x1 = np.asarray(run.residual, np.float64)[:, None], np.asarray(run.x1, np.float64)
    assert (r > 0.04).all()
    wanted = x1 + r * (np.sin(3 * (1 - r)) * (x1 @ np.asarray(matrix).T) + np.asarray(cond))
    for shaped in (field, kts(0.1, 0.05)(field)):
        np.testing.assert_allclose(complete(shaped, run, cond), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        complete(field, run.x1, cond, residual=run.residual), wanted, rtol=1e-5, atol=1e-5
    )
    plain = sample(field, x0, cond, num_steps=10)
    np.testing.assert_allclose(complete(field, plain, cond), plain.x1, rtol=1e-6, atol=1e-6)


def test_noise_on_samples_is_completed_too():
    """y = X + r (x0 − X) + σ ε is a point of the path from another start, of another size."""
    field, x0 = kts(0.0, 0.05)(one_row()), starts()
    run = sample(field, x0)
    sigma = np.array([0.0, 0.01, 0.3, 2.0], np.float32)
    noisy = np.asarray(run.x1) + sigma[:, None] * starts(8)[4:]
    ends = complete(field, noisy, residual=run.residual, noise=sigma)
    np.testing.assert_allclose(ends, np.broadcast_to(ROW, x0.shape), atol=1e-4)
    # A Gaussian's velocity at that point, and its prediction.
    gaussian = GaussianField(jnp.zeros(3), 0.5)
    ends = complete(gaussian, noisy, residual=0.0, noise=0.5)
    # The posterior mean of X ~ N(0, s²) given X + σ ε is X s²/(s² + σ²).
    np.testing.assert_allclose(ends, noisy * 0.25 / (0.25 + 0.25), rtol=1e-5, atol=1e-6)


def test_guidance_and_other_clocks():
    def labelled(t, x, cond):
        return (jnp.asarray(cond, x.dtype) * ROW - x) / jnp.maximum(1 - t, 1e-6)

    x0, cond = starts(), np.array([1.0, 2.0, -1.0, 0.5], np.float32)
    for guided in (cfg(3.0, 0.0), cfg_zero_star(1.0, 0.0, zero_until=0.04)):
        field = chain(kts(0.1, 0.04), guided)(labelled)
        run = sample(field, x0, cond, num_steps=25)
        # Guided by w from the row 0 the path to c X leads to w c X; scaled, to c X.
        rows = (3.0 if guided.scale == 3.0 else 1.0) * cond[:, None] * ROW
        assert float(run.residual[0]) > 0.005
        np.testing.assert_allclose(
            run.x1, rows + np.asarray(run.residual)[:, None] * (x0 - rows), atol=1e-3
        )
        np.testing.assert_allclose(complete(field, run, cond), rows, atol=1e-3)
    backwards = as_field(lambda s, x, cond=None: (x - ROW) / jnp.maximum(s, 1e-6))
    for field in (kts(0.1, 0.04)(from_reversed_time(backwards)),):
        require_completed(field, sample(field, x0, num_steps=25), x0)
    # A gain on the model's own clock: what it leaves is not known, and nothing is completed.
    inner = from_reversed_time(gain(lambda s: 1 + s)(backwards))
    run = sample(inner, x0, num_steps=25)
    assert np.isnan(run.residual).all()
    assert np.isnan(complete(inner, run)).all()


def test_a_wrapper_of_ones_own_declares_its_gain_or_is_not_known():
    class Slow(WrappedField):
        def __call__(self, t, x, cond=None):
            return (1 - t) * self.field(t, x, cond)

    class Declared(Slow):
        def closing_rate(self, t):
            return (1 - t) * self.field.closing_rate(t)

        def without_gain(self):
            return self.field.without_gain()

    class Wrong(Slow):
        def closing_rate(self, t):
            return jnp.ones(2)

    x0 = starts()
    unknown = sample(Slow(one_row()), x0)
    assert np.isnan(unknown.residual).all()
    assert np.isnan(complete(Slow(one_row()), unknown)).all()
    known = sample(Declared(one_row()), x0)
    np.testing.assert_allclose(known.residual, 0.99**100, rtol=1e-3)  # Π (1 − h)
    ends = complete(Declared(one_row()), known)
    np.testing.assert_allclose(ends, np.broadcast_to(ROW, x0.shape), atol=1e-4)
    with pytest.raises(ValueError, match="closing_rate must return one number for one time"):
        sample(Wrong(one_row()), x0, num_steps=2)


@pytest.mark.long
def test_smooth_fields_by_large_steps():
    """A network's velocity does not grow at t = 1: what is left is that of its mean gain."""
    field, x0 = kts(0.05, 0.02)(GaussianField(jnp.zeros(3), 0.5)), starts()
    runs = [sample(field, x0, **options) for options in (
        {"controller": diffrax.PIDController(rtol=1e-3, atol=1e-3)},
        {"solver": diffrax.Tsit5(), "num_steps": 5},
        {"solver": diffrax.Heun(), "num_steps": 50},
        {},
    )]  # fmt: skip
    for run in runs:
        assert 0.005 < float(run.residual.min()) <= float(run.residual.max()) < 0.1
        ends = complete(field, run)
        np.testing.assert_allclose(ends, complete(field, runs[-1]), atol=0.1)
    # Heun by hand: Π (1 − h (η(t) + η(t + h))/2/(1 − t)).
    t = np.arange(50) / 50
    eta = np.asarray(kts_gain(jnp.arange(51) / 50, 0.05, 0.02), np.float64)
    wanted = np.prod(1 - (eta[:-1] + eta[1:]) / 2 / 50 / (1 - t))
    np.testing.assert_allclose(runs[2].residual, wanted, rtol=2e-3)


@pytest.mark.long
def test_models_of_other_predictions():
    """Finite where a stage lies at t = 1, and that of the model that is held at its last time."""
    x0 = starts()
    still = from_prediction(
        lambda r, x, cond: jnp.ones_like(x), predicts="velocity", schedule=linear_schedule()
    )
    for solver in (diffrax.Heun(), diffrax.Dopri5()):
        run = sample(still, x0, solver=solver, num_steps=10)
        np.testing.assert_allclose(run.residual, 0, atol=1e-5)
    to_row = from_prediction(
        lambda r, x, cond: jnp.asarray(ROW), predicts="data", schedule=edm_schedule()
    )
    for options in ({"num_steps": 400}, {"num_steps": 400, "solver": diffrax.Heun()}):
        run = sample(kts(0.0, 0.045)(to_row), x0, **options)
        left = np.asarray(run.residual)[:, None] * (x0 - ROW)
        np.testing.assert_allclose(run.x1, ROW + left, atol=5e-4)
        ends = complete(kts(0.0, 0.045)(to_row), run)
        np.testing.assert_allclose(ends, np.broadcast_to(ROW, x0.shape), atol=1e-4)


def test_states_of_several_arrays():
    field = EmpiricalField(ROW[None])
    x0 = starts()

    def split(t, x, cond=None):
        velocity = field(t, jnp.concatenate([x["a"], x["b"]]))
        return {"a": velocity[:1], "b": velocity[1:]}

    state = {"a": x0[:, :1], "b": x0[:, 1:]}
    shaped = kts(0.1, 0.04)
    run, flat = sample(shaped(split), state, num_steps=20), sample(shaped(field), x0, num_steps=20)
    np.testing.assert_allclose(run.residual, flat.residual, rtol=1e-6)
    ends = complete(shaped(split), run)
    np.testing.assert_allclose(ends["b"], complete(shaped(field), flat)[:, 1:], atol=1e-4)


def test_a_sphere():
    """A geodesic to one point: the share of the way that is left is that in flat space."""
    goal = jnp.array([0.0, 0.0, 1.0])

    def towards(t, x, cond=None):
        cosine = jnp.clip(jnp.sum(goal * x), -1, 1)
        tangent = goal - cosine * x
        size = jnp.linalg.norm(tangent)
        angle = jnp.arctan2(size, cosine)
        return angle * tangent / jnp.maximum(size, 1e-7) / jnp.maximum(1 - t, 1e-6)

    field = kts(0.1, 0.05)(on_manifold(towards, Sphere()))
    x0 = starts()
    run = sample(field, x0, num_steps=20)
    begun = x0 / np.linalg.norm(x0, axis=1, keepdims=True)
    angles, left = (np.arccos(np.asarray(x)[:, 2]) for x in (begun, run.x1))
    np.testing.assert_allclose(left, np.asarray(run.residual) * angles, atol=1e-3)
    np.testing.assert_allclose(complete(field, run), np.broadcast_to(goal, x0.shape), atol=1e-3)
    with pytest.raises(ValueError, match="noise must be 0 on a manifold"):
        complete(field, run, noise=0.1)


def test_the_exact_flow_of_two_rows_ends_on_its_rows():
    """A landing hides a copy under the rest of its noise; it does not prevent it."""
    rows = jnp.array([[4.0, 0.0, 0.0], [-4.0, 1.0, 0.0]])
    x0, field = starts(64), EmpiricalField(rows)
    plain = sample(field, x0)
    for beta0 in (0.02, 0.049):
        run = sample(kts(0.0, beta0)(field), x0)
        ends = complete(kts(0.0, beta0)(field), run)
        np.testing.assert_allclose(ends, plain.x1, atol=1e-3)
        assert float(jnp.abs(run.x1 - plain.x1).max()) > 5e-3


def test_derivatives_pass_through():
    field, x0 = kts(0.1, 0.05)(GaussianField(jnp.zeros(3), 0.5)), starts()

    def end(x0):
        return jnp.sum(complete(field, sample(field, x0, num_steps=10)))

    gradient = jax.grad(end)(x0)
    step = 1e-2
    numeric = (
        end(jnp.asarray(x0).at[0, 1].add(step)) - end(jnp.asarray(x0).at[0, 1].add(-step))
    ) / (2 * step)
    np.testing.assert_allclose(gradient[0, 1], numeric, rtol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("of", ["gain", "guidance"])
def test_derivatives_of_adaptive_solves_stay_finite(of):
    """In the gain and in the weight of guidance, though κ is infinite at t = 1."""
    matrix, x0 = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32), starts(2)

    def energy(number):
        own, other = (lambda t, x, cond, m=m: jnp.tanh(m @ x) for m in matrix)
        transform = kts(0.05, number, allow_reversal=True) if of == "gain" else guide(other, number)
        run = sample(transform(own), x0, controller=PID)
        return jnp.sum(run.energy.total) + jnp.sum(run.residual)

    at, step = (0.02, 1e-3) if of == "gain" else (0.7, 1e-2)
    numeric = (energy(at + step) - energy(at - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(energy)(at), numeric, rtol=2e-2, atol=1e-2)


ERRORS = {
    "residual must be given for samples that are not a run of sample": ((lambda: encoded(),), {}),
    "run must be a run of sample, or a part of one, got 4 axes": ((lambda: swept(),), {}),
    "residual must be at most 1": ((starts(),), {"residual": 5.0}),
    "residual must be given for samples that are not a run": ((starts(),), {}),
    r"residual must be one number, or of shape \(4,\)": ((starts(),), {"residual": jnp.ones(3)}),
    "noise must not be negative, got -1.0": ((starts(),), {"residual": 0.1, "noise": -1.0}),
    "noise must be finite": ((starts(),), {"residual": 0.1, "noise": np.array([np.nan] * 4)}),
    "run must have the field's event shape": ((jnp.ones((4, 2)),), {"residual": 0.1}),
    "cond must": ((starts(), jnp.ones(3, jnp.int32)), {"residual": 0.1}),
}


def encoded():
    return encode(GaussianField(jnp.zeros(3), 0.5), starts(), num_steps=2)


def swept():
    return sweep(one_row(), starts(), num_steps=2)


@pytest.mark.long
@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    positional, named = ERRORS[message]
    positional = tuple(value() if callable(value) else value for value in positional)
    with pytest.raises(ValueError, match=message):
        complete(one_row(), *positional, **named)
