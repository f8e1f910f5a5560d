"""The contract of every transform; a new transform enters by one line in TRANSFORMS."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import cfg, chain, gain, identity, kts, sample
from kinetic_jax.transforms import cfg_zero_star, guide
from kinetic_jax.transforms import ssc as ssc_of

TRACES = []


class Labelled(eqx.Module):
    """v = A x + t b + cond: linear in its arrays, with the answer known in NumPy."""

    matrix: jax.Array
    drift: jax.Array

    def __call__(self, t, x, cond=None):
        TRACES.append(1)
        matrix, drift = self.matrix.astype(x.dtype), self.drift.astype(x.dtype)
        return matrix @ x + t.astype(x.dtype) * drift + cond.astype(x.dtype)


class SSC(eqx.Module):
    """η = 1 + a (1 − t)^b, a gain with numbers of its own."""

    a: jax.Array
    b: jax.Array

    def __call__(self, t):
        return 1 + self.a.astype(t.dtype) * (1 - t) ** self.b.astype(t.dtype)


class Constant(eqx.Module):
    """The same velocity everywhere."""

    speed: jax.Array

    def __call__(self, t, x, cond=None):
        return self.speed.astype(x.dtype) * jnp.ones_like(x)


def plain(t, v_c, v_u, p):
    return v_c


def ssc(t, v_c, v_u, p):
    return (1 + p["a"] * (1 - t) ** p["b"]) * v_c


def shaped(launch, landing):
    def velocity(t, v_c, v_u, p):
        q, s, k = 1 - t / p["tau"], (t - p["tau"]) / (1 - p["tau"]), p["k"]
        alpha = {"linear": q, "constant": 1, "exponential": np.expm1(k * q) / np.expm1(k)}
        beta = {"linear": s, "constant": 1, "exponential": np.expm1(k * s)}
        launching = t < p["tau"]
        return (
            1 + p["alpha0"] * alpha[launch] if launching else 1 - p["beta0"] * beta[landing]
        ) * v_c

    return velocity


def guided(t, v_c, v_u, p):
    inside = p.get("low", 0) <= t <= p.get("high", 1)
    return v_u + p["w"] * (v_c - v_u) if inside else v_c


def make_ssc(p):
    return gain(SSC(jnp.asarray(p["a"]), jnp.asarray(p["b"])))


def make_kts(p, **shapes):
    return kts(p["alpha0"], p["beta0"], p["tau"], k=p["k"], **shapes)


def make_cfg(p):
    return cfg(p["w"], jnp.zeros(3, jnp.float32))


@dataclasses.dataclass
class Case:
    """`make(numbers)` builds the transform; `velocity` is what it does, in NumPy float64.

    `other` holds numbers that change the result at every time of the tests.
    """

    make: Callable[[dict[str, Any]], Callable]
    velocity: Callable
    numbers: dict[str, float]
    other: dict[str, float]


KTS = (
    {"alpha0": 0.4, "beta0": 0.03, "tau": 0.55, "k": 2.5},
    {
        "alpha0": -0.2,
        "beta0": -0.02,
        "tau": 0.45,
        "k": 3.5,
    },
)
# Each shape once: the phases are independent, and `test_kts_gain.py` has every formula.
SHAPES = (("constant", "linear"), ("exponential", "constant"))  # the default's are in the chain

SSC_NUMBERS = {"a": 0.5, "b": 2.0}, {"a": 0.25, "b": 1.5}

TRANSFORMS = {
    "identity": Case(lambda p: identity(), plain, {}, {}),
    "gain": Case(make_ssc, ssc, *SSC_NUMBERS),
    **{
        f"kts_{launch}_{landing}": Case(
            lambda p, launch=launch, landing=landing: make_kts(p, launch=launch, landing=landing),
            shaped(launch, landing),
            *KTS,
        )
        for launch, landing in SHAPES
    },
    "cfg": Case(make_cfg, guided, {"w": 2.5}, {"w": 1.5}),
    "cfg_interval": Case(
        lambda p: cfg(p["w"], jnp.zeros(3, jnp.float32), interval=(p["low"], p["high"])),
        guided,
        {"w": 2.5, "low": 0.25, "high": 0.7},
        {"w": 3.5, "low": 0.05, "high": 0.95},
    ),
    "cfg_zero_star": Case(
        lambda p: cfg_zero_star(p["w"], jnp.zeros(3, jnp.float32)),
        lambda t, v_c, v_u, p: guided(t, v_c, v_c @ v_u / (v_u @ v_u) * v_u, p),
        {"w": 2.5},
        {"w": 1.5},
    ),
    "guide": Case(
        lambda p: guide(Constant(jnp.asarray(p["o"])), p["w"]),
        lambda t, v_c, v_u, p: p["o"] + p["w"] * (v_c - p["o"]),
        {"o": 0.7, "w": 2.5},
        {"o": -0.4, "w": 1.5},
    ),
    "ssc": Case(lambda p: ssc_of(p["a"], p["b"]), ssc, *SSC_NUMBERS),
    "chain": Case(
        lambda p: chain(make_cfg(p), identity(), chain(make_kts(p), make_ssc(p))),
        lambda t, v_c, v_u, p: ssc(
            t, shaped("linear", "exponential")(t, guided(t, v_c, v_u, p), None, p), None, p
        ),
        {"w": 2.5, "a": 0.5, "b": 2.0, **KTS[0]},
        {"w": 1.5, "a": 0.25, "b": 1.5, **KTS[1]},
    ),
}
pytestmark = pytest.mark.parametrize("case", TRANSFORMS.values(), ids=TRANSFORMS)

RNG = np.random.default_rng(0)
MATRIX, DRIFT = RNG.normal(size=(3, 3)), RNG.normal(size=3)
TIMES = np.array([0.1, 0.3, 0.65, 0.9])
XS, CONDS = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))


def field_of(dtype=np.float32):
    return Labelled(*(jax.device_put(array.astype(dtype)) for array in (MATRIX, DRIFT)))


def inputs(dtype=np.float32):
    return tuple(array.astype(dtype) for array in (TIMES, XS, CONDS))


def rows(*arrays):
    """Sample by sample, as JAX arrays: what a field takes."""
    return zip(*(jax.device_put(list(array)) for array in arrays), strict=True)


def reference(case, p, t, x, cond, matrix=MATRIX, drift=DRIFT):
    unconditional = matrix @ x + t * drift
    return case.velocity(t, unconditional + cond, unconditional, p)


def references(case, p):
    batch = zip(TIMES, XS, CONDS, strict=True)
    return np.stack([reference(case, p, t, x, cond) for t, x, cond in batch])


def traced(p, dtype=jnp.float32):
    return {name: jnp.asarray(number, dtype) for name, number in p.items()}


def test_one_sample(case):
    shaped_field = case.make(case.numbers)(field_of())
    got = [shaped_field(t, x, cond) for t, x, cond in rows(*inputs())]
    np.testing.assert_allclose(got, references(case, case.numbers), rtol=1e-5, atol=1e-5)


def test_jit_and_vmap_with_transform_and_field_as_arguments(case):
    apply = jax.jit(lambda transform, field, *batch: jax.vmap(transform(field))(*batch))
    for p in (case.numbers, case.other):
        got = apply(case.make(p), field_of(), *inputs())
        np.testing.assert_allclose(got, references(case, p), rtol=1e-5, atol=1e-5)
    assert apply._cache_size() == 1  # new numbers do not recompile


def test_gradients_in_its_numbers_and_in_the_fields_leaves(case, x64):
    rng, weights = np.random.default_rng(1), np.array([1.0, -2.0, 0.5])
    t, x, cond = inputs(np.float64)

    def value(p, field):
        return jnp.sum(jax.vmap(case.make(p)(field))(t, x, cond) @ weights)

    def numpy_value(p, matrix, drift):
        batch = zip(TIMES, XS, CONDS, strict=True)
        return sum(weights @ reference(case, p, *row, matrix, drift) for row in batch)

    field = field_of(jnp.float64)
    gradient = jax.jit(jax.grad(value, argnums=(0, 1)))
    by_number, by_field = gradient(traced(case.numbers, float), field)
    step = 1e-6
    for name, number in case.numbers.items():
        up, down = ({**case.numbers, name: number + sign * step} for sign in (1, -1))
        numeric = (numpy_value(up, MATRIX, DRIFT) - numpy_value(down, MATRIX, DRIFT)) / (2 * step)
        np.testing.assert_allclose(by_number[name], numeric, rtol=1e-6, atol=1e-7, err_msg=name)
    d_matrix, d_drift = rng.normal(size=(3, 3)), rng.normal(size=3)
    up, down = (
        numpy_value(case.numbers, MATRIX + sign * step * d_matrix, DRIFT + sign * step * d_drift)
        for sign in (1, -1)
    )
    exact = np.sum(by_field.matrix * d_matrix) + np.sum(by_field.drift * d_drift)
    np.testing.assert_allclose(exact, (up - down) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "x64"), [("float32", 0), ("bfloat16", 0), ("float64", 1)])
def test_dtype_is_kept(case, dtype, x64):
    dtype = jnp.dtype(dtype)
    with jax.enable_x64(bool(x64)):
        times = TIMES.astype(np.float64 if x64 else np.float32)
        numbers = traced(case.numbers, times.dtype)
        shaped_field = case.make(numbers)(field_of(dtype))
        got = [shaped_field(*row) for row in rows(times, XS.astype(dtype), CONDS.astype(dtype))]
        assert {v.dtype for v in got} == {dtype}
        got = np.stack([np.asarray(v, np.float64) for v in got])
    # Guidance subtracts and multiplies, so allow some rounding steps of the largest term.
    tolerance = 64 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got, references(case, case.numbers), rtol=0, atol=tolerance)


def test_pytree_round_trip(case):
    transform = case.make(case.numbers)
    for tree in (transform, transform(field_of())):
        leaves, treedef = jax.tree.flatten(tree)
        assert all(isinstance(leaf, jax.Array) for leaf in leaves)
        again = jax.tree.unflatten(treedef, leaves)
        assert jax.tree.structure(again) == treedef
        result = again(field_of()) if tree is transform else again
        got = [result(*row) for row in rows(*inputs())]
        np.testing.assert_allclose(got, references(case, case.numbers), rtol=1e-5, atol=1e-5)


def test_in_sample(case):
    steps = 10
    x0, cond = inputs()[1:]
    for turn, p in enumerate((case.numbers, case.other)):
        before = len(TRACES)
        result = sample(case.make(p)(field_of()), x0, cond, num_steps=steps)
        # New numbers are new arguments of the same program: the field is not traced again.
        assert turn == 0 or len(TRACES) == before
        for i in range(4):
            x, energy = XS[i], 0.0
            for step in range(steps):
                u = reference(case, p, step / steps, x, CONDS[i])
                x, energy = x + u / steps, energy + u @ u / 2 / steps
            np.testing.assert_allclose(result.x1[i], x, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(result.energy.total[i], energy, rtol=1e-4)
        if "tau" in p:
            fields_own = case.make(p)(field_of()).tau_split
            np.testing.assert_allclose(fields_own, p["tau"], rtol=1e-6)
