"""How energy and density go together along saved paths."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from kinetic_jax._checks import conditions_of, real_number, refuse_memmap, require
from kinetic_jax._open import call_opened
from kinetic_jax.energy import energy_identity, squared_norm
from kinetic_jax.fields import (
    EmpiricalField,
    VelocityField,
    check_cond,
    checked_field,
    checked_velocity,
)
from kinetic_jax.sampling import Trajectories


class DensityProfile(NamedTuple):
    """What `density_profile` returns, as NumPy arrays.

    Samples with a bad status, or with an energy that is not finite at a time below, are NaN
    throughout and count nowhere; so are times from 1 − √ε on, where p_t shrinks to the rows.

    Attributes:
        ts: the saved times, shape (times,).
        energy: ½||u||² of the field in question, shape (batch, times).
        neg_log_density: −log p_t(x) of the data's own flow, in nats, shape (batch, times).
        dominance: ε, the weight of all rows but the heaviest, shape (batch, times).
        gap: ½||v*||² − ½||v_k||² for the heaviest row k, shape (batch, times).
        bound: what |gap| cannot exceed, shape (batch, times).
        explained: 1 − Var(energy + log p_t)/Var(energy) over the samples: the share of what tells
            their energies apart that −log p_t accounts for as it stands, with slope 1. Below 0 if
            it accounts for less than a constant does. Shape (times,).
        correlation: Pearson's, of energy and −log p_t over the samples, shape (times,).
        invalid: how many samples do not count.
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
    """What `late_energy` returns, as NumPy arrays.

    Attributes:
        ts: the saved times from `start` to below 1, shape (times,).
        empirical: ½||v*||² of the data's own flow, shape (batch, times).
        learned: ½||u||² of the learned field at the same points, shape (batch, times).
        ratio: median over the samples of empirical / learned, shape (times,); infinite where the
            learned field is at rest, and its growth NaN.
        empirical_growth: the exponent p of ||v*|| ∝ (1 − t)^{−p}, fitted by least squares to the
            mean logarithms of the speeds: 1 where v* points at rows the path does not reach, 0
            where the path goes straight to one.
        learned_growth: the same of the learned field.
        invalid: how many samples do not count, for a bad status or an energy that is not finite;
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
    """How much of the energy along saved paths the density alone explains.

    The identity of `energy_identity` says that the energy of the data's own flow is −log p_t plus
    terms that do not change with x, but for one. How much that one matters, and whether a learned
    field follows, is measured here over the samples at each saved time.

    Args:
        field: the exact flow of the training data, in memory.
        trajectories: of any field, sampled with `save_at`; three samples or more.
        cond: what they were sampled with. Passed on to `field` if that has labels.
        velocity: the field whose energy is to be explained. Default: `field` itself.

    Raises:
        ValueError: if nothing was saved, shapes do not fit, or fewer than three samples are good.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, density_profile, noise, sample
        >>> field = EmpiricalField(jax.random.normal(jax.random.key(1), (20, 2)))
        >>> x0 = noise(jax.random.key(0), jnp.arange(100), (2,))
        >>> run = sample(field, x0, save_at=jnp.array([0.5, 0.9]))
        >>> density_profile(field, run).explained.shape
        (2,)

    References:
        Li et al., A Kinetic Energy Perspective of Flow Matching, ICML 2026, arXiv 2602.07928.
    """
    fits = velocity is None or callable(velocity)
    require(fits, "velocity", repr(velocity), "be a velocity field, or None")
    ts, path, cond, good = _saved(field, trajectories, cond)
    own = cond if field.labels is not None else None
    found = _identities(field, ts, path, own)
    if velocity is not None:
        found = (_energies(velocity, ts, path, cond), *found[1:])
    early = np.asarray(ts) < 1 - field.stop(path.dtype)
    good &= np.isfinite(np.asarray(found)[:, :, early]).all(axis=(0, 2))
    require(int(good.sum()) >= 3, "trajectories", int(good.sum()), "hold three good samples")
    counts = good[:, None] & early
    energy, surprise, dominance, gap, bound = (
        np.where(counts, np.asarray(part, float), np.nan) for part in found
    )
    explained, correlation = np.full((2, ts.shape[0]), np.nan)
    for i in np.flatnonzero(counts.any(axis=0)):
        one, other = energy[good, i], surprise[good, i]
        spread = np.var(one)
        if spread > 0 and np.var(other) > 0:
            explained[i] = 1 - np.var(one - other) / spread
            correlation[i] = np.corrcoef(one, other)[0, 1]
    return DensityProfile(
        np.asarray(ts), energy, surprise, dominance, gap, bound, explained, correlation,
        invalid=int(np.sum(~good)),
    )  # fmt: skip


def late_energy(
    field: EmpiricalField,
    learned: VelocityField,
    trajectories: Trajectories,
    cond: PyTree[Any] | None = None,
    *,
    start: float = 0.8,
) -> LateEnergy:
    """The late energy of the data's own flow against that of a learned field, at the same points.

    v* carries a factor 1/(1 − t): along a path that does not lead to a row its energy grows as
    (1 − t)^{−2}, which the path's own, learned field does not follow. Along a path that lands on a
    row neither grows. The path decides where both are looked at: give it the learned field's
    trajectories, or the flow's own.

    Args:
        field: the exact flow of the training data, in memory.
        learned: the learned field.
        trajectories: sampled with `save_at`, of either field.
        cond: what they were sampled with. Passed on to `field` if that has labels.
        start: the first time looked at, in [0, 1).

    Raises:
        ValueError: if fewer than two saved times lie in [start, 1), shapes do not fit, or no
            sample is good.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, GaussianField, late_energy, noise, sample
        >>> field, learned = EmpiricalField(jnp.zeros((1, 2))), GaussianField(jnp.zeros(2), 0.8)
        >>> x0 = noise(jax.random.key(0), jnp.arange(8), (2,))
        >>> run = sample(learned, x0, save_at=jnp.array([0.8, 0.9, 0.99]))
        >>> found = late_energy(field, learned, run)
        >>> print(round(found.empirical_growth, 2), round(found.learned_growth, 2))
        1.05 0.15
    """
    start = real_number("start", start)
    require(0 <= start < 1, "start", start, "lie in [0, 1)")
    require(callable(learned), "learned", repr(learned), "be a velocity field")
    ts, path, cond, good = _saved(field, trajectories, cond)
    times = np.asarray(ts)
    late = np.flatnonzero((times >= start) & (times < 1 - field.stop(path.dtype)))
    require(late.size >= 2, "trajectories.ts", times, f"hold two times in [{start:g}, 1)")
    ts, path = ts[late], path[:, late]
    own = cond if field.labels is not None else None
    both = np.array(
        [_energies(one, ts, path, c) for one, c in ((field, own), (learned, cond))], np.float64
    )
    good &= np.isfinite(both).all(axis=(0, 2))
    require(bool(good.any()), "trajectories", "none", "hold good samples")
    empirical, others = np.where(good[None, :, None], both, np.nan)
    times = times[late]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.median(empirical[good] / others[good], axis=0)
    growth = [_growth(times, one[good]) for one in (empirical, others)]
    return LateEnergy(times, empirical, others, ratio, growth[0], growth[1], int(np.sum(~good)))


def _growth(times: np.ndarray, energy: np.ndarray) -> float:
    """The exponent of the speed in 1/(1 − t); NaN for a field at rest somewhere."""
    if not np.all(energy > 0):
        return float("nan")
    logs = np.log(energy).mean(axis=0) / 2
    return float(np.polyfit(-np.log(1 - np.asarray(times, np.float64)), logs, 1)[0])


def _saved(field: Any, trajectories: Any, cond: Any) -> tuple[Array, Array, Any, np.ndarray]:
    """Times, path, conditions, and which samples ended well."""
    require(isinstance(field, EmpiricalField), "field", type(field).__name__, "be EmpiricalField")
    refuse_memmap("field", field)
    kind = type(trajectories).__name__
    require(isinstance(trajectories, Trajectories), "trajectories", kind, "be Trajectories")
    ts, path = trajectories.ts, trajectories.path
    if ts is None or path is None:
        raise ValueError("trajectories must hold a path: sample with save_at=True or times")
    event, wanted = path.shape[2:], field.event_shape
    require(event == wanted, "trajectories.path", f"events {event}", f"have the data's, {wanted}")
    cond = conditions_of(cond, path.shape[0], "the samples")
    if cond is not None and field.labels is not None:
        check_cond(field, "cond", cond)
    return ts, path, cond, np.asarray(trajectories.status) == 0


@eqx.filter_jit
def _identities(
    field: EmpiricalField, ts: Float[Array, " times"], path: Float[Array, "batch times *event"],
    cond: Int[Array, " batch"] | None,
) -> tuple[Float[Array, "batch times"], ...]:  # fmt: skip
    def at(t: Array, x: Array, c: Any) -> tuple[Array, ...]:
        one = energy_identity(field, t, x, None, c)
        return one.energy, one.neg_log_density, one.dominance, one.gap, one.bound

    return _along(at, ts, path, cond)


def _energies(
    field: VelocityField, ts: Array, path: Array, cond: PyTree[Any]
) -> Float[Array, "batch times"]:
    """½||u||² of any field at every saved point."""
    return call_opened(_energies_along, checked_field(field), ts, path, cond)


@eqx.filter_jit
def _energies_along(
    field: VelocityField, ts: Float[Array, " times"], path: Float[Array, "batch times *event"],
    cond: PyTree[Any],
) -> Float[Array, "batch times"]:  # fmt: skip
    def at(t: Array, x: Array, c: Any) -> Array:
        return squared_norm(checked_velocity(field(t, x, c), x)) / 2

    return _along(at, ts, path, cond)


def _along(at: Any, ts: Array, path: Array, cond: Any) -> Any:
    """`at` every saved point: a batch at a time, one time after the other."""
    each = jax.vmap(at, in_axes=(None, 0, 0))
    found = jax.lax.map(lambda tx: each(tx[0], tx[1], cond), (ts, jnp.moveaxis(path, 1, 0)))
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), found)
