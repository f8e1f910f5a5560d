"""Diffrax vector fields and reversed clocks, on flows whose answer is known."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import (
    GaussianField,
    cfg,
    from_reversed_time,
    from_vector_field,
    kts,
    sample,
)
from kinetic_jax.fields import from_scaled_time


def decay(t, y, args):
    return -args["rate"] * y + t * args["drift"]


ARGS = {"rate": jnp.array(2.0), "drift": jnp.array([1.0, 0.0, -1.0])}


def test_vector_field_calls_vf():
    x, t = jnp.array([1.0, 2.0, 3.0]), jnp.array(0.25)
    field = from_vector_field(decay, ARGS)
    np.testing.assert_allclose(field(t, x), [-2 + 0.25, -4.0, -6 - 0.25])
    # A condition per sample has no place in vf(t, y, args).
    np.testing.assert_array_equal(field(t, x, jnp.array(7)), field(t, x))


def test_vector_field_args_are_leaves():
    field = from_vector_field(decay, ARGS)
    assert len(jax.tree.leaves(field)) == 2
    x, t = jnp.array([1.0, 2.0, 3.0]), jnp.array(0.25)
    gradient = jax.grad(lambda field: jnp.sum(field(t, x)))(field)
    np.testing.assert_allclose(gradient.args["rate"], -6.0)
    np.testing.assert_allclose(gradient.args["drift"], [0.25] * 3)


def test_vector_field_without_args():
    field = from_vector_field(lambda t, y, args: y * t if args is None else y)
    np.testing.assert_allclose(field(jnp.array(0.5), jnp.array([4.0])), [2.0])


def test_vector_field_that_is_a_pytree_keeps_its_leaves():
    class Scaled(eqx.Module):
        scale: jax.Array

        def __call__(self, t, y, args):
            return self.scale * y

    field = from_vector_field(Scaled(jnp.array(3.0)))
    assert [float(leaf) for leaf in jax.tree.leaves(field)] == [3.0]
    np.testing.assert_allclose(field(jnp.array(0.0), jnp.array([2.0])), [6.0])


def test_vector_field_sampled_is_diffrax_own_solution():
    x0 = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    ours = sample(from_vector_field(decay, ARGS), x0, solver=diffrax.Heun(), num_steps=20).x1
    step = diffrax.StepTo(ts=np.float32(np.arange(21) / 20))

    @jax.jit
    @jax.vmap
    def solved(x):
        term, solver = diffrax.ODETerm(decay), diffrax.Heun()
        solution = diffrax.diffeqsolve(
            term, solver, 0.0, 1.0, None, x, ARGS, stepsize_controller=step
        )
        return solution.ys[0]

    np.testing.assert_allclose(ours, solved(x0), rtol=1e-5, atol=1e-6)


class DataToNoise(eqx.Module):
    """The Gaussian flow as a model that runs from data (clock 0) to noise (clock `largest`)."""

    forward: GaussianField
    largest: float = eqx.field(static=True, default=1.0)

    def __call__(self, t, x, cond=None):
        return -self.forward(1 - t / self.largest, x, cond)


@pytest.mark.parametrize("largest", [1.0, 1000.0])
def test_reversing_the_reversed_flow_gives_the_flow(largest):
    forward = GaussianField(np.float32([2.0, -1.0]), 0.5)
    field = from_reversed_time(DataToNoise(forward, largest), time_scale=largest)
    x, times = np.float32([0.5, 1.5]), np.linspace(0.0, 1.0, 9, dtype=np.float32)
    got, want = (jax.jit(jax.vmap(f.__call__, (0, None)))(times, x) for f in (field, forward))
    np.testing.assert_allclose(got, want, atol=1e-5)
    x0 = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    solution = sample(field, x0, solver=diffrax.Heun(), num_steps=200)
    np.testing.assert_allclose(solution.x1, np.asarray(forward.mean) + 0.5 * x0, atol=2e-4)
    np.testing.assert_allclose(
        solution.energy.total,
        sample(forward, x0, solver=diffrax.Heun(), num_steps=200).energy.total,
        rtol=1e-4,
    )


def test_reversed_clock_readings():
    def clock(t, x, cond=None):
        return -t * jnp.ones_like(x)

    field = from_reversed_time(clock, time_scale=1000.0)
    times = np.float32(np.arange(11) / 10)
    readings = np.asarray(jax.jit(jax.vmap(lambda t: field(t, jnp.zeros(1))[0]))(times))
    np.testing.assert_allclose(readings, 1000.0 - 100.0 * np.arange(11), atol=1e-3)
    assert (readings[0], readings[-1]) == (1000.0, 0.0)
    # Euler reads the left ends: ∫ = (1/n) Σ_{i<n} 1000 (1 − i/n) = 500 (n + 1)/n.
    np.testing.assert_allclose(
        sample(field, np.zeros((1, 1), np.float32), num_steps=10).x1, 550.0, rtol=1e-6
    )


def test_reversed_velocity_is_per_unit_of_s_not_of_the_clock():
    def constant(t, x, cond=None):
        return jnp.full_like(x, 3.0)

    field = from_reversed_time(constant, time_scale=1000.0)
    np.testing.assert_array_equal(field(jnp.array(0.3), jnp.zeros(2)), [-3.0, -3.0])


def test_reversed_time_hands_on_the_condition():
    field = from_reversed_time(lambda t, x, cond: cond["shift"] * x)
    got = field(jnp.array(0.5), jnp.array([1.0, 2.0]), {"shift": jnp.array(4.0)})
    np.testing.assert_array_equal(got, [-4.0, -8.0])


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_reversed_time_scale_not_positive(value):
    with pytest.raises(ValueError, match=f"time_scale must be positive, got {value}"):
        from_reversed_time(decay, time_scale=value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_reversed_time_scale_not_finite(value):
    with pytest.raises(ValueError, match=f"time_scale must be finite, got {value}"):
        from_reversed_time(decay, time_scale=value)


def test_a_scaled_clock_reads_from_0_to_time_scale():
    def clock(t, x, cond=None):
        return t * jnp.ones_like(x)

    field = from_scaled_time(clock, time_scale=1000.0)
    for t in (0.0, 0.25, 1.0):
        np.testing.assert_array_equal(field(jnp.array(t), jnp.zeros(2)), [1000 * t, 1000 * t])
    # Euler reads the left ends: ∫ = (1/n) Σ_{i<n} 1000 i/n = 500 (n − 1)/n.
    np.testing.assert_allclose(
        sample(field, np.zeros((1, 1), np.float32), num_steps=10).x1, 450.0, rtol=1e-6
    )


@pytest.mark.parametrize("wrap", [from_vector_field, lambda vf: kts(0.1)(from_vector_field(vf))])
def test_guidance_of_a_field_that_ignores_its_condition_is_refused(wrap):
    field = wrap(lambda t, y, args: -y)
    with pytest.raises(ValueError, match=r"field must use cond .*got VectorFieldAdapter"):
        cfg(7.0, 0.0)(field)
    with pytest.raises(ValueError, match=r"field must use cond .*got GaussianField, which"):
        cfg(7.0, 0.0)(GaussianField(jnp.ones(2), 1.0))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: f,
        kts(0.0, 0.0),
        cfg(1.0, 0.0),
        from_reversed_time,
        lambda f: from_scaled_time(f, time_scale=1.0),
    ],
)
def test_half_precision_of_a_plain_function_is_cast(dtype, wrap):
    def field(t, x, cond):
        return (x / 3).astype(dtype)

    x0, cond = np.ones((1, 2), np.float32), np.zeros(1, np.float32)
    result = sample(wrap(field), x0, cond, num_steps=1)
    third = float(np.asarray(1 / 3, dtype))
    assert result.x1.dtype == jnp.float32
    sign = -1 if wrap is from_reversed_time else 1
    np.testing.assert_allclose(result.x1, 1 + sign * third, rtol=1e-6)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: (x, x), r"the field's output must have the shape .*got a tuple"),
        (lambda x: {"v": x}, r"the field's output must have the shape .*got a dict"),
        (lambda x: None, r"the field's output must have the shape .*got a NoneType"),
        (
            lambda x: x.astype(complex),
            r"the field's output must have .*got shape .* and dtype complex64",
        ),
        (lambda x: x.astype(int), r"the field's output must have .*got shape .* and dtype int32"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda f: f, kts(0.1), from_reversed_time])
def test_an_output_that_is_no_real_array_is_refused(output, message, wrap):
    with pytest.raises(ValueError, match=message):
        sample(wrap(lambda t, x, cond: output(x)), jnp.ones((1, 2)), num_steps=1)
