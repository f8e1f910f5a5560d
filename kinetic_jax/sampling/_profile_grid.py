"""A time grid from the profile of a pilot run: finer where its paths bend."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kinetic_jax._checks import real_array, real_number, require, short, whole_number
from kinetic_jax.sampling._trajectories import OK, KineticProfile, Trajectories

DEFAULT_FLOOR = 0.1
_FEWEST_STEPS = 3  # with two steps there is one change of velocity, and no density


class Bending(NamedTuple):
    """Sums over samples from which a grid is made.

    Attributes:
        ts: left ends of the steps.
        changes: Σ ||u_i − u_{i−1}|| over the samples, for each step.
        num_samples: their number.
    """

    ts: Float[np.ndarray, " steps"]
    changes: Float[np.ndarray, " steps"]
    num_samples: int

    def plus(self, other: "Bending") -> "Bending":
        """The sums over the samples of both, which share their steps."""
        return Bending(self.ts, self.changes + other.changes, self.num_samples + other.num_samples)


def bending_of(ts: object, bend2: object, status: object) -> Bending:
    """The sums over the samples that are ok; their arrays have any leading axes."""
    times, squares = real_array("profile.ts", ts), real_array("profile.bend2", bend2)
    rows = squares.reshape(-1, times.size)
    ok = np.all(np.isfinite(rows), axis=1) & (np.asarray(status).reshape(-1) == OK)
    return Bending(times, np.sum(np.sqrt(rows[ok]), axis=0), int(np.sum(ok)))


def grid_of_bending(
    bending: Bending, num_steps: int, t1: float, floor: float
) -> Float[np.ndarray, " nodes"]:
    """See `grid_from_profile`."""
    num_steps = whole_number("num_steps", num_steps, 1)
    floor, end = real_number("floor", floor), real_number("t1", t1)
    require(0 < floor <= 1, "floor", floor, "lie in (0, 1]")
    ts = bending.ts
    require(ts.size >= _FEWEST_STEPS, "profile", ts.size, f"have >= {_FEWEST_STEPS} steps")
    require(bending.num_samples > 0, "profile", "none", "hold samples that are finite")
    require(ts[-1] < end <= 1, "t1", t1, f"lie in ({ts[-1]:g}, 1], after the profile's last step")
    nodes = np.append(ts, end)
    middles = (nodes[1:] + nodes[:-1]) / 2
    density = np.sqrt(bending.changes[1:] / bending.num_samples / np.diff(middles))
    # Nothing is known before the first middle and after the last.
    edges = np.concatenate([nodes[:1], middles[1:-1], nodes[-1:]])
    widths = np.diff(edges)
    mean = np.sum(density * widths) / (end - nodes[0])
    density = np.maximum(density, floor * mean) if mean > 0 else np.ones_like(density)
    shares = np.concatenate([[0.0], np.cumsum(density * widths)])
    grid = np.interp(np.arange(num_steps + 1) / num_steps * shares[-1], shares, edges)
    grid[[0, -1]] = nodes[[0, -1]]
    return grid


def grid_from_profile(
    profile: KineticProfile | Trajectories,
    num_steps: int,
    *,
    t1: float = 1.0,
    floor: float = DEFAULT_FLOOR,
) -> Float[np.ndarray, " nodes"]:
    """The grid of N steps whose density is that of the bending of a pilot run (SharpEuler).

    `ρ(t) ∝ (E ||dv/dt||)^(1/2)`, which minimises the sum of the mean errors ½ h² E||dv/dt|| of
    Euler steps of size h = 1/(N ρ). The pilot has its mean velocities u_i at the middles m_i of its
    steps, and ρ is `(E ||u_i − u_{i−1}|| / (m_i − m_{i−1}))^(1/2)` between two middles, constant
    there, and towards the ends. The nodes are its quantiles at i/N, so they resolve no more than
    the pilot's steps. Straight paths have the uniform grid. It is a bound on the error that is
    minimised: of paths that bend each at its own time, compare the grid with a uniform one.

    Args:
        profile: that of the pilot (its `KineticProfile`), or its `Trajectories`: of the same field
            and gain, on a fixed grid of at least 3 steps, of any batch; some hundred samples and 50
            uniform steps will do. Samples that are not finite are left out.
        num_steps: N, fewer or more than the pilot had.
        t1: where the pilot ended; a profile holds left ends alone.
        floor: the least density, in units of its mean, in (0, 1]: no step is longer than
            1 + 1/floor uniform ones.

    Returns:
        N + 1 times in float64, increasing, from the pilot's first time to `t1`.

    Raises:
        ValueError: if the run was adaptive (it has no profile), a number is out of range, no
            sample is finite, or the arrays are traced.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.sampling import grid_from_profile
        >>> late = lambda t, x, cond=None: jnp.exp(8 * t) * jnp.ones_like(x)
        >>> pilot = sample(late, jnp.zeros((1, 2)), num_steps=200)
        >>> grid_from_profile(pilot, 4).round(2)
        array([0.  , 0.67, 0.83, 0.93, 1.  ])

    References:
        Gupta et al., Sharpen your flow: sharpness-aware sampling for flow matching, arXiv
        2605.11547.
    """
    status: object = OK
    held: object = profile
    if isinstance(profile, Trajectories):
        held, status = profile.profile, profile.status
    if not isinstance(held, KineticProfile):
        expected = "be a KineticProfile, or Trajectories of a fixed grid, which hold one"
        raise ValueError(f"profile must {expected}, got {short(profile)}")
    return grid_of_bending(bending_of(held.ts, held.bend2, status), num_steps, t1, floor)
