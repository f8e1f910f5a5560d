"""Checks of arguments: each raises a `ValueError` that names the argument before compilation."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import issubdtype
from jaxtyping import Array, ArrayLike, PyTree

T = TypeVar("T")


def is_concrete(*trees: PyTree) -> bool:
    """True if no leaf is a tracer, so that values (not only shapes) may be checked."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def require(condition: bool, name: str, value: object, expected: str) -> None:
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
    interval = f"[{low:g}, {high:g}]" if closed else f"({low:g}, {high:g})"
    require(bool(np.all(inside)), name, value, f"lie in {interval}")


def require_finite(name: str, value: ArrayLike) -> None:
    """Checks that every entry of a concrete `value` is finite; tracers pass."""
    if not is_concrete(value):
        return
    array = numbers(name, value)
    not_finite = np.argwhere(~np.isfinite(array))
    if len(not_finite):
        first = tuple(map(int, not_finite[0]))
        position = f" (at {first}, one of {len(not_finite)} such entries)" if first else ""
        raise ValueError(f"{name} must be finite, got {array[first]}{position}")


def require_key(name: str, key: object) -> None:
    """Checks that `key` is ONE random key: a typed one, or the integers of `jax.random.PRNGKey`."""
    is_key = False
    got: object = short(key)
    if isinstance(key, jax.Array | np.ndarray):
        got = f"{key.dtype} of shape {key.shape}"
        if issubdtype(key.dtype, jax.dtypes.prng_key):
            is_key = key.shape == ()
        else:
            raw = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
            is_key = (key.shape, key.dtype) == (raw.shape, raw.dtype)
    require(is_key, name, got, "be one JAX random key, as jax.random.key(0) makes it")


def as_array(name: str, value: object) -> Array:
    """`jax.numpy.asarray(value)` for numbers in either byte order."""
    if isinstance(value, jax.Array):
        is_extended = issubdtype(value.dtype, jax.dtypes.extended)
        require(not is_extended, name, short(value), "be an array of numbers")
        return value
    # JAX gives Python's own numbers its default dtypes, and takes lists of tracers.
    by_jax = isinstance(value, bool | int | float | complex) or not is_concrete(value)
    with _refusing_others(name, value):
        if by_jax:
            return jnp.asarray(value)
        # Without the dtype, and for another one, JAX compiles a program for each shape.
        array = numbers(name, value)
        dtype = jax.dtypes.canonicalize_dtype(array.dtype)
        return jnp.asarray(array.astype(dtype, copy=False), dtype)


def as_arrays(name: str, tree: PyTree) -> PyTree[Array]:
    """A pytree with its leaves as arrays; JAX arrays stay, random keys among them."""
    return jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, jax.Array) else as_array(name, leaf), tree
    )


def real_rows(name: str, value: object) -> Array:
    """`value`, an array of real numbers, as a JAX array; lists are refused, as JAX does."""
    require(hasattr(value, "shape"), name, short(value), "be an array")
    array = as_array(name, value)
    _require_real(name, array, f"dtype {array.dtype}")
    return array


def numbers(name: str, value: object) -> np.ndarray:
    """`value`, known numbers, as a NumPy array in native byte order."""
    require_known(name, value)
    with _refusing_others(name, value):
        array = np.asarray(value)
    is_number = array.dtype.kind in "biufc" or issubdtype(array.dtype, jnp.floating)
    require(is_number, name, short(value), "be an array of numbers")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def _refusing_others(name: str, value: object) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {short(value)}") from error


def _require_real(name: str, array: Array | np.ndarray, got: object) -> None:
    require(not issubdtype(array.dtype, jnp.complexfloating), name, got, "hold real numbers")


def require_known(name: str, value: PyTree) -> None:
    """Refuses a traced argument, where work is driven from the host."""
    if not is_concrete(value):
        raise ValueError(
            f"{name} must be concrete, got {short(value)}: this is not for use inside jit, "
            "grad, vmap or shard_map"
        )


def real_array(name: str, value: object) -> np.ndarray:
    """`value`, known real numbers, as a float64 NumPy array, for statistics on the host."""
    array = numbers(name, value)
    _require_real(name, array, f"dtype {array.dtype}")
    return array.astype(np.float64)


def real_number(name: str, value: object) -> float:
    """`value`, one finite real number."""
    if _is_scalar(value):
        number = np.asarray(value)
        is_real = number.dtype.kind in "iuf" or issubdtype(number.dtype, jnp.floating)
        if is_real and np.isfinite(number):
            return float(number)
    raise ValueError(f"{name} must be a finite number, got {short(value)}")


def require_flag(name: str, value: object) -> None:
    """Checks that `value` is True or False."""
    require(isinstance(value, bool | np.bool_), name, short(value), "be True or False")


