"""The shared checks name the argument, whatever they are given."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import _checks, sample
from kinetic_jax._checks import (
    as_array,
    float_array,
    fraction,
    numbers,
    real_array,
    real_number,
)

NEVER = {
    "none": None,
    "text": "0.5",
    "an object": object(),
    "a dictionary": {"a": 1.0},
    "objects": np.array([object()]),
    "ragged": [[1.0], [1.0, 2.0]],
    "dates": np.datetime64("2020"),
    "a key": jax.random.key(0),
}
NO_REAL = NEVER | {"complex": 1j, "complex numbers": np.array([1j])}
NO_NUMBER = NO_REAL | {"a list": [0.5], "nan": np.nan, "truth": True, "infinite": np.inf}
CHECKS = {
    "as_array": NEVER,
    "numbers": NEVER,
    "require_finite": NEVER | {"nan": [1.0, np.nan]},
    "real_array": NO_REAL,
    "require_between": NO_REAL | {"nan": [0.5, np.nan]},
    "float_array": NO_REAL,
    "float_scalar": NO_REAL | {"a list": [0.5]},
    "real_number": NO_NUMBER,
    "fraction": NO_NUMBER | {"zero": 0, "one": 1.0},
    "whole_number": NO_NUMBER | {"a fraction": 0.5, "a float": 2.0, "too low": 0, "too high": 10},
}
MORE = {"whole_number": (1, 9), "require_between": (0.0, 1.0)}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.usefixtures("own_messages")
def test_the_argument_is_named(check):
    for value in CHECKS[check].values():
        pair = (value, "x") if check.startswith("float_") else ("x", value)
        with pytest.raises(ValueError, match=r"^x must "):
            getattr(_checks, check)(*pair, *MORE.get(check, ()))


def test_numbers_of_every_kind_are_taken():
    for value in (1, 1.0, np.float32(1), np.array(1, ">i2"), jnp.ones(()), jnp.bfloat16(1)):
        assert real_number("x", value) == 1.0
        assert float_array(value, "x") == 1.0
    for value in (2, np.int64(2), np.array(2, ">u2"), jnp.array(2)):
        assert _checks.whole_number("x", value, 1, 9) == 2
    assert fraction("x", jnp.float32(0.5)) == 0.5


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">u4", "<f4"])
def test_either_order_of_bytes(dtype):
    rows = np.arange(3).astype(dtype)
    for array in (as_array("x", rows), float_array(rows, "x"), real_array("x", rows)):
        np.testing.assert_array_equal(array, [0, 1, 2])


def test_a_limit_says_what_sets_it():
    message = "k must be a whole number in [1, 9], the rows, got 10"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        _checks.whole_number("k", 10, 1, 9, why=", the rows")


def test_what_is_traced_is_refused_where_numbers_must_be_known():
    with pytest.raises(ValueError, match=r"^x must be concrete, got .* not for use inside jit"):
        jax.jit(lambda x: real_array("x", x))(jnp.ones(2))


def test_values_are_printed_in_errors_alone(monkeypatch):
    """Printing an array waits for the device: no check of a good argument does it."""
    x0 = jnp.ones((4, 2))

    def printed(array):
        raise AssertionError("printed")

    monkeypatch.setattr(type(x0), "__repr__", printed)
    assert sample(lambda t, x, cond: x, x0, num_steps=2).x1.shape == (4, 2)
    assert numbers("x", x0).shape == (4, 2)
