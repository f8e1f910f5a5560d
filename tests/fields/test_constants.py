"""No array is baked into a compiled program: not a field's leaves, not what a closure holds."""

import functools
import re

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import (
    GaussianField,
    chain,
    from_linen,
    from_nnx,
    from_reversed_time,
    from_vector_field,
    gain,
    kts,
    sample,
)

DIM = 33  # a matrix larger than the NumPy arrays that are constants
STEPS = 4


def baked_constants(text):
    """Shapes of the constants in a StableHLO module that hold DIM numbers or more.

    A splat (one number repeated) costs nothing and is left out.
    """
    pattern = r"stablehlo\.constant dense(?:_resource)?<(.*?)> : tensor<((?:\d+x)+)\w+>"
    found = []
    for value, shape in re.findall(pattern, text):
        sizes = [int(size) for size in shape.rstrip("x").split("x")]
        if np.prod(sizes) >= DIM and value.startswith(('"', "[", "__")):
            found.append(tuple(sizes))
    return found


@pytest.fixture
def compiled(tmp_path):
    """Returns the StableHLO of each program compiled since it was last called."""
    previous, seen = jax.config.values["jax_dump_ir_to"], set()
    jax.config.update("jax_dump_ir_to", str(tmp_path))

    def new():
        files = sorted(set(tmp_path.iterdir()) - seen)
        seen.update(files)
        return [file.read_text() for file in files]

    yield new
    jax.config.update("jax_dump_ir_to", previous)


def weights(seed, *shape):
    return jax.device_put(np.float32(np.random.default_rng(seed).normal(size=shape) / 5))


def euler(velocity, x0):
    """x1 of Euler's method in float64, for a velocity of the whole batch."""
    x = np.asarray(x0, np.float64)
    for i in range(STEPS):
        x = x + velocity(i / STEPS, x) / STEPS
    return x


X0 = np.float32(np.random.default_rng(100).normal(size=(3, DIM)) / 5)


class Net(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        return nn.Dense(DIM)(x) * t[:, None]


@functools.cache
def linen(seed):
    t, x = np.zeros(1, np.float32), np.zeros((1, DIM), np.float32)
    return from_linen(Net(), jax.jit(Net().init)(jax.random.key(seed), t, x))


def linear(t, y, args):
    return args @ y


FIELDS = {
    "gaussian": lambda seed: GaussianField(weights(seed, DIM), 0.5 + seed),
    "linen": linen,
    "nnx": lambda seed: from_nnx(
        nnx.Linear(DIM, DIM, rngs=nnx.Rngs(seed)), call=lambda model, t, x, cond: model(x)
    ),
    "vector_field": lambda seed: from_vector_field(linear, weights(seed, DIM, DIM)),
    "reversed_time": lambda seed: from_reversed_time(GaussianField(weights(seed, DIM), 0.5)),
    "shaped": lambda seed: chain(kts(0.1, 0.01), gain(lambda t: 2.0))(linen(seed)),
}


@pytest.mark.parametrize("make", FIELDS.values(), ids=FIELDS)
def test_a_fields_arrays_are_arguments(make, compiled):
    field = make(0)
    lowered = jax.jit(lambda field, t, x: field(t, x)).lower(field, np.float32(0.5), X0[0])
    assert baked_constants(lowered.as_text()) == []
    compiled()
    sample(field, X0, num_steps=STEPS)
    programs = compiled()
    assert any("solve_fixed" in program for program in programs)
    assert [baked_constants(program) for program in programs] == [[] for _ in programs]


# Ways in which a plain function holds an array.
def closure(matrix):
    return lambda t, x, cond=None: matrix @ x


def numpy_closure(matrix):
    held = np.asarray(matrix)
    return lambda t, x, cond=None: held @ x


def default_argument(matrix):
    return lambda t, x, cond=None, held=matrix: held @ x


def closure_in_a_loop(matrix):
    def field(t, x, cond=None):
        return jax.lax.fori_loop(0, 1, lambda _, carry: matrix @ carry, x)

    return field


def plain_object(matrix):
    class Plain:
        def __call__(self, t, x, cond=None):
            return matrix @ x

    return Plain()


def closure_in_a_jit(matrix):
    inner = jax.jit(lambda x: matrix @ x)
    return lambda t, x, cond=None: inner(x)


def closure_inside_adapters(matrix):
    return from_reversed_time(from_vector_field(lambda t, y, args: -(matrix @ y)))


def closure_inside_transforms(matrix):
    return chain(kts(0.0), gain(lambda t: 1.0))(closure(matrix))


CLOSURES = [
    closure,
    numpy_closure,
    default_argument,
    closure_in_a_loop,
    plain_object,
    closure_inside_adapters,
    closure_inside_transforms,
]


@pytest.mark.parametrize("hold", [*CLOSURES, closure_in_a_jit])
def test_what_a_closure_holds_becomes_an_argument(hold, compiled):
    matrix = weights(0, DIM, DIM)
    compiled()
    got = sample(hold(matrix), X0, num_steps=STEPS).x1
    programs = compiled()
    assert any("solve_fixed" in program for program in programs)
    assert [baked_constants(program) for program in programs] == [[] for _ in programs]
    want = euler(lambda t, x: x @ np.asarray(matrix, np.float64).T, X0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hold", [*CLOSURES, closure_in_a_jit])
def test_a_new_closure_over_new_arrays_uses_them(hold):
    for seed in range(2):
        matrix = weights(seed, DIM, DIM)
        want = euler(lambda t, x: x @ np.asarray(matrix, np.float64).T, X0)  # noqa: B023
        got = sample(hold(matrix), X0, num_steps=STEPS).x1
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_hoisting_leaves_the_fields_own_leaves_traced(compiled):
    offset = weights(1, DIM)

    class Mixed(eqx.Module):
        rate: jax.Array

        def __call__(self, t, x, cond=None):
            return self.rate * x + offset

    for rate in (1.0, -2.0):
        compiled()
        got = sample(Mixed(jax.device_put(np.float32(rate))), X0, num_steps=STEPS).x1
        want = euler(lambda t, x: rate * x + np.asarray(offset, np.float64), X0)  # noqa: B023
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert compiled() == []  # the second rate reused the first one's program


@pytest.mark.parametrize("hold", [closure, numpy_closure, closure_in_a_loop])
def test_the_detector_sees_a_baked_constant(hold, compiled):
    compiled()
    field = hold(weights(0, DIM, DIM))
    jax.jit(lambda x: field(0.5, x))(X0[0])
    assert [(DIM, DIM)] in [baked_constants(program) for program in compiled()]


def test_the_detector_passes_over_splats():
    lowered = jax.jit(lambda x: jnp.where(x > 0, x, jnp.full(DIM, 3.0))).lower(X0[0])
    assert baked_constants(lowered.as_text()) == []