def fraction(name: str, value: object) -> float:
    """`value`, one number in (0, 1)."""
    number = real_number(name, value)
    require(0 < number < 1, name, value, "lie in (0, 1)")
    return number


def whole_number(
    name: str, value: object, least: int | None = None, most: int | None = None, *, why: str = ""
) -> int:
    """`value`, one whole number from `least` to `most`; `why` says what sets that limit."""
    if _is_integer(value):
        number = int(np.asarray(value))
        if (least is None or number >= least) and (most is None or number <= most):
            return number
    limits = "" if least is None else f" >= {least}" if most is None else f" in [{least}, {most}]"
    raise ValueError(f"{name} must be a whole number{limits}{why}, got {short(value)}")


def whole_numbers(name: str, value: object, least: int = 1) -> tuple[int, ...]:
    """`value`, a list or tuple of whole numbers from `least` on, such as a shape."""
    if isinstance(value, tuple | list) and all(_is_integer(n) and n >= least for n in value):
        return tuple(int(number) for number in value)
    raise ValueError(f"{name} must be a tuple of whole numbers >= {least}, got {short(value)}")


def _is_integer(value: object) -> bool:
    return _is_scalar(value) and np.asarray(value).dtype.kind in "iu"


def _is_scalar(value: object) -> bool:
    """True for one known number of Python, NumPy or JAX."""
    if isinstance(value, np.ndarray | jax.Array):
        is_extended = issubdtype(value.dtype, jax.dtypes.extended)
        return is_concrete(value) and value.shape == () and not is_extended
    return isinstance(value, int | float | np.number)


class _Short(Generic[T]):
    def __init__(self, value: T, write: Callable[[T], str]):
        self._value, self._write = value, write

    def __str__(self) -> str:
        text = self._write(self._value)
        return text if len(text) <= 60 else f"{text[:50]}... ({type(self._value).__name__})"


def short(value: T, write: Callable[[T], str] = repr) -> _Short[T]:
    """The text of a value by `write`, cut to fit in a message, and written when that is.

    Printing an array waits for the device, and takes longer than most work on it.
    """
    return _Short(value, write)


def float_array(value: ArrayLike, name: str) -> Array:
    """`value` as a floating array that is traced and not compiled in as a constant.

    A floating array keeps its dtype; Python numbers and integers get JAX's default one.
    """
    dtype = jax.dtypes.canonicalize_dtype(float)
    if hasattr(value, "dtype") and issubdtype(value.dtype, jnp.floating):
        dtype = jax.dtypes.canonicalize_dtype(value.dtype.newbyteorder("="))
    # A number that is known inside someone's `jit` stays known, so that its value is checked.
    known = jax.ensure_compile_time_eval() if is_concrete(value) else contextlib.nullcontext()
    with known:
        if isinstance(value, jax.Array) or not is_concrete(value):
            array = as_array(name, value)
            _require_real(name, array, short(value))
            return jnp.asarray(array, dtype)
        # By NumPy: JAX would compile a program for a number in every first call.
        return jnp.asarray(real_array(name, value).astype(dtype), dtype)


def float_scalar(value: ArrayLike, name: str) -> Array:
    """`float_array` of a single number."""
    array = float_array(value, name)
    require(array.shape == (), name, f"shape {array.shape}", "be one number")
    return array


def positive_scalar(value: ArrayLike, name: str) -> Array:
    """`float_scalar` of a finite, positive number."""
    number = float_scalar(value, name)
    require_finite(name, number)
    if is_concrete(number):
        require(bool(np.asarray(number) > 0), name, value, "be positive")
    return number


def batch_size(name: str, tree: PyTree) -> int:
    """The leading axis that all leaves of `tree` share."""
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


def conditions_of(cond: PyTree, size: int, samples: str) -> PyTree[Array]:
    """`cond`, None or a pytree of rows, with `size` rows; a leaf of one row is repeated.

    `samples` is the name of the argument that holds the samples.
    """
    if cond is None:
        return None

    def repeated(leaf: ArrayLike) -> ArrayLike:
        shape = np.shape(leaf)
        if shape[:1] != (1,):
            return leaf
        return jnp.broadcast_to(as_arrays("cond", leaf), (size, *shape[1:]))

    cond = jax.tree.map(repeated, cond)
    rows = batch_size("cond", cond)
    require(rows == size, "cond", f"{rows} rows", f"have as many rows as {samples}, {size}")
    return as_arrays("cond", cond)


def refuse_memmap(name: str, tree: PyTree) -> None:
    """Refuses a NumPy memmap, which a compiled program would read whole into memory."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, np.memmap):
            raise ValueError(
                f"{name} must be in memory, got a numpy.memmap of shape {leaf.shape}: a compiled "
                "program would read all of it; pass the rows it needs as an array"
            )
