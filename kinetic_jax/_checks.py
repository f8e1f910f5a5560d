"""Checks of user input, shared by every package: a bad value is named before anything compiles."""

import contextlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike


def is_concrete(*trees: Any) -> bool:
    """Whether no leaf is a tracer, so that values (not only shapes) may be checked."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def require(condition: bool, name: str, value: Any, expected: str) -> None:
    """Raises `ValueError("<name> must <expected>, got <value>")` unless `condition`."""
    if not condition:
        raise ValueError(f"{name} must {expected}, got {value}")


def require_between(
    name: str, value: ArrayLike, low: float, high: float, *, closed: bool = False
) -> None:
    """Checks that every entry of a concrete `value` lies in the interval; tracers pass."""
    if not is_concrete(value):
        return
    number = np.asarray(value)
    inside = (low <= number) & (number <= high) if closed else (low < number) & (number < high)
    brackets = "[]" if closed else "()"
    interval = f"{brackets[0]}{low:g}, {high:g}{brackets[1]}"
    require(bool(np.all(inside)), name, value, f"lie in {interval}")


def require_finite(name: str, value: ArrayLike) -> None:
    """Checks that every entry of a concrete `value` is finite; tracers pass."""
    if not is_concrete(value):
        return
    bad = np.argwhere(~np.isfinite(np.asarray(value)))
    if len(bad):
        array = np.asarray(value)
        first = tuple(map(int, bad[0]))
        where = f" (at {first}, one of {len(bad)} such entries)" if first else ""
        raise ValueError(f"{name} must be finite, got {array[first]}{where}")


def require_key(name: str, key: Any) -> None:
    """Checks that `key` is ONE JAX random key: a typed one, or its plain integers, as of old."""
    one, got = False, repr(key)
    if isinstance(key, jax.Array | np.ndarray):
        got = f"{key.dtype} of shape {key.shape}"
        if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
            one = key.shape == ()
        else:
            plain = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
            one = (key.shape, key.dtype) == (plain.shape, plain.dtype)
    require(one, name, got, "be one JAX random key, as jax.random.key(0) makes it")


def as_array(name: str, value: Any) -> Array:
    """`jax.numpy.asarray(value)`.

    Raises:
        ValueError: naming the argument, if that is no array of numbers.
    """
    try:
        return jax.numpy.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {_short(value)}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({type(value).__name__})"


def float_array(value: ArrayLike, name: str) -> Array:
    """`value` as a floating array of JAX's default precision, so that it is traced, not baked in.

    A floating array keeps its dtype; Python numbers and integers get the default one.
    """
    dtype = jax.dtypes.canonicalize_dtype(float)
    if hasattr(value, "dtype") and jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
        dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    # Inside someone's `jit` a number that is known stays known, and so its value is checked.
    known = jax.ensure_compile_time_eval() if is_concrete(value) else contextlib.nullcontext()
    try:
        with known:
            # A number is cast by NumPy: JAX would compile a program for it in every first call.
            number = isinstance(value, int | float)
            return jax.numpy.asarray(np.asarray(value, dtype) if number else value, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a number or an array of numbers, got {value!r}"
        ) from error


def float_scalar(value: ArrayLike, name: str) -> Array:
    """`float_array` of a single number.

    Raises:
        ValueError: if it is an array with axes.
    """
    shape = np.shape(value)
    require(shape == (), name, f"shape {shape}", "be one number")
    return float_array(value, name)


def batch_size(name: str, tree: Any) -> int:
    """The leading axis that all leaves of `tree` share.

    Raises:
        ValueError: if a leaf has no axis, or the leading axes differ.
    """
    leaves = jax.tree.leaves(tree)
    if leaves and all(isinstance(leaf, int | float) for leaf in leaves):
        raise ValueError(
            f"{name} must be an array or a pytree of arrays, got {_short(tree)}: pass lists as "
            "jnp.array(...)"
        )
    shapes = [np.shape(leaf) for leaf in leaves]
    require(all(len(shape) >= 1 for shape in shapes), name, shapes, "have a leading batch axis")
    sizes = {shape[0] for shape in shapes}
    require(len(sizes) == 1, name, shapes, "share one leading batch axis")
    return sizes.pop()


def refuse_memmap(name: str, tree: Any) -> None:
    """Raises if a leaf is a NumPy memmap, which a compiled program would read whole into memory."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, np.memmap):
            raise ValueError(
                f"{name} must be in memory, got a numpy.memmap of shape {leaf.shape}: a compiled "
                "program would read all of it; pass the rows it needs as an array"
            )
