"""Frames and masses in which the energies of images are measured."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.claims._runs import BATCH
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.sampling import sample


def class_means(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean image of each class, shape (classes, *event)."""
    number = int(labels.max()) + 1
    means = [images[labels == own].mean(axis=0, dtype=np.float64) for own in range(number)]
    return np.stack(means).astype(images.dtype)


class PrincipalAxes(eqx.Module):
    """The principal axes of some images.

    Attributes:
        axes: an orthogonal matrix, one axis a column, shape (d, d), the widest first.
        scales: standard deviations along them, shape (d,).
        mean: the mean image, in their coordinates, shape (d,).
    """

    axes: Float[np.ndarray, "d d"]
    scales: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]


def principal_axes(images: np.ndarray) -> PrincipalAxes:
    """The principal axes of images, all d of them."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True))
    scales = np.sqrt(np.maximum(variances[::-1], 0))
    axes = np.ascontiguousarray(axes[:, ::-1])
    return PrincipalAxes(*(a.astype(np.float32) for a in (axes, scales, mean @ axes)))


class RotatedField(Field):
    """A field in other coordinates: paths and noise are the same, a mass may weigh the axes."""

    field: Field
    axes: Float[Array, "d d"]
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, t: Array, x: Float[Array, " d"], cond: Any = None) -> Float[Array, " d"]:
        """The velocity of one image, along the axes."""
        image = jnp.matmul(self.axes, x, precision="highest").reshape(self.shape)
        velocity = self.field(t, image, cond).reshape(-1)
        return jnp.matmul(velocity, self.axes, precision="highest")


def whitened_energies(
    field: VelocityField,
    x0: np.ndarray,
    cond: np.ndarray | None,
    axes: PrincipalAxes,
    *,
    steps: int,
    left_out: int = 0,
) -> np.ndarray:
    """E in the frame of the mean with the mass 1/(s² + 1) along each axis, shape (n,).

    s² + 1 is the variance of x1 − x0 for independent ends: whitened displacements.

    Args:
        field: the field.
        x0: noise, shape (n, *event).
        cond: one entry a row, or None.
        axes: of the data.
        steps: Euler steps.
        left_out: the number of first axes without a mass.
    """
    rotated = RotatedField(as_field(field), jnp.asarray(axes.axes), x0.shape[1:])
    mass = 1 / (axes.scales**2 + 1)
    mass[:left_out] = 0
    energies = []
    for start in range(0, len(x0), BATCH):
        rows = slice(start, start + BATCH)
        begin = jnp.asarray(x0[rows].reshape(len(x0[rows]), -1) @ axes.axes)
        label = None if cond is None else jnp.asarray(cond[rows])
        run = sample(rotated, begin, label, num_steps=steps, mass=mass, frame=axes.mean)
        energies.append(np.asarray(run.energy.total, np.float64))
    return np.concatenate(energies)
