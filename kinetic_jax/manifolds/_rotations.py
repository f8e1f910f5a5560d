"""Rotations."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kinetic_jax._checks import require, whole_number
from kinetic_jax._norms import norm_from_squared
from kinetic_jax.manifolds._manifold import Manifold


class SpecialOrthogonal(Manifold):
    """Rotation matrices, on the last two axes; other axes hold a product of rotations.

    The metric is the bi-invariant one, `⟨U, V⟩ = ½ tr(UᵀV)`: a rotation by an angle θ has the
    length θ, and costs the energy θ²/2. Normal noise is moved to the nearest rotation, which makes
    it uniform.

    Args:
        n: rotations of n dimensions, n x n matrices.

    Raises:
        ValueError: if `n` is not a whole number from 2 on.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.manifolds import SpecialOrthogonal
        >>> quarter = jnp.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> SpecialOrthogonal(3).distance(jnp.eye(3), quarter).round(4)
        Array(1.5708, dtype=float32)
    """

    n: int = eqx.field(static=True)

    def __init__(self, n: int = 3):
        self.n = whole_number("n", n, 2)

    def exp(self, x: Float[Array, "*event"], v: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """The matrix `x expm(xᵀ v)`, with what rounding took from orthogonality put back."""
        with jax.default_matmul_precision("highest"):
            end = x @ jax.scipy.linalg.expm(_transposed(x) @ v)
            return end @ (3 * jnp.eye(self.n, dtype=x.dtype) - _transposed(end) @ end) / 2

    def distance(self, x: Float[Array, "*event"], y: Float[Array, "*event"]) -> Float[Array, ""]:
        """`√(½ Σ θ²)` over the angles θ of the eigenvalues of xᵀy: for n = 3 the angle."""
        with jax.default_matmul_precision("highest"):
            turn = _transposed(x) @ y
            one = jnp.eye(self.n, dtype=x.dtype)
            # Of 2 sin(θ/2) and 2 cos(θ/2) one is exact where the other is not.
            sines = jnp.linalg.svd(one - turn, compute_uv=False)
            cosines = jnp.linalg.svd(one + turn, compute_uv=False)
        angles = 2 * jnp.arctan2(sines, cosines[..., ::-1])
        return norm_from_squared(jnp.sum(angles**2) / 2)

    def nearest(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """The rotation of the polar decomposition of `x`."""
        return _rotation_of(x)

    def tangent(
        self, x: Float[Array, "*event"], v: Float[Array, "*event"]
    ) -> Float[Array, "*event"]:
        """`x` times the antisymmetric part of `xᵀ v`."""
        with jax.default_matmul_precision("highest"):
            turn = _transposed(x) @ v
            return x @ ((turn - _transposed(turn)) / 2)

    def inner(
        self, x: Float[Array, "*event"], u: Float[Array, "*event"], v: Float[Array, "*event"]
    ) -> Float[Array, ""]:
        """`½ Σ u v`."""
        del x
        return jnp.sum(u * v) / 2

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses what is no n x n matrix."""
        expected = f"be {self.n} x {self.n} matrices, as these rotations are"
        require(shape[-2:] == (self.n, self.n), name, f"rows of shape {shape}", expected)


def _transposed(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    return jnp.swapaxes(x, -1, -2)


@jax.custom_jvp
def _rotation_of(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """The rotation nearest to each matrix."""
    left, _, right = _signed_svd(x)
    with jax.default_matmul_precision("highest"):
        return left @ right


@_rotation_of.defjvp
def _derivative_of_rotation(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """With x = Q S: dQ = Q Ω, where Ω S + S Ω = Qᵀ dx − dxᵀ Q.

    The derivative of the singular vectors, which is infinite where singular values are equal, as
    those of a rotation are, is not needed.
    """
    left, values, right = _signed_svd(primals[0])
    with jax.default_matmul_precision("highest"):
        rotation = left @ right
        turn = _transposed(left) @ tangents[0] @ _transposed(right)
        sums = values[..., :, None] + values[..., None, :]
        turn = (turn - _transposed(turn)) / jnp.where(sums == 0, 1, sums)
        return rotation, left @ turn @ right


def _signed_svd(x: Float[Array, "*event"]) -> tuple[Array, Array, Array]:
    """The singular value decomposition, with the last value negative where `x` is no rotation."""
    with jax.default_matmul_precision("highest"):
        left, values, right = jnp.linalg.svd(x)
        sign = jnp.sign(jnp.linalg.det(left @ right))
    last = jnp.arange(x.shape[-1]) == x.shape[-1] - 1
    signs = jnp.where(last, sign[..., None], jnp.ones_like(values))
    return left * signs[..., None, :], values * signs, right
