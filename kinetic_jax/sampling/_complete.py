"""Samples completed by one evaluation: what a gain, an early stop or noise left undone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import (
    float_array,
    is_concrete,
    refuse_memmap,
    require,
    require_finite,
    short,
)
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._open import call_opened
from kinetic_jax._pytree import result
from kinetic_jax._state import State
from kinetic_jax.fields import Field, VelocityField
from kinetic_jax.fields._field import arrival_of
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.fields._step import over_step
from kinetic_jax.sampling._geodesic import starts_of
from kinetic_jax.sampling._inputs import checked_inputs, mesh_for
from kinetic_jax.sampling._mesh import on_mesh
from kinetic_jax.sampling._trajectories import Trajectories

NOTHING = 1e-5  # a residual that is rounding


def complete(
    field: VelocityField,
    run: Trajectories | ArrayLike | PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    residual: Float[ArrayLike, "..."] | None = None,
    noise: Float[ArrayLike, "..."] = 0.0,
    mesh: Mesh | None = None,
) -> State:
    """The samples that the field predicts from those of a run, by one more evaluation.

    A gain that is small near t = 1, or an end before t = 1, leaves a share r of the noise on a
    sample: `x1 = X + r (x0 − X)` if its path leads from noise x0 to X, which is the point of the
    path to X at time 1 − r. The rest of that path is `X = x1 + r v(1 − r, x1)`, v without its
    gain: exact if X is the only row, and else the field's prediction of it. It tells whether a
    gain prevented a copy, or hid it under noise.

    Where `noise` was added to samples, `x1 = X + r (x0 − X) + σ ε` is a point of a path with the
    noise level n = √(r² + σ²): `y = x1/s` at time `(1 − r)/s`, with s = 1 − r + n.

    Args:
        field: the field that was sampled, with its gain; or without it. Gains belong around a
            field, not inside `from_reversed_time` and the like.
        run: what `sample` returned, or samples, shape (batch, *event), or a pytree of such arrays.
        cond: the conditions of the run.
        residual: r, a number or (batch,), in the place of the run's own; needed for samples alone.
            Below 1e-5 nothing is left to complete.
        noise: σ of the noise that was added to the samples, a number or (batch,), not negative.
        mesh: as in `sample`.

    Returns:
        The completed samples, like `run.x1`. NaN where a sample or its residual is, which is so
        for a wrapper of your own that does not declare its `Field.closing_rate`.

    Raises:
        ValueError: if `run` has no residual and none is given (samples alone, a run of `encode`),
            the samples or conditions do not fit the field, it is a run of `sweep`, `residual` is
            above 1, or `noise` is negative.

    Example:
        One row; a landing leaves noise on the sample, which one evaluation removes:

        >>> import jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, kts, sample
        >>> from kinetic_jax.sampling import complete
        >>> field = kts(beta0=0.05)(EmpiricalField(jnp.array([[3.0, -1.0]])))
        >>> run = sample(field, jnp.zeros((1, 2)), num_steps=50)
        >>> run.x1.round(2), run.residual.round(2)
        (Array([[ 2.82, -0.94]], dtype=float32), Array([0.06], dtype=float32))
        >>> complete(field, run).round(4)
        Array([[ 3., -1.]], dtype=float32)
    """
    samples, share = run, residual
    if isinstance(run, Trajectories):
        samples, share = run.x1, run.residual if residual is None else residual
        axes = jnp.ndim(run.status)
        require(axes == 1, "run", f"{axes} axes of samples", "be a run of sample, or a part of one")
    if share is None:
        raise ValueError(
            "residual must be given for samples that are not a run of sample, got None"
        )
    field, x1, given, spec = checked_inputs(field, samples, cond, name="run")
    mesh = mesh_for(mesh, x1, given)
    if isinstance(residual, int | float):  # in an array NaN stands for a sample that failed
        require_finite("residual", residual)
        require(residual <= 1, "residual", residual, "be at most 1, the share of all noise")
    levels = _Levels(*(_level(n, v, x1) for n, v in (("residual", share), ("noise", noise))))
    if not isinstance(noise, jax.Array) or is_concrete(noise):
        require_finite("noise", noise)
        require(bool(np.all(np.asarray(noise) >= 0)), "noise", short(noise), "not be negative")
    is_quiet = field.manifold is None or (is_concrete(noise) and not np.any(np.asarray(noise)))
    require(is_quiet, "noise", short(noise), "be 0 on a manifold")
    field = field.without_gain()
    solve = on_mesh(mesh, _completed, field, x1)
    ends = call_opened(solve, field, x1, (given.cond, levels), None).x1
    return ends if spec is None else spec.restored(ends)


class _Levels(NamedTuple):
    """The residual and the noise of each sample."""

    residual: Float[Array, " batch"]
    noise: Float[Array, " batch"]


@result
class _Ends:
    """The completed samples."""

    x1: Float[Array, "batch *event"]

    def map_batch(self, of_batch: Callable[[Array], Any], of_times: Callable[[Array], Any]) -> Any:
        """`of_batch` of the samples."""
        del of_times
        return jax.tree.map(of_batch, self)


def _level(name: str, value: ArrayLike, x1: Array) -> Float[Array, " batch"]:
    """A number, or one for each sample, as an array of one for each."""
    refuse_memmap(name, value)
    level, batch = float_array(value, name), x1.shape[0]
    fits = level.shape in ((), (batch,))
    require(fits, name, f"shape {level.shape}", f"be one number, or of shape ({batch},)")
    return jnp.broadcast_to(level.astype(at_least_float32(x1.dtype)), (batch,))


@eqx.filter_jit
def _completed(
    field: Field,
    x1: Float[Array, "batch *event"],
    given: tuple[PyTree[Array], _Levels],
    plan: None,
) -> _Ends:
    del plan
    arrival = arrival_of(field, x1.dtype)

    def of_one(x: Array, cond: PyTree[Array], levels: _Levels) -> Array:
        kept, level = _signal_and_noise(levels)
        size = kept + level if field.manifold is None else jnp.ones_like(level)
        point, left = x / size.astype(x.dtype), (level / size).astype(x.dtype)
        is_left = ~(left <= NOTHING)  # NaN is
        if arrival is not None:  # later its velocity has fewer digits, and it predicts the same
            left = jnp.maximum(left, 1 - arrival)
        time = 1 - left
        velocity = checked_velocity(over_step(field, time, time + left)(time, point, cond), point)
        if field.manifold is not None:
            end = field.manifold.exp(x, left * field.manifold.tangent(x, velocity))
        else:
            end = point + left * velocity
        return jnp.where(is_left, end, x)

    return _Ends(jax.vmap(of_one)(starts_of(field, x1), *given))


def _signal_and_noise(levels: _Levels) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The share of X in a sample, and the size of its noise: |r| also after an overshoot."""
    r, sigma = levels
    is_noisy = sigma > 0
    both = jnp.hypot(r, jnp.where(is_noisy, sigma, jnp.ones_like(sigma)))
    return jnp.maximum(1 - r, 0), jnp.where(is_noisy, both, jnp.abs(r))
