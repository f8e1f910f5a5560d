"""Plain functions in programs: what is traced, what is shared, what is let go."""

import dataclasses
import functools
import gc
import itertools
import os
import sysconfig
import time
import types
import weakref
from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import kinetic_jax
from kinetic_jax import gain, sample
from kinetic_jax._open import _CONSTANTS, _is_installed, call_opened, opened
from kinetic_jax._pytree import as_pytree
from kinetic_jax._template import Held

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


class Scale:
    """An object that stands for a number."""

    def __init__(self, number):
        self.number = number

    def __mul__(self, x):
        return self.number * x


CAN_HOLD_OBJECTS = [holder for holder in HOLDERS if holder is not in_an_nnx_module]
PAIRS = list(itertools.combinations_with_replacement(CAN_HOLD_OBJECTS, 2))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_is_held_in_two_ways_is_one(one, other):
    """Neither way depends on the order in which a function is read and built."""
    scale = Scale(jnp.float32(3.0))
    first, second = one(Traces(), scale)[0], other(Traces(), scale)[0]
    names = {"first": first, "scale": scale}
    code = "def sum_of(second): return lambda x, again=first: first(x) + second(x) + scale * x"
    exec(code, names)
    function = opened(names["sum_of"](second))
    assert sum(leaf is scale.number for leaf in jax.tree.leaves(function)) == 1
    assert float(jax.jit(lambda f, x: f(x))(function, jnp.float32(2.0))) == 18.0


def test_a_function_is_both_a_global_and_in_a_closure():
    names = {"weight": jnp.full(3, 2.0)}
    code = """
def helper(x):
    return weight * x
def make(inner):
    def field(t, x, cond=None):
        return helper(x) + inner(x)
    return field
"""
    exec(code, names)
    found = sample(names["make"](names["helper"]), X0, num_steps=2)
    np.testing.assert_allclose(found.x1, 9.0 * X0)


@pytest.mark.parametrize("integer", [np.array, jnp.array])
def test_integers_in_arrays_may_be_bounds_and_shapes(integer):
    count, shape, order = integer(2), integer([3, 1]), integer([2, 0, 1])
    assert value(lambda x: jnp.sum((x * jnp.ones(3)).at[:count].set(0.0))) == 2.0
    assert value(lambda x: jnp.sum((x * jnp.ones(3)).reshape(np.asarray(shape)))) == 6.0
    assert value(lambda x: sum(x for _ in range(count))) == 4.0
    assert value(lambda x: (x * jnp.arange(3.0))[order][0]) == 4.0


def test_a_numpy_array_may_be_a_shape():
    shape = np.array([3, 1])
    assert value(lambda x: jnp.sum((x * jnp.ones(3)).reshape(shape))) == 6.0


def test_a_small_numpy_array_is_one_and_may_change():
    held = np.array([3.0, 1.0], np.float32)

    def function(x):
        return x * held[0] if isinstance(held, np.ndarray) else 0 * x

    assert value(function) == 6.0
    held[0] = 5.0
    assert value(function) == 10.0


@pytest.mark.parametrize(
    "needed",
    [np.ones(2000, np.float32), jnp.ones(3, int), np.ones((2, 3, 4))],
    ids=["large", "integers", "small"],
)
def test_weights_stay_arguments_beside_numbers_that_are_needed(needed):
    traces = Traces()

    def make(weight):
        def function(x):
            scale = float(np.ravel(needed)[0])
            traces.update(["traces"])
            return scale * weight * x

        return function

    assert value(make(jnp.float32(3.0))) == 6.0
    before = traces["traces"]
    assert value(make(jnp.float32(5.0))) == 10.0
    assert traces["traces"] == before


def test_an_error_of_the_function_itself_is_raised():
    weight = jnp.ones(3)

    def function(x):
        raise TypeError("mine", weight.shape)

    known = dict(_CONSTANTS)
    with pytest.raises(TypeError, match="mine") as caught:
        value(function)
    assert known == _CONSTANTS
    assert caught.value.__context__ is None


def test_a_large_constant_is_compared_by_its_digest():
    held = np.ones(2_500_000)
    template = opened(lambda x: held.sum() * x, 2).template
    keys = [static.key for _, static, _ in template.nodes if isinstance(static, Held)]
    assert max(len(repr(key)) for key in keys) < 1000
    before, held[-1] = template, 2.0
    assert opened(lambda x: held.sum() * x, 2).template != before


def test_what_numpy_computes_with_is_a_constant_that_may_change():
    """NumPy's functions need the numbers themselves: its arrays may change in place, JAX's not."""
    table, shift = np.array([3.0, 1.0], np.float32), {"by": jnp.float32(1.0)}

    def function(x):
        return np.sum(table) * x + float(shift["by"])

    assert value(function) == 9.0
    table[0] = 5.0
    assert value(function) == 13.0
    shift["by"] = jnp.float32(2.0)
    assert value(function) == 14.0


def test_a_function_that_needs_its_argument_fails_as_under_jit():
    weight = jnp.float32(1.0)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        value(lambda x: x if x > 0 else weight)


@pytest.mark.parametrize("note", [lambda x: 1, lambda x: x.dtype, lambda x: x, lambda x: [x]])
def test_notes_in_a_list_are_kept_and_compile_nothing_again(note):
    seen, weight = [], jnp.float32(3.0)

    def function(x):
        seen.append(note(x))
        return weight * x

    assert [value(function) for _ in range(3)] == [6.0] * 3
    assert len(seen) == 1


