"""The log density of samples: its settings, the probes of its estimate, and its formula."""

import functools
import math
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import issubdtype
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, UInt32

from kinetic_jax._checks import require, require_key, short, whole_number
from kinetic_jax._mesh import refuse_split, untyped_axes
from kinetic_jax._norms import squared_norm
from kinetic_jax.fields import Field
from kinetic_jax.fields._step import require_step

# One JAX key or one for each row, typed or as integers.
Keys: TypeAlias = Key[Array, "..."] | UInt32[Array, "..."]
LogDensity = Literal["exact", "hutchinson"]
EXACT, HUTCHINSON = "exact", "hutchinson"
ROUNDING = 1e-6  # by which a path may miss t0 = 0, and the last time of a field


def check_density(
    log_density: LogDensity | None,
    key: Keys | None,
    probes: int,
    field: Field,
    batch: int,
    mesh: Mesh | None,
) -> None:
    """Checks the settings of a log density.

    Raises:
        ValueError: if `log_density` is not None, "exact" or "hutchinson", the field moves on a
            manifold, `probes` is not a whole number from 1 on, `key` is not a random key or one for
            each row, or there is one, or a number of probes, without "hutchinson".
    """
    known = log_density is None or (
        isinstance(log_density, str) and log_density in (EXACT, HUTCHINSON)
    )
    expected = f"be None, '{EXACT}' or '{HUTCHINSON}'"
    require(known, "log_density", short(log_density), expected)
    count = whole_number("probes", probes, 1)
    if log_density is not None:
        expected = "be left out on a manifold"
        require(field.manifold is None, "log_density", repr(log_density), expected)
        require_step(field, "with log_density: its velocities are means over steps")
    if log_density != HUTCHINSON:
        expected = f"be left out unless log_density='{HUTCHINSON}'"
        require(key is None, "key", short(key), expected)
        require(count == 1, "probes", count, expected)
        return
    if mesh is None:
        refuse_split("key", key)
    if _is_rows(key):
        expected = f"be one key, or one for each of {batch} rows"
        require(len(key) == batch, "key", f"{key.dtype} of shape {key.shape}", expected)
    else:
        require_key("key", key)


def check_span(field: Field, start: float, end: float, dtype: jnp.dtype) -> None:
    """Checks that a path begins at noise, and ends where the field is known.

    Raises:
        ValueError: naming the time.
    """
    expected = "be 0 with log_density, where x0 is standard normal"
    require(abs(start) <= ROUNDING, "t0", f"{start:g}", expected)
    check_end(field, end, dtype, "log_density")


def check_end(field: Field, end: float, dtype: jnp.dtype, why: str) -> None:
    """Checks that the field is evaluated up to t1, if it declares where that ends.

    Raises:
        ValueError: if t1 lies later.
    """
    with jax.ensure_compile_time_eval():  # known inside jit as well, if the field is
        last = field.arrival(dtype)
    if last is None or isinstance(last, jax.core.Tracer):
        return
    limit = float(np.asarray(last))
    expected = f"be at most {limit:.6g} with {why}, the last time this field is evaluated"
    require(end <= limit + ROUNDING, "t1", f"{end:g}", expected)


def drawn_probes(
    log_density: LogDensity | None, key: Keys | None, probes: int, x: Float[Array, "batch *event"]
) -> Float[Array, "batch probes *event"] | None:
    """Hutchinson's probes for each row of x; None without his estimate."""
    if key is None or log_density != HUTCHINSON:
        return None
    if not _is_rows(key):
        key = _folded(x.shape[0], key)
    elif not issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.vmap(jax.random.wrap_key_data)(key)
    return rademacher(key, int(probes), x)


def _is_rows(key: Keys | None) -> TypeGuard[Keys]:
    """True for an array of keys, typed or as integers."""
    if not isinstance(key, jax.Array) or not key.ndim:
        return False
    if issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.ndim == 1
    raw = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    return (key.shape[1:], key.dtype) == (raw.shape, raw.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _folded(batch: int, key: Keys) -> Keys:
    rows = jnp.arange(batch, dtype=jnp.uint32)
    return jax.vmap(functools.partial(jax.random.fold_in, key))(rows)


def rademacher(
    keys: Keys, count: int, x: Float[Array, "batch *event"]
) -> Float[Array, "batch probes *event"]:
    """Probes of independent entries ±1 for each row of x; those of a row depend on its key alone.

    The first ones do not depend on `count`.
    """
    return untyped_axes(functools.partial(_drawn, count, x.shape[1:], x.dtype))(keys)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(count: int, event: tuple[int, ...], dtype: jnp.dtype, keys: Keys) -> Array:
    # Only threefry draws the same under vmap: what TPU generators draw depends on the batch.
    independent = "threefry" in str(jax.random.key_impl(keys))

    def each(draw: Callable[[Array], Array], over: Array) -> Array:
        return jax.vmap(draw)(over) if independent else jax.lax.map(draw, over)

    def of_row(key: Keys) -> Array:
        def one(number: Array) -> Array:
            return jax.random.rademacher(jax.random.fold_in(key, number), event, dtype)

        return each(one, jnp.arange(count, dtype=jnp.uint32))

    return each(of_row, keys)


def log_density_of(
    x0: Float[Array, "batch *event"],
    x1: Float[Array, "batch *event"],
    divergence: Float[Array, " batch"],
    is_backward: bool,
) -> Float[Array, " batch"]:
    """The log density of the end at data: `log N(noise; 0, I) − ∫ div u dt`, in nats.

    Args:
        x0: where the paths begin.
        x1: where they end.
        divergence: ∫ div of the velocity that was integrated; backward that is −u(−s, x).
        is_backward: whether they end at noise.
    """
    noise, growth = (x1, -divergence) if is_backward else (x0, divergence)
    size = math.prod(noise.shape[1:])
    squares = squared_norm(noise, tuple(range(1, noise.ndim)))
    return -squares / 2 - size / 2 * math.log(2 * math.pi) - growth
