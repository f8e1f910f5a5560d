"""Programs have no baked-in arrays, and are compiled once."""

import contextlib
from collections import Counter

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import kts, sample
from kinetic_jax._open import opened

MODES = {
    "fixed": {"solver": diffrax.Heun(), "num_steps": 10},
    "fixed, saved": {"num_steps": 10, "save_at": np.array([0.25, 0.5])},
    "adaptive": {"controller": diffrax.PIDController(rtol=1e-4, atol=1e-4), "max_steps": 32},
}


class Traced(eqx.Module):
    """Counts how often Python runs it: once or so a compilation, never a call."""

    weight: jax.Array
    counter: Counter = eqx.field(static=True)

    def __call__(self, t, x, cond=None):
        self.counter.update(["traces"])
        return self.weight @ x + (0.0 if cond is None else cond)


class Identified(Counter):
    """Hashable, so that it may be a static field."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.mark.long
@pytest.mark.parametrize("name", ["fixed", "adaptive"])
def test_other_numbers_do_not_compile_again(normal, name):
    counter = Identified()

    def run(seed, alpha0, beta0, tau, k):
        field = Traced(normal(seed, 2, 2), counter)
        shaped = kts(alpha0, beta0, tau, k=k)(field)
        return sample(
            shaped, normal(seed, 3, 2), np.full((3, 2), alpha0, np.float32), **MODES[name]
        )

    first = run(0, 0.1, 0.01, 0.6, 3.0)
    traces = counter["traces"]
    assert traces >= 1
    second = run(1, 0.3, 0.02, 0.4, 2.0)
    assert counter["traces"] == traces
    assert not np.allclose(first.x1, second.x1)


def test_another_grid_of_as_many_steps_does_not_compile_again(normal):
    counter = Identified()
    field = Traced(normal(0, 2, 2), counter)
    x0 = normal(1, 3, 2)
    sample(field, x0, num_steps=10)
    traces = counter["traces"]
    sample(field, x0, num_steps=10, grid="cosine")
    sample(field, x0, grid=np.linspace(0, 0.5, 11), t1=0.5, tau_split=0.3)
    assert counter["traces"] == traces


def closure(weight, counter=None):
    def field(t, x, cond=None):
        if counter is not None:
            counter.update(["traces"])
        return weight @ x

    return field


@pytest.fixture
def compilations():
    """Counts the programs that are compiled inside its context."""

    @contextlib.contextmanager
    def counting():
        events = []

        def note(event, *args, **kwargs):
            return events.append(event)

        jax.monitoring.register_event_duration_secs_listener(note)
        name = "/jax/core/compile/backend_compile_duration"
        try:
            yield lambda: events.count(name)
        finally:
            jax.monitoring.unregister_event_duration_listener(note)

    return counting


def test_closed_over_arrays_become_leaves(normal):
    """Not constants of the program: those are compiled in, and held twice."""
    weight, x0 = jnp.asarray(normal(0, 64, 64)), jnp.asarray(normal(1, 2, 64))
    field = opened(closure(weight))
    assert [leaf.shape for leaf in jax.tree.leaves(field)] == [(64, 64)]
    time = jnp.float32(0.3)
    np.testing.assert_allclose(field(time, x0[0]), weight @ x0[0], rtol=1e-6)
    text = jax.jit(lambda f, x: f(time, x)).lower(eqx.filter(field, eqx.is_array), x0[0])
    assert "dense<" not in text.as_text().replace("dense<0.3", "")


def test_a_closure_samples_like_the_module_it_stands_for(normal):
    weight, x0 = jnp.asarray(normal(0, 2, 2)), normal(1, 3, 2)
    counter = Identified()
    plain = closure(weight, counter)
    hoisted = sample(kts(0.2, 0.01, 0.35)(plain), x0, num_steps=20)
    expected = sample(kts(0.2, 0.01, 0.35)(Traced(weight, Identified())), x0, num_steps=20)
    for left, right in zip(jax.tree.leaves(hoisted), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)


def five_steps(weight, x, shift=0.0):
    """x' = W x + shift by Euler steps, in float64."""
    x, weight = x.astype(np.float64), np.asarray(weight, np.float64)
    for _ in range(5):
        x = x + (x @ weight.T + shift) / 5
    return x


