"""Checks of user input, shared by every package: a bad value is named before anything compiles."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree


def is_concrete(*trees: Any) -> bool:
    """True if no leaf is a tracer, so that values (not only shapes) may be checked."""
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
    number = real_array(name, value)
    inside = (low <= number) & (number <= high) if closed else (low < number) & (number < high)
    brackets = "[]" if closed else "()"
    interval = f"{brackets[0]}{low:g}, {high:g}{brackets[1]}"
    require(bool(np.all(inside)), name, value, f"lie in {interval}")


def require_finite(name: str, value: ArrayLike) -> None:
    """Checks that every entry of a concrete `value` is finite; tracers pass."""
    if not is_concrete(value):
        return
    array = numbers(name, value)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
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
    """`jax.numpy.asarray(value)`, whatever the order of its bytes.

    Raises:
        ValueError: naming the argument, if that is no array of numbers.
    """
    if isinstance(value, jax.Array):
        is_key = jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)
        require(not is_key, name, short(value), "be an array of numbers")
        return value
    # JAX gives Python's own numbers its default dtypes, and takes lists of tracers.
    plain = isinstance(value, bool | int | float | complex) or not is_concrete(value)
    try:
        return jax.numpy.asarray(value if plain else numbers(name, value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {short(value)}") from error


def as_arrays(name: str, tree: Any) -> Any:
    """A pytree with its leaves as arrays; those of JAX's stay, random keys among them.

    Raises:
        ValueError: naming the argument, if a leaf is no array of numbers.
    """

    def as_leaf(leaf: Any) -> Array:
        return leaf if isinstance(leaf, jax.Array) else as_array(name, leaf)

    return jax.tree.map(as_leaf, tree)


def real_rows(name: str, value: Any) -> Array:
    """`value`, an array of real numbers, as JAX's own; a list is none, as in JAX's functions.

    Raises:
        ValueError: naming the argument, if it is none.
    """
    require(hasattr(value, "shape"), name, short(value), "be an array")
    array = as_array(name, value)
    is_complex = jax.numpy.issubdtype(array.dtype, jax.numpy.complexfloating)
    require(not is_complex, name, f"dtype {array.dtype}", "hold real numbers")
    return array


def numbers(name: str, value: Any) -> np.ndarray:
    """`value` as a NumPy array of numbers, its bytes in native order.

    Raises:
        ValueError: naming the argument, if that is no array of known numbers.
    """
    require_known(name, value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {short(value)}") from error
    if array.dtype.kind not in "biufc" and not jax.numpy.issubdtype(
        array.dtype, jax.numpy.floating
    ):
        # Only now: printing an array takes longer than most statistics of it.
        raise ValueError(f"{name} must be an array of numbers, got {short(value)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def require_known(name: str, value: Any) -> None:
    """Raises for an argument that is traced, where work is driven from the host.

    Raises:
        ValueError: naming the argument.
    """
    if not is_concrete(value):
        raise ValueError(
            f"{name} must be known numbers, got {short(value)}: this is not for use inside jit, "
            "grad, vmap or shard_map"
        )


def real_array(name: str, value: Any) -> np.ndarray:
    """`value` as a NumPy array in float64, for statistics on the host.

    Raises:
        ValueError: naming the argument, if that is no array of known real numbers.
    """
    array = numbers(name, value)
    require(array.dtype.kind != "c", name, f"dtype {array.dtype}", "hold real numbers")
    return array.astype(np.float64)


def real_number(name: str, value: Any) -> float:
    """`value`, one finite real number.

    Raises:
        ValueError: naming the argument, if it is none.
    """
    one = _is_scalar(value)
    array = np.asarray(value) if one else np.zeros(0)
    real = array.dtype.kind in "iuf" or jax.numpy.issubdtype(array.dtype, jax.numpy.floating)
    require(one and real and bool(np.isfinite(array)), name, short(value), "be a finite number")
    return float(array)


def require_flag(name: str, value: Any) -> None:
    """Checks that `value` is True or False."""
    require(isinstance(value, bool | np.bool_), name, short(value), "be True or False")


def fraction(name: str, value: Any) -> float:
    """`value`, one number in (0, 1).

    Raises:
        ValueError: naming the argument, if it is none.
    """
    number = real_number(name, value)
    require(0 < number < 1, name, value, "lie in (0, 1)")
    return number


def whole_number(
    name: str, value: Any, least: int | None = None, most: int | None = None, *, why: str = ""
) -> int:
    """`value`, one whole number from `least` to `most` (`why` says what sets that limit).

    Raises:
        ValueError: naming the argument, if it is none.
    """
    is_whole = _is_whole(value)
    within = is_whole and (least is None or value >= least) and (most is None or value <= most)
    limits = "" if least is None else f" >= {least}" if most is None else f" in [{least}, {most}]"
    require(bool(within), name, short(value), f"be a whole number{limits}{why}")
    return int(value)


def whole_numbers(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """`value`, a list or tuple of whole numbers from `least` on: a shape, say.

    Raises:
        ValueError: naming the argument, if it is none.
    """
    is_list = isinstance(value, tuple | list)
    fits = is_list and all(_is_whole(side) and side >= least for side in value)
    require(fits, name, short(value), f"be a tuple of whole numbers >= {least}")
    return tuple(int(side) for side in value)


def _is_whole(value: Any) -> bool:
    return _is_scalar(value) and np.asarray(value).dtype.kind in "iu"


def _is_scalar(value: Any) -> bool:
    """True for one known number of Python, NumPy or JAX."""
    if isinstance(value, np.ndarray | jax.Array):
        is_key = jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)
        return is_concrete(value) and value.shape == () and not is_key
    return isinstance(value, int | float | np.number)


def short(value: Any, write: Callable[[Any], str] = repr) -> str:
    """A value as `write` has it, cut to fit in a message."""
    text = write(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({type(value).__name__})"


def float_array(value: ArrayLike, name: str) -> Array:
    """`value` as a floating array of JAX's default precision, so that it is traced, not baked in.

    A floating array keeps its dtype; Python numbers and integers get the default one.
    """
    dtype = jax.dtypes.canonicalize_dtype(float)
    if hasattr(value, "dtype") and jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
        dtype = jax.dtypes.canonicalize_dtype(value.dtype.newbyteorder("="))
    # Inside someone's `jit` a number that is known stays known, and so its value is checked.
    known = jax.ensure_compile_time_eval() if is_concrete(value) else contextlib.nullcontext()
    with known:
        if isinstance(value, jax.Array) or not is_concrete(value):
            given: Any = as_array(name, value)
            is_complex = jax.numpy.issubdtype(given.dtype, jax.numpy.complexfloating)
            require(not is_complex, name, short(value), "hold real numbers")
        else:  # by NumPy: JAX would compile a program for a number in every first call
            given = real_array(name, value)
        return jax.numpy.asarray(given, dtype)


def float_scalar(value: ArrayLike, name: str) -> Array:
    """`float_array` of a single number.

    Raises:
        ValueError: if it is an array with axes.
    """
    array = float_array(value, name)
    require(array.shape == (), name, f"shape {array.shape}", "be one number")
    return array


def batch_size(name: str, tree: Any) -> int:
    """The leading axis that all leaves of `tree` share.

    Raises:
        ValueError: if a leaf has no axis, or the leading axes differ.
    """
    leaves = jax.tree.leaves(tree)
    if leaves and all(isinstance(leaf, int | float) for leaf in leaves):
        raise ValueError(
            f"{name} must be an array or a pytree of arrays, got {short(tree)}: pass lists as "
            "jnp.array(...)"
        )
    shapes = [np.shape(leaf) for leaf in leaves]
    require(all(len(shape) >= 1 for shape in shapes), name, shapes, "have a leading batch axis")
    sizes = {shape[0] for shape in shapes}
    require(len(sizes) == 1, name, shapes, "share one leading batch axis")
    return sizes.pop()


def conditions_of(cond: PyTree[Any], size: int, samples: str) -> PyTree[Any]:
    """`cond` as arrays with a row for each sample; a leaf of one row is every sample's.

    Args:
        cond: a pytree with a leading batch axis on every leaf, or None.
        size: the number of samples.
        samples: the name of the argument that has them.

    Raises:
        ValueError: if a leaf has another number of rows.
    """
    if cond is None:
        return None

    def for_each(leaf: Any) -> Any:
        shape = np.shape(leaf)
        if shape[:1] != (1,):
            return leaf
        return jnp.broadcast_to(as_arrays("cond", leaf), (size, *shape[1:]))

    cond = jax.tree.map(for_each, cond)
    given = batch_size("cond", cond)
    require(given == size, "cond", f"{given} rows", f"have as many rows as {samples}, {size}")
    return as_arrays("cond", cond)


def refuse_memmap(name: str, tree: Any) -> None:
    """Raises if a leaf is a NumPy memmap, which a compiled program would read whole into memory."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, np.memmap):
            raise ValueError(
                f"{name} must be in memory, got a numpy.memmap of shape {leaf.shape}: a compiled "
                "program would read all of it; pass the rows it needs as an array"
            )
