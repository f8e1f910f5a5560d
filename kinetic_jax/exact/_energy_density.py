"""Energy and density along saved paths."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from kinetic_jax._checks import conditions_of, real_number, refuse_memmap, require, short
from kinetic_jax._norms import squared_norm
from kinetic_jax._open import call_opened
from kinetic_jax.exact._empirical import EmpiricalField
from kinetic_jax.exact._identity import energy_identity
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.fields._protocol import checked_velocity
from kinetic_jax.sampling import Trajectories


class DensityProfile(NamedTuple):
    """The result of `density_profile`, as NumPy arrays.

    Times from 1 − √ε on, where p_t collapses onto the rows, are NaN. A sample with a bad status,
    or with an energy that is not finite at an earlier time, is NaN at all times and excluded.

    Attributes:
        ts: the saved times, shape (times,).
        energy: ½||u||² of the field in question, shape (batch, times).
        neg_log_density: −log p_t(x) of the data's own flow, in nats, shape (batch, times).
        dominance: ε, the weight of all rows but the heaviest, shape (batch, times).
        gap: ½||v*||² − ½||v_k||² for the heaviest row k, shape (batch, times).
        bound: an upper bound on |gap|, shape (batch, times).
        explained: 1 − Var(energy + log p_t)/Var(energy) over the samples, the share of the
            variance of their energies that −log p_t explains with slope 1. Negative if it
            explains less than a constant. Shape (times,).
        correlation: Pearson's, of energy and −log p_t over the samples, shape (times,).
        invalid: number of excluded samples.
    """

    ts: np.ndarray
    energy: np.ndarray
    neg_log_density: np.ndarray
    dominance: np.ndarray
    gap: np.ndarray
    bound: np.ndarray
    explained: np.ndarray
    correlation: np.ndarray
    invalid: int


class LateEnergy(NamedTuple):
    """The result of `late_energy`, as NumPy arrays.

    Attributes:
        ts: the saved times in [start, 1), shape (times,).
        empirical: ½||v*||² of the data's own flow, shape (batch, times).
        learned: ½||u||² of the learned field at the same points, shape (batch, times).
        ratio: median over the samples of empirical / learned, shape (times,); infinite where the
            learned field is at rest.
        empirical_growth: the exponent p of ||v*|| ∝ (1 − t)^{−p}, fitted by least squares to the
            mean logarithms of the speeds: 1 where v* points at rows the path does not reach, 0
            where the path goes straight to one.
        learned_growth: the exponent of the learned field; NaN if it is at rest somewhere.
        invalid: number of samples excluded for a bad status or an energy that is not finite;
            they are NaN.
    """

    ts: np.ndarray
    empirical: np.ndarray
    learned: np.ndarray
    ratio: np.ndarray
    empirical_growth: float
    learned_growth: float
    invalid: int


def density_profile(
    field: EmpiricalField,
    trajectories: Trajectories,
    cond: PyTree[Any] | None = None,
    *,
    velocity: VelocityField | None = None,
) -> DensityProfile:
    """The share of the energy along saved paths that the density explains.

    By `energy_identity` the energy of the data's own flow is −log p_t plus terms of which only
    one depends on x. This measures over the samples, at each saved time, how much that term
    matters, and whether a learned field obeys the same relation.

    Args:
        field: the exact flow of the training data, in memory.
        trajectories: of any field, sampled with `save_at`; three samples or more.
        cond: their condition. Passed on to `field` if it has labels.
        velocity: the field whose energy is to be explained. Default: `field` itself.

    Returns:
        Energies, densities and bounds of each sample at each saved time, and the share explained.

    Raises:
        ValueError: if nothing was saved, shapes do not fit, or fewer than three samples are valid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, noise, sample
        >>> from kinetic_jax.exact import density_profile
        >>> field = EmpiricalField(jax.random.normal(jax.random.key(1), (20, 2)))
        >>> x0 = noise(jax.random.key(0), jnp.arange(100), (2,))
        >>> run = sample(field, x0, save_at=jnp.array([0.5, 0.9]))
        >>> density_profile(field, run).explained.shape
        (2,)

    References:
        Li et al., A Kinetic Energy Perspective of Flow Matching, ICML 2026, arXiv 2602.07928.
    """
    is_field = velocity is None or callable(velocity)
    require(is_field, "velocity", short(velocity), "be a velocity field, or None")
    ts, path, cond, valid = _saved(field, trajectories, cond)
    terms = _identities(field, ts, path, _own_cond(field, cond))
    if velocity is not None:
        terms = (_energies(velocity, ts, path, cond), *terms[1:])
    early = np.asarray(ts) < 1 - field.stop(path.dtype)
    valid &= np.isfinite(np.asarray(terms)[:, :, early]).all(axis=(0, 2))
    require(int(valid.sum()) >= 3, "trajectories", int(valid.sum()), "hold three valid samples")
    counts = valid[:, None] & early
    energy, surprise, dominance, gap, bound = (
        np.where(counts, np.asarray(term, float), np.nan) for term in terms
    )
    explained, correlation = np.full((2, ts.shape[0]), np.nan)
    for i in np.flatnonzero(counts.any(axis=0)):
        energies, surprises = energy[valid, i], surprise[valid, i]
        variance = np.var(energies)
        if variance > 0 and np.var(surprises) > 0:
            explained[i] = 1 - np.var(energies - surprises) / variance
            correlation[i] = np.corrcoef(energies, surprises)[0, 1]
    times, invalid = np.asarray(ts), int(np.sum(~valid))
    return DensityProfile(
        times, energy, surprise, dominance, gap, bound, explained, correlation, invalid
    )


def late_energy(
    field: EmpiricalField,
    learned: VelocityField,
    trajectories: Trajectories,
    cond: PyTree[Any] | None = None,
    *,
    start: float = 0.8,
) -> LateEnergy:
    """Late energies of the data's own flow and of a learned field, at the same points.

    v* has a factor 1/(1 − t): along a path that does not lead to a row its energy grows as
    (1 − t)^{−2}, while the energy of the learned field that made the path does not. Along a path
    that lands on a row neither grows. Both fields are evaluated on the given trajectories, which
    may be the learned field's or the flow's own.

    Args:
        field: the exact flow of the training data, in memory.
        learned: the learned field.
        trajectories: of either field, sampled with `save_at`.
        cond: their condition. Passed on to `field` if it has labels.
        start: the earliest time to include, in [0, 1).

    Returns:
        Both energies of each sample at the saved times from `start` on, their ratio and growth.

    Raises:
        ValueError: if fewer than two saved times lie in [start, 1), shapes do not fit, or no
            sample is valid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, GaussianField, noise, sample
        >>> from kinetic_jax.exact import late_energy
        >>> field, learned = EmpiricalField(jnp.zeros((1, 2))), GaussianField(jnp.zeros(2), 0.8)
        >>> x0 = noise(jax.random.key(0), jnp.arange(8), (2,))
        >>> run = sample(learned, x0, save_at=jnp.array([0.8, 0.9, 0.99]))
        >>> late = late_energy(field, learned, run)
        >>> print(round(late.empirical_growth, 2), round(late.learned_growth, 2))
        1.05 0.15
    """
    start = real_number("start", start)
    require(0 <= start < 1, "start", start, "lie in [0, 1)")
    require(callable(learned), "learned", short(learned), "be a velocity field")
    ts, path, cond, valid = _saved(field, trajectories, cond)
    times = np.asarray(ts)
    late = np.flatnonzero((times >= start) & (times < 1 - field.stop(path.dtype)))
    require(late.size >= 2, "trajectories.ts", times, f"hold two times in [{start:g}, 1)")
    ts, path, times = ts[late], path[:, late], times[late]
    pairs = ((field, _own_cond(field, cond)), (learned, cond))
    energies = np.array([_energies(either, ts, path, c) for either, c in pairs], np.float64)
    valid &= np.isfinite(energies).all(axis=(0, 2))
    require(bool(valid.any()), "trajectories", "none", "hold valid samples")
    empirical, of_learned = np.where(valid[None, :, None], energies, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.median(empirical[valid] / of_learned[valid], axis=0)
    growths = [_growth(times, energy[valid]) for energy in (empirical, of_learned)]
    invalid = int(np.sum(~valid))
    return LateEnergy(times, empirical, of_learned, ratio, growths[0], growths[1], invalid)


def _own_cond(field: EmpiricalField, cond: PyTree[Any] | None) -> PyTree[Any] | None:
    """The condition of `field`, which takes none unless it has labels."""
    return cond if field.labels is not None else None


def _growth(times: np.ndarray, energy: np.ndarray) -> float:
    """The exponent of the speed in 1/(1 − t); NaN for a field at rest somewhere."""
    if not np.all(energy > 0):
        return float("nan")
    log_speeds = np.log(energy).mean(axis=0) / 2
    return float(np.polyfit(-np.log(1 - np.asarray(times, np.float64)), log_speeds, 1)[0])


def _saved(
    field: EmpiricalField, trajectories: Trajectories, cond: PyTree[Any] | None
) -> tuple[Array, Array, PyTree[Any] | None, np.ndarray]:
    """Saved times, saved path, conditions, and True for each sample of status 0."""
    require(isinstance(field, EmpiricalField), "field", type(field).__name__, "be EmpiricalField")
    refuse_memmap("field", field)
    kind = type(trajectories).__name__
    require(isinstance(trajectories, Trajectories), "trajectories", kind, "be Trajectories")
    ts, path = trajectories.ts, trajectories.path
    if ts is None or path is None:
        raise ValueError("trajectories must hold a path: sample with save_at=True or times")
    event, rows = path.shape[2:], field.event_shape
    require(event == rows, "trajectories.path", f"events {event}", f"have the data's shape, {rows}")
    cond = conditions_of(cond, path.shape[0], "the samples")
    if cond is not None and field.labels is not None:
        field.check_cond(cond)
    return ts, path, cond, np.asarray(trajectories.status) == 0


@eqx.filter_jit
def _identities(
    field: EmpiricalField,
    ts: Float[Array, " times"],
    path: Float[Array, "batch times *event"],
    cond: Int[Array, " batch"] | None,
) -> tuple[Float[Array, "batch times"], ...]:
    def terms(t: Array, x: Array, c: Array | None) -> tuple[Array, ...]:
        identity = energy_identity(field, t, x, None, c)
        density = identity.neg_log_density
        return identity.energy, density, identity.dominance, identity.gap, identity.bound

    return _map_along(terms, ts, path, cond)


def _energies(
    field: VelocityField, ts: Array, path: Array, cond: PyTree[Any]
) -> Float[Array, "batch times"]:
    """½||u||² of any field at every saved point."""
    return call_opened(_energies_along, as_field(field), ts, path, cond)


@eqx.filter_jit
def _energies_along(
    field: VelocityField,
    ts: Float[Array, " times"],
    path: Float[Array, "batch times *event"],
    cond: PyTree[Any],
) -> Float[Array, "batch times"]:
    def energy(t: Array, x: Array, c: PyTree[Any]) -> Array:
        return squared_norm(checked_velocity(field(t, x, c), x)) / 2

    return _map_along(energy, ts, path, cond)


def _map_along(
    fn: Callable[[Array, Array, Any], Any], ts: Array, path: Array, cond: PyTree[Any]
) -> PyTree[Array]:
    """`fn` at every saved point: the batch at once, one time after the other."""
    mapped = jax.vmap(fn, in_axes=(None, 0, 0))
    values = jax.lax.map(lambda tx: mapped(tx[0], tx[1], cond), (ts, jnp.moveaxis(path, 1, 0)))
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), values)