@pytest.mark.long
def test_one_call_is_one_program(normal, compilations):
    """The numbers that it takes are converted without programs of their own."""
    x0 = normal(0, 3, 2)
    shaped = kts(0.1, 0.02, 0.55, k=2.5)(lambda t, x, cond: jnp.tanh(x) - t)
    jax.clear_caches()  # of the tiny programs that other tests have compiled, too
    with compilations() as count:
        sample(shaped, x0, grid=np.linspace(0, 1, 5), tau_split=0.3, t1=1.0)
    assert count() == 1


def test_a_closure_is_sampled_with_what_it_holds_now(normal, compilations):
    """Train, sample, train, sample: no stale weights, and no second program."""
    held = {"weight": jnp.asarray(normal(0, 2, 2))}
    field, x0 = lambda t, x, cond=None: held["weight"] @ x, normal(1, 3, 2)
    sample(field, x0, num_steps=5)
    held["weight"] = 3 * held["weight"]
    with compilations() as count:
        again = sample(field, x0, num_steps=5)
    assert count() == 0
    np.testing.assert_allclose(again.x1, five_steps(held["weight"], x0), rtol=1e-5)


def in_a_loop(held):
    def inner():
        return jax.jit(lambda x: held["weight"] @ x)

    return lambda t, x, cond=None: jax.lax.fori_loop(0, 1, lambda i, y: inner()(y), x)


def in_a_branch(held):
    def inner():
        return jax.jit(lambda x: held["weight"] @ x)

    return lambda t, x, cond=None: jax.lax.cond(t < 2, inner(), lambda y: y, x)


def in_a_host_function(held):
    def field(t, x, cond=None):
        weight = np.asarray(held["weight"])

        def product(y):
            return weight @ np.asarray(y)

        return jax.pure_callback(product, x, x, vmap_method="sequential")

    return field


def in_a_rule(held):
    def field(t, x, cond=None):
        product = jax.custom_batching.custom_vmap(lambda x: held["weight"] @ x)
        product.def_vmap(lambda size, mapped, x: (x @ held["weight"].T, True))
        return product(x)

    return field


@pytest.mark.parametrize("other", [False, True], ids=["alone", "beside another array"])
@pytest.mark.parametrize("field", [in_a_loop, in_a_branch, in_a_rule, in_a_host_function])
def test_what_an_inner_program_holds_now(normal, compilations, field, other):
    held, x0 = {"weight": jnp.asarray(normal(0, 2, 2))}, normal(1, 3, 2)
    kept = field in (in_a_loop, in_a_branch)
    field, shift = field(held), jnp.ones(2)
    shifted = (lambda t, x, cond=None: field(t, x, cond) + shift) if other else field
    sample(shifted, x0, num_steps=5)
    held["weight"] = 3 * held["weight"]
    again = sample(shifted, x0, num_steps=5)
    np.testing.assert_allclose(again.x1, five_steps(held["weight"], x0, other), rtol=1e-5)
    with compilations() as count:
        sample(shifted, x0, num_steps=5)
    # A function of Python that was made anew may do something else.
    assert count() == 0 or not kept


def test_a_gradient_reaches_a_closed_over_array(normal):
    x0 = normal(1, 3, 2)

    def energy(weight):
        return jnp.sum(sample(closure(weight), x0, num_steps=5).energy.total)

    def spelled(weight):
        field = Traced(weight, Identified())
        return jnp.sum(sample(field, x0, num_steps=5).energy.total)

    found, expected = (jax.jit(jax.grad(fn))(normal(0, 2, 2)) for fn in (energy, spelled))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
