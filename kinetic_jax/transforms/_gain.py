"""A scalar gain on the velocity, u = η(t) v, of which KTS is a special case."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import as_array, float_array, is_concrete, require, require_flag
from kinetic_jax._dtypes import as_time
from kinetic_jax._open import call_opened
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import State
from kinetic_jax.fields import Field, VelocityField, WrappedField, as_field
from kinetic_jax.fields._protocol import require_function
from kinetic_jax.transforms._phases import checked_tau_split


class TimeGain(eqx.Module):
    """A gain η(t), and where it has a kink."""

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """η(t), in the dtype of t."""

    @property
    @abc.abstractmethod
    def tau_split(self) -> Float[Array, ""] | None:
        """Where the gain has a kink, or None."""


class FunctionGain(TimeGain):
    """A function of the user's as a gain."""

    fn: Callable[..., Any]
    kink: Float[Array, ""] | None = None
    name: str = eqx.field(static=True, default="fn")

    def __call__(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """`fn(t)`."""
        value = as_array(f"the output of {self.name}", self.fn(t))
        is_real = not jnp.issubdtype(value.dtype, jnp.complexfloating)
        got = f"shape {value.shape} and dtype {value.dtype}"
        require(value.shape == () and is_real, self.name, got, "return one number for one time")
        return value.astype(t.dtype)

    @property
    def tau_split(self) -> Float[Array, ""] | None:
        """The kink."""
        return self.kink


class GainField(WrappedField):
    """The velocity field `fn(t) field(t, x, cond)`; see `gain`."""

    fn: TimeGain

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample; the inner field is still evaluated at t."""
        t = as_time(t, x)
        velocity = self.field(t, x, cond)
        eta = self.fn(t)
        return jax.tree.map(lambda v: eta.astype(v.dtype) * v, velocity)

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """η(t) times that of the field inside."""
        return self.fn(t) * self.field.closing_rate(t)

    def without_gain(self) -> Field:
        """The field inside."""
        return self.field.without_gain()

    @property
    def tau_split(self) -> Float[Array, ""] | None:
        """The kink of the gain, or else of the inner field."""
        return self.field.tau_split if self.fn.tau_split is None else self.fn.tau_split


class Gain(eqx.Module):
    """The transform that `gain` and `kts` return.

    Attributes:
        fn: the gain η, a function of time whose numbers are leaves.
    """

    fn: TimeGain

    def __call__(self, field: VelocityField) -> GainField:
        """Wraps `field`."""
        return GainField(as_field(field), self.fn)


def gain(
    fn: Callable[..., Any], *, tau_split: ArrayLike | None = None, allow_reversal: bool = False
) -> Gain:
    """The transform u(t, x) = fn(t) v(t, x).

    Args:
        fn: the gain η, a function of a scalar time. The numbers of a callable pytree (an
            `equinox.Module`) are traced; arrays in a plain function are read like a field's.
        tau_split: where η has a kink or a jump, if it has one; `sample` splits the energy there.
        allow_reversal: permit a gain that is zero or negative somewhere on [0, 1].

    Returns:
        A transform of velocity fields that keeps the dtype of the velocity.

    Raises:
        ValueError: if `fn` is not a function of one time, `tau_split` lies outside (0, 1) or,
            unless `allow_reversal`, η(t) is not finite and positive at each of 1,001 times that
            span [0, 1] (checked when η's numbers are concrete).

    Example:
        SSC (arXiv 2605.14819), η = 1 + a (1 − t)^b:

        >>> import jax.numpy as jnp
        >>> from kinetic_jax import gain
        >>> still = lambda t, x, cond=None: jnp.ones_like(x)
        >>> field = gain(lambda t: 1 + 0.5 * (1 - t) ** 2)(still)
        >>> field(jnp.array(0.0), jnp.zeros(2))
        Array([1.5, 1.5], dtype=float32)
    """
    require_function("fn", fn, "t")
    require_flag("allow_reversal", allow_reversal)
    kink = None if tau_split is None else checked_tau_split(tau_split)
    eta = fn if isinstance(fn, TimeGain) else FunctionGain(as_pytree(fn), kink)
    if not allow_reversal:
        _refuse_reversal(eta)
    return Gain(eta)


# Compiled once per structure of the gain, not per number in it.
@eqx.filter_jit
def gain_at(fn: TimeGain, times: Float[Array, " times"]) -> Float[Array, " times"]:
    """η at each of several times."""
    return jax.vmap(fn)(times)


def _refuse_reversal(fn: TimeGain) -> None:
    if not is_concrete(fn):
        return
    nodes = np.linspace(0.0, 1.0, 1001)
    if fn.tau_split is not None:
        # A gain may jump at tau_split, so check both sides.
        tau = float(fn.tau_split)
        nodes = np.sort(np.append(nodes, [tau, max(tau - 1e-5, 0.0)]))
    with jax.ensure_compile_time_eval():
        eta = call_opened(gain_at, fn, float_array(nodes, "nodes"))
    if not is_concrete(eta):
        return  # the function closes over a tracer
    values = np.asarray(eta)
    bad = ~(values > 0) | ~np.isfinite(values)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"gain must stay finite and above 0 on [0, 1], got {values[first]:.4g} at "
            f"t = {nodes[first]:.4g} (lowest {values.min():.4g}): the flow would stop or reverse; "
            "pass allow_reversal=True if that is meant"
        )
