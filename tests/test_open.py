"""Plain functions in programs: what is traced, what is shared, what is let go."""

import dataclasses
import functools
import gc
import types
import weakref
from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import gain, sample
from kinetic_jax._open import call_opened, opened
from kinetic_jax._pytree import as_pytree

X0 = np.ones((2, 3), np.float32)


class Traces(Counter):
    """Counts how often a function is traced; passed itself, as an object without arrays."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@eqx.filter_jit
def value_of(function, x):
    return function(x)


def value(function, x=2.0):
    return float(call_opened(value_of, as_pytree(function), jnp.float32(x)))


# Ways in which a function holds a number in an array: each returns it and a way to change it.
def in_a_cell(traces, number):
    def function(x):
        traces.update(["traces"])
        return number * x

    def change(new):
        nonlocal number
        number = new

    return function, change


def in_a_dict(traces, number):
    held = {"number": number, 7: "not sorted by JAX"}

    def function(x):
        traces.update(["traces"])
        return held["number"] * x

    return function, functools.partial(held.__setitem__, "number")


def in_a_global(traces, number):
    names = {"traces": traces, "number": number, "__name__": "somewhere"}
    code = """
def helper(x):
    return number * x
def function(x):
    traces.update(["traces"])
    return (lambda: helper(x))()