@pytest.mark.parametrize("notes", [[1.0], {"count": 0}], ids=["list", "dict"])
def test_notes_that_began_before_compile_once_more_at_most(notes):
    traces, weight = Traces(), jnp.float32(3.0)

    def function(x):
        traces.update(["traces"])
        if isinstance(notes, dict):
            notes["count"] += 1
        else:
            notes.append(1.0)
        return weight * x

    assert [value(function) for _ in range(4)] == [6.0] * 4
    assert traces["traces"] <= 2


@pytest.mark.parametrize("nest", [list, lambda held: [held], lambda held: {"n": (held,)}])
def test_a_number_in_a_list_is_seen_when_it_changes(nest):
    numbers, weight = [3.0], jnp.float32(1.0)
    owner = Scale(numbers if nest is list else nest(numbers))

    def function(x):
        return weight * x * jax.tree.leaves(owner.number)[0]

    assert value(function) == 6.0
    numbers[0] = -1.0
    assert value(function) == -2.0


@pytest.mark.parametrize(
    "held",
    [
        dict.fromkeys(range(50_000), 1.0),
        [0.5] * 200_000,
        {n: [(1.0, "word"), {"rank": n}] for n in range(20_000)},
    ],
    ids=["dict", "list", "records"],
)
def test_a_long_container_without_arrays_costs_nothing(held):
    weight = jnp.float32(3.0)

    def function(x):
        return weight * x + 0 * len(held)

    assert value(function) == 6.0
    begin = time.perf_counter()
    opened(function)
    assert time.perf_counter() - begin < 0.1  # a second or more if every item is read


def test_a_long_container_with_arrays_is_read():
    layers = [{"weight": jnp.float32(1.0)} for _ in range(300)]
    assert len(jax.tree.leaves(opened(lambda x: layers[299]["weight"] * x))) == 300


def test_deeply_nested_functions_are_opened():
    function = weight = jnp.float32(3.0)
    for _ in range(2000):
        function = (lambda inner: lambda x: inner)(function)
    assert jax.tree.leaves(opened(function)) == [weight]


def test_installed_files_lie_inside_a_folder_of_packages():
    package = os.path.dirname(kinetic_jax.__file__)
    assert _is_installed(os.path.join(package, "field.py"))
    assert _is_installed(os.path.join(sysconfig.get_path("purelib"), "jax", "numpy.py"))
    assert not _is_installed(package + "_experiments/field.py")


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


def in_a_class(number):
    kind = type("Model", (), {"number": number})
    return lambda: kind.number, functools.partial(setattr, kind, "number")


def in_a_slot(number):
    model = type("Model", (), {"__slots__": ("number",)})()
    model.number = number
    return lambda: model.number, functools.partial(setattr, model, "number")


def in_a_namespace(number):
    names = types.SimpleNamespace(number=number)
    return lambda: names.number, functools.partial(setattr, names, "number")


def in_a_python_module(number):
    module = types.ModuleType("settings")
    module.number = number
    return lambda: module.number, functools.partial(setattr, module, "number")


def in_a_long_list(number):
    held = [number] * 300
    return lambda: held[299], functools.partial(held.__setitem__, 299)


@pytest.mark.parametrize(
    "hold", [in_a_class, in_a_slot, in_a_namespace, in_a_python_module, in_a_long_list]
)
def test_other_holders_are_read_once_as_under_jit(hold):
    read, change = hold(3.0)

    def function(x):
        return read() * x

    assert value(function) == 6.0
    change(5.0)
    assert value(function) == 6.0


def test_an_object_without_arrays_is_used_itself_in_a_later_trace():
    """The program of an equal object that is gone is not built around that one."""

    def make():
        scale, weight = Scale(3.0), jnp.float32(2.0)
        return lambda x: weight * (scale * x)

    for length in (1, 2, 3):
        found = call_opened(value_of, as_pytree(make()), jnp.ones(length))
        np.testing.assert_array_equal(found, 6.0)
        gc.collect()


def test_an_object_that_is_not_opened_is_itself():
    class Slotted:
        __slots__ = ("number",)

    marker = Slotted()
    marker.number = 3.0
    names = types.SimpleNamespace(marker=marker)
    assert value(lambda x: x if names.marker is marker else 0 * x) == 2.0


def test_a_gradient_and_a_map_reach_what_is_closed_over():
    def loss(w):
        return call_opened(value_of, lambda x: w**2 * x, jnp.float32(2.0))

    assert float(jax.grad(loss)(jnp.float32(3.0))) == 12.0
    assert jax.vmap(loss)(jnp.arange(3.0)).tolist() == [0.0, 2.0, 8.0]


def test_an_array_is_one_leaf_however_often_it_is_held():
    weight = jnp.ones(3)

    def inner(x):
        return weight @ x

    assert len(jax.tree.leaves(opened(lambda x: inner(x) + weight @ x))) == 1


@pytest.mark.long
def test_what_a_field_closes_over_is_let_go():
    """200 calls: no array, no function, no object that held one is alive after, and one program."""

    class Model:
        def __init__(self, weight):
            self.weight = weight

    traces, held = Traces(), []

    def one(i):
        weight, model = jnp.full(3, float(i)), Model(np.full((1000, 3), float(i), np.float32))

        def field(t, x, cond=None):
            traces.update(["traces"])
            return weight * x + model.weight[0]

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
