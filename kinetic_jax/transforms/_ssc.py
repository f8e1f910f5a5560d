"""SSC: a gain that falls as a power of the time left."""

from jaxtyping import Array, ArrayLike, Float

from kinetic_jax._checks import float_scalar, is_concrete, require, require_finite
from kinetic_jax.transforms._gain import Gain, TimeGain, gain


class SSCGain(TimeGain):
    """η = 1 + a (1 − t)^b; see `ssc`."""

    a: Float[Array, ""]
    b: Float[Array, ""]
    tau_split = None

    def __call__(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """η(t)."""
        return 1 + self.a.astype(t.dtype) * (1 - t) ** self.b.astype(t.dtype)


def ssc(a: ArrayLike, b: ArrayLike, *, allow_reversal: bool = False) -> Gain:
    """The gain `η = 1 + a (1 − t)^b`; KTS with τ → 1 and a linear launch is its b = 1 case.

    Args:
        a: strength, above −1; traced.
        b: power, not negative; traced.
        allow_reversal: permit a gain that is zero or negative somewhere on [0, 1].

    Returns:
        The transform of fields, a pytree.

    Raises:
        ValueError: if a number is not finite, `b` is negative or, unless `allow_reversal`, the
            gain is not positive on [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.transforms import ssc
        >>> still = lambda t, x, cond=None: jnp.ones_like(x)
        >>> ssc(0.5, 2.0)(still)(jnp.array(0.0), jnp.zeros(2))
        Array([1.5, 1.5], dtype=float32)

    References:
        arXiv 2605.14819.
    """
    strength, power = float_scalar(a, "a"), float_scalar(b, "b")
    require_finite("a", strength)
    require_finite("b", power)
    if is_concrete(power):
        require(float(power) >= 0, "b", b, "not be negative")
    return gain(SSCGain(strength, power), allow_reversal=allow_reversal)