"""
    exec(code, names)
    return names["function"], functools.partial(names.__setitem__, "number")


def in_a_default(traces, number):
    def function(x, number=number):
        traces.update(["traces"])
        return number * x

    return function, lambda new: setattr(function, "__defaults__", (new,))


def in_an_object(traces, number):
    class Model:
        def __init__(self):
            self.number, self.owner = number, self

        def velocity(self, x):
            traces.update(["traces"])
            return self.owner.number * x

    model = Model()
    return model.velocity, functools.partial(setattr, model, "number")


def in_a_callable_dataclass(traces, number):
    @dataclasses.dataclass
    class Model:
        number: jax.Array

        def __call__(self, x):
            traces.update(["traces"])
            return self.number * x

    model = Model(number)
    return model, functools.partial(setattr, model, "number")


def in_an_nnx_module(traces, number):
    class Model(nnx.Module):
        def __init__(self):
            self.number = nnx.Param(number)

        def __call__(self, x):
            traces.update(["traces"])
            return self.number[...] * x

    model = Model()
    return lambda x: model(x), lambda new: model.number.set_value(new)


def in_an_inner_jit(traces, number):
    held = [number]
    inner = jax.jit(lambda x: held[0] * x)

    def function(x):
        traces.update(["traces"])
        return inner(x)

    return function, functools.partial(held.__setitem__, 0)


def in_a_recursive_function(traces, number):
    def function(x, depth=2):
        traces.update(["traces"] if depth == 2 else [])
        return number * x if depth == 0 else function(x, depth - 1)

    def change(new):
        nonlocal number
        number = new

    return function, change


def in_a_partial(traces, number):
    function, change = in_a_dict(traces, number)
    return functools.partial(lambda scale, x: scale * function(x), jnp.float32(1.0)), change


def in_a_vmapped_function(traces, number):
    function, change = in_a_cell(traces, number)
    mapped = jax.vmap(function)
    return lambda x: mapped(x[None])[0], change


HOLDERS = [
    in_a_cell,
    in_a_dict,
    in_a_global,
    in_a_default,
    in_an_object,
    in_a_callable_dataclass,
    in_an_nnx_module,
    in_an_inner_jit,
    in_a_recursive_function,
    in_a_partial,
    in_a_vmapped_function,
]


@pytest.mark.parametrize("hold", HOLDERS)
def test_an_array_is_traced_and_seen_when_it_changes(hold):
    traces = Traces()
    function, change = hold(traces, jnp.float32(3.0))
    assert value(function) == 6.0
    before = traces["traces"]
    assert before >= 1
    change(jnp.float32(-1.0))
    assert value(function) == -2.0
    assert traces["traces"] == before


@pytest.mark.parametrize("hold", [in_a_cell, in_a_dict, in_an_object])
def test_a_python_number_is_seen_when_it_changes(hold):
    function, change = hold(Traces(), 3.0)
    assert value(function) == 6.0
    change(-1.0)
    assert value(function) == -2.0


@pytest.mark.parametrize("hold", [in_a_cell, in_a_global, in_a_partial, in_an_inner_jit])
def test_functions_of_the_same_code_share_a_program(hold):
    traces = Traces()
    assert value(hold(traces, jnp.float32(3.0))[0]) == 6.0
    before = traces["traces"]
    assert value(hold(traces, jnp.float32(5.0))[0]) == 10.0
    assert traces["traces"] == before


def test_what_numpy_computes_with_is_a_constant_that_may_change():
    """NumPy's functions need the numbers themselves: its arrays may change in place, JAX's not."""
    table, shift = np.array([3.0, 1.0], np.float32), {"by": jnp.float32(1.0)}
    function = lambda x: np.sum(table) * x + float(shift["by"])  # noqa: E731
    assert value(function) == 9.0
    table[0] = 5.0
    assert value(function) == 13.0
    shift["by"] = jnp.float32(2.0)
    assert value(function) == 14.0


def test_a_function_that_needs_its_argument_fails_as_under_jit():
    weight = jnp.float32(1.0)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        value(lambda x: x if x > 0 else weight)


def test_a_list_without_arrays_is_passed_itself():
    """So that what a function notes in it, when it is traced, is seen; it changes no program."""
    seen, weight = [], jnp.float32(3.0)

    def function(x):
        seen.append(x.dtype)
        return weight * x

    assert [value(function), value(function)] == [6.0, 6.0]
    assert seen == [jnp.float32]


def test_a_call_does_not_change_the_callers_model():
    class Counting(nnx.Module):
        def __init__(self):
            self.calls = nnx.Variable(jnp.int32(0))

        def __call__(self, x):
            self.calls.set_value(self.calls[...] + 1)
            return 3.0 * x

    model = Counting()
    assert value(lambda x: model(x)) == 6.0
    assert int(model.calls[...]) == 0


def test_an_object_that_is_not_opened_is_itself():
    class Slotted:
        __slots__ = ("number",)

    marker = Slotted()
    marker.number = 3.0
    names = types.SimpleNamespace(marker=marker)
    assert value(lambda x: x if names.marker is marker else 0 * x) == 2.0


def test_a_gradient_and_a_map_reach_what_is_closed_over():
    loss = lambda w: call_opened(value_of, lambda x: w**2 * x, jnp.float32(2.0))  # noqa: E731
    assert float(jax.grad(loss)(jnp.float32(3.0))) == 12.0
    assert jax.vmap(loss)(jnp.arange(3.0)).tolist() == [0.0, 2.0, 8.0]


def test_an_array_is_one_leaf_however_often_it_is_held():
    weight = jnp.ones(3)
    inner = lambda x: weight @ x  # noqa: E731
    assert len(jax.tree.leaves(opened(lambda x: inner(x) + weight @ x))) == 1


def test_what_a_field_closes_over_is_let_go():
    """200 calls: no array, no function, no object that held one is alive after, and one program."""

    class Model:
        def __init__(self, weight):
            self.weight = weight

    traces, held = Traces(), []

    def one(i):
        weight, model = jnp.full(3, float(i)), Model(np.full(3, float(i), np.float32))

        def field(t, x, cond=None):
            traces.update(["traces"])
            return weight * x + model.weight

        shaped = gain(lambda t: 1.0 + 0 * weight[0])(field)
        sample(shaped, X0, num_steps=2)
        held.extend(map(weakref.ref, (weight, model, model.weight, field)))

    one(0)
    before = traces["traces"]
    for i in range(200):
        one(i)
    gc.collect()
    assert sum(thing() is not None for thing in held) == 0
    assert traces["traces"] == before


def test_a_hundred_functions_without_arrays_are_one_program():
    traces = Traces()

    def one():
        def field(t, x, cond=None):
            traces.update(["traces"])
            return x

        sample(field, X0, num_steps=2)

    one()
    before = traces["traces"]
    for _ in range(100):
        one()
    assert traces["traces"] == before
