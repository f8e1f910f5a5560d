"""Energies in another frame, after the fact."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import batch_size, positive_scalar, real_rows, require
from kinetic_jax._norms import squared_norm
from kinetic_jax._pytree import result
from kinetic_jax._state import State
from kinetic_jax.energy._measure import (
    Frame,
    Mass,
    checked_frame,
    checked_mass,
    seen_from,
    spread_like,
)
from kinetic_jax.energy._path_energy import PathEnergy


@result
class FrameEnergy:
    """The energies of paths in a frame, those that their ends decide; each of shape (batch,).

    Attributes:
        total: E' = ½ ∫ ||u − m||² dt.
        displacement: ||x1 − x0 − T m||² / (2T).
        excess: the straightness excess, which is the same in every frame.
    """

    total: Float[Array, "*batch"]
    displacement: Float[Array, "*batch"]
    excess: Float[Array, "*batch"]


def in_frame(
    energy: PathEnergy,
    x0: ArrayLike | PyTree[ArrayLike],
    x1: ArrayLike | PyTree[ArrayLike],
    frame: Frame,
    *,
    mass: Mass | None = None,
    duration: ArrayLike = 1.0,
) -> FrameEnergy:
    """Energies in the frame that moves with velocity m, from those at rest and the paths' ends.

    `E' = E − m·(x1 − x0) + T ||m||²/2` (König's theorem): it needs no second run. A frame shifts
    the displacement alone; the excess is invariant, as under every Galilean transformation.
    `sample(frame=m)` also gives launch, landing, length and profile in the frame.

    Args:
        energy: of paths at rest, each of shape (batch,).
        x0: where they begin, shape (batch, *event), or a pytree of such arrays.
        x1: where they end, like `x0`.
        frame: m, an array that broadcasts to the event or to `x0`; for a pytree of its structure.
        mass: the mass under which `energy` was measured.
        duration: T = t1 − t0, positive.

    Returns:
        Total, displacement and excess in the frame, each of shape (batch,).

    Raises:
        ValueError: if the arguments do not fit each other, or are not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> from kinetic_jax.energy import in_frame
        >>> mean = jnp.array([3.0, -1.0])
        >>> x0 = noise(jax.random.key(0), jnp.arange(4), (2,))
        >>> run = sample(GaussianField(mean, 0.5), x0)
        >>> moved = in_frame(run.energy, x0, run.x1, mean)
        >>> centred = sample(GaussianField(0 * mean, 0.5), x0)
        >>> bool(jnp.allclose(moved.total, centred.energy.total, rtol=1e-4))
        True
    """
    require(isinstance(energy, PathEnergy), "energy", type(energy).__name__, "be a PathEnergy")
    start = jax.tree.map(lambda leaf: real_rows("x0", leaf), x0)
    end = jax.tree.map(lambda leaf: real_rows("x1", leaf), x1)
    rows, (got, expected) = (
        batch_size("x0", start),
        (jax.tree.map(jnp.shape, x) for x in (end, start)),
    )
    require(got == expected, "x1", f"shapes {got}", f"have the shapes of x0, {expected}")
    shape = energy.total.shape
    require(shape == (rows,), "energy", f"shape {shape}", f"have a number for each of {rows} rows")
    time = positive_scalar(duration, "duration")
    require(frame is not None, "frame", frame, "be a velocity")
    velocity = spread_like("frame", checked_frame(frame), start)
    weights = spread_like("mass", checked_mass(mass), start)

    def square(x: State) -> Array:
        def of_array(leaf: Array, mass: Array | None = None) -> Array:
            return squared_norm(leaf, tuple(range(1, leaf.ndim)), mass)

        arrays = (x,) if weights is None else (x, weights)
        return jax.tree.reduce(jnp.add, jax.tree.map(of_array, *arrays))

    moved = jax.tree.map(jnp.subtract, end, start)
    shift = (square(seen_from(velocity, moved, time)) - square(moved)) / (2 * time)
    return FrameEnergy(energy.total + shift, energy.displacement + shift, energy.excess)
