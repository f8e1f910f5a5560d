"""Copies by how a sample was reached: its profile, and paths that begin next to its own."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    float_array,
    is_concrete,
    real_number,
    require,
    require_key,
    short,
    whole_number,
)
from kinetic_jax._norms import squared_norm
from kinetic_jax.copies._scoring import own_stream
from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import sample

EARLY = (0.2, 0.4)
_LEAST = 1e-12  # of a squared speed, below which it is rounding
_SLACK = 1e-5  # by which a step may begin before its part of [0, 1]


@runtime_checkable
class Profile(Protocol):
    """A `KineticProfile`, or that of a shard of a job."""

    @property
    def ts(self) -> Any: ...

    @property
    def speed2(self) -> Any: ...

    @property
    def bend2(self) -> Any: ...


def bending(
    profile: Profile, start: float = 0.0, stop: float = 1.0, *, end: float = 1.0
) -> Float[Array, " batch"]:
    """The bending of each path, `½ Σ ||u_i − u_{i−1}||² / h_i` over steps that begin in a span.

    It is `½ ∫ ||du/dt||² dt`, which depends little on how fine the grid is.

    Args:
        profile: of a run of `sample` on a fixed grid.
        start: of the span.
        stop: its end, at which no step may begin.
        end: the time at which the run ended, for one that has not reached t = 1.

    Returns:
        The bending of each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: if there is no profile (adaptive steps), no step begins in that span, or the
            last one begins at `end` or later.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.copies import bending
        >>> field = lambda t, x, cond: 2 * t * jnp.ones_like(x)  # du/dt = 2 in both dimensions
        >>> bending(sample(field, jnp.zeros((1, 2)), num_steps=100).profile).round(1)
        Array([4.], dtype=float32)
    """
    start, stop = real_number("start", start), real_number("stop", stop)
    ts, steps = _checked(profile, end)
    inside = (ts >= start - _SLACK) & (ts < stop - _SLACK)
    if is_concrete(ts):
        has_some = bool(np.any(np.asarray(inside)))
        require(has_some, "profile", f"{len(ts)} steps", f"have steps in [{start:g}, {stop:g}]")
    weights = jnp.where(inside, 1 / (2 * steps), jnp.zeros_like(steps))
    return _or_unknown(_weighted(jnp.asarray(profile.bend2), weights[:, None])[..., 0], profile)


def early_bending(profile: Profile, *, end: float = 1.0) -> Float[Array, " batch"]:
    """The bending of a path between t = 0.2 and 0.4, where it settles on its goal.

    Copies turn more there. See `bending`.

    Args:
        profile: of a run of `sample` on a fixed grid.
        end: the time at which the run ended, for one that has not reached t = 1.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: if there is no profile (adaptive steps), no step begins in that span, or the
            last one begins at `end` or later.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.copies import early_bending
        >>> straight = sample(lambda t, x, cond: jnp.ones_like(x), jnp.zeros((1, 2)), num_steps=10)
        >>> early_bending(straight.profile)
        Array([0.], dtype=float32)
    """
    return bending(profile, *EARLY, end=end)


def profile_features(
    profile: Profile, bins: int = 20, *, end: float = 1.0
) -> Float[Array, "batch features"]:
    """The logarithms of speed and bending along each path, for a detector.

    In each of `bins` equal parts of [0, end]: ln of the mean of ||u||², then ln of the mean rate of
    bending ||u_i − u_{i−1}||² / h_i. They come with `sample` and cost nothing.

    Args:
        profile: of a run of `sample` on a fixed grid, with at least two steps in every part.
        bins: number of parts.
        end: the time at which the run ended, for one that has not reached t = 1: 8 parts up to 0.4
            are the first 8 of 20.

    Returns:
        Features, shape (batch, 2 bins); NaN for samples that are not finite.

    Raises:
        ValueError: if there is no profile (adaptive steps), a part has fewer than two steps, or
            the last one begins at `end` or later.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> from kinetic_jax.copies import profile_features
        >>> x0 = noise(jax.random.key(0), jnp.arange(3), (2,))
        >>> run = sample(GaussianField(jnp.zeros(2), 0.5), x0, num_steps=40)
        >>> profile_features(run.profile).shape
        (3, 40)
    """
    count = whole_number("bins", bins, 1)
    ts, steps = _checked(profile, end)
    part = jnp.clip(jnp.floor(ts * (count / end) + _SLACK), 0, count - 1)
    is_in = (part[:, None] == jnp.arange(count, dtype=part.dtype)[None]).astype(steps.dtype)
    held = jnp.sum(is_in, axis=0)
    if is_concrete(held):
        expected = f"have at least two steps in each of {count} bins of [0, {end:g}]"
        fits = bool(np.all(np.asarray(held) >= 2))
        require(fits, "profile", f"{len(ts)} steps", expected)
    turns = is_in.at[0].set(0)  # the first step has no bending
    speed = _weighted(jnp.asarray(profile.speed2), is_in / held[None])
    bending = _weighted(
        jnp.asarray(profile.bend2), turns / (jnp.sum(turns, axis=0)[None] * steps[:, None])
    )
    features = jnp.log(jnp.maximum(jnp.concatenate([speed, bending], axis=-1), _LEAST))
    return jnp.where(jnp.isfinite(features), features, jnp.nan)


def norm_rule(profile: Profile, usual: Float[ArrayLike, "samples steps"]) -> Float[Array, " batch"]:
    """The distance of the sizes of a path's steps from those of usual paths.

    The greatest |z| over the steps, with z = (ln ||u_i||² − mean) / standard deviation, of the
    same step of usual paths: those of samples that are known not to be copies.

    Args:
        profile: of a run of `sample` on a fixed grid.
        usual: the `speed2` of profiles on the same grid, shape (samples, steps), of two or more.

    Returns:
        A score for each sample, shape (batch,); NaN for samples that are not finite.

    Raises:
        ValueError: if there is no profile, or `usual` has other steps or fewer than two rows.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> from kinetic_jax.copies import norm_rule
        >>> x0 = noise(jax.random.key(0), jnp.arange(9), (2,))
        >>> run = sample(GaussianField(jnp.zeros(2), 0.5), x0, num_steps=10)
        >>> norm_rule(run.profile, run.profile.speed2).shape
        (9,)

    References:
        Huang et al., Broken memories: detecting and mitigating memorization in diffusion models
        with degraded generations, arXiv 2605.22050 (regions of stability from norms of updates;
        the abstract's rule, whose thresholds are not known here).
    """
    known = float_array(usual, "usual")
    require(known.ndim == 2, "usual", f"shape {known.shape}", "be (samples, steps)")
    ts, _ = _checked(profile)
    fits = known.shape[1] == len(ts) and len(known) >= 2
    require(fits, "usual", f"shape {known.shape}", f"be (n, {len(ts)}) with n >= 2")
    logs = jnp.log(jnp.maximum(known, _LEAST))
    mean, deviation = jnp.mean(logs, axis=0), jnp.std(logs, axis=0)
    own = jnp.log(jnp.maximum(jnp.asarray(profile.speed2), _LEAST))
    away = jnp.abs(own - mean[None]) / jnp.maximum(deviation, 1e-6)[None]
    return _or_unknown(jnp.max(away, axis=-1), profile)


def contraction(
    field: VelocityField,
    x0: PyTree[ArrayLike],
    cond: PyTree[Any] | None = None,
    *,
    key: PRNGKeyArray,
    size: float = 0.05,
    draws: int = 1,
    **options: Any,
) -> Float[Array, " batch"]:
    """The contraction of a small change of the noise on the way to the sample.

    `−ln(mean ||x1' − x1||² / ||x0' − x0||²)` with x0' = x0 + size ε, over draws of ε: paths of the
    neighbourhood of a copy all lead to it.

    Args:
        field: the model; gains around it act.
        x0: the noise of the samples, shape (batch, *event), or a pytree of such arrays.
        cond: their conditions.
        key: of the changes, which all samples share.
        size: of the change, as a share of the noise.
        draws: of the change; each takes another path.
        **options: of `sample`, such as `num_steps`.

    Returns:
        A score for each sample, shape (batch,); NaN where a path is not finite.

    Raises:
        ValueError: as `sample`; if `key` is no random key, or `size` is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField
        >>> from kinetic_jax.copies import contraction
        >>> model = EmpiricalField(jnp.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> x0 = jnp.array([[1.0, 0.0], [-0.01, 0.0]])  # the second begins near the divide
        >>> contraction(model, x0, key=jax.random.key(1), size=0.1, num_steps=20).argmax()
        Array(0, dtype=int32)
    """
    require_key("key", key)
    require(real_number("size", size) > 0, "size", size, "be positive")
    plain = sample(field, x0, cond, **options)
    ratios = []
    for one in jax.random.split(own_stream(key), whole_number("draws", draws, 1)):
        moved = _moved(x0, one, size)
        other = sample(field, moved, cond, **options)
        before, after = _apart(moved, x0), _apart(other.x1, plain.x1)
        is_known = (plain.status == 0) & (other.status == 0) & jnp.isfinite(after)
        ratios.append(jnp.where(is_known, after / before, jnp.nan))
    ratio = jnp.mean(jnp.stack(ratios), axis=0)
    return -jnp.log(jnp.maximum(ratio, jnp.finfo(ratio.dtype).tiny))


def _moved(x0: PyTree[ArrayLike], key: PRNGKeyArray, size: float) -> PyTree[Array]:
    leaves, structure = jax.tree.flatten(x0)
    moved = []
    for number, leaf in enumerate(map(jnp.asarray, leaves)):
        step = jax.random.normal(jax.random.fold_in(key, number), leaf.shape[1:], leaf.dtype)
        moved.append(leaf + size * step[None])
    return jax.tree.unflatten(structure, moved)


def _apart(a: PyTree[ArrayLike], b: PyTree[ArrayLike]) -> Float[Array, " batch"]:
    """Squared distances, row by row."""
    parts = [
        squared_norm(jnp.asarray(one) - jnp.asarray(other), tuple(range(1, jnp.ndim(one))))
        for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return sum(parts[1:], parts[0])


def _checked(profile: Profile, end: float = 1.0) -> tuple[Array, Array]:
    """The left ends of a profile's steps, and their sizes."""
    is_profile = isinstance(profile, Profile)
    expected = "be the profile of a run on a fixed grid"
    require(is_profile, "profile", short(profile), expected)
    ts, last = jnp.asarray(profile.ts), real_number("end", end)
    if is_concrete(ts):
        begins = float(np.asarray(ts)[-1])
        require(begins + _SLACK < last <= 1, "end", end, f"lie in ({begins:g}, 1]")
    return ts, jnp.diff(ts, append=jnp.full_like(ts[:1], last))


def _weighted(
    values: Float[Array, "*batch steps"], weights: Float[Array, "steps parts"]
) -> Float[Array, "*batch parts"]:
    """Weighted sums over the steps."""
    return jnp.matmul(values, weights.astype(values.dtype), precision="highest")


def _or_unknown(score: Array, profile: Profile) -> Array:
    """NaN for samples whose path or score is not finite."""
    is_known = jnp.all(jnp.isfinite(jnp.asarray(profile.speed2)), axis=-1)
    return jnp.where(is_known & jnp.isfinite(score), score, jnp.nan)
