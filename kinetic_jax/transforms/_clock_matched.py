"""The control of a gain: the same path at another pace."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import is_concrete, require, whole_number
from kinetic_jax._dtypes import as_time, dtype_of
from kinetic_jax._open import call_opened
from kinetic_jax._state import State
from kinetic_jax.fields import Field, VelocityField, WrappedField, as_field
from kinetic_jax.fields._step import checked_step
from kinetic_jax.transforms._gain import Gain, gain_at


class ClockMatchedField(WrappedField):
    """See `clock_matched`.

    Attributes:
        rate: η at the nodes.
        clock: s at the nodes, increasing.
        nodes: times.
        step: the size of the step in t, for a field inside that takes it.
    """

    rate: Float[Array, " nodes"]
    clock: Float[Array, " nodes"]
    nodes: Float[Array, " nodes"]
    step: Float[Array, ""] | None = None
    tau_split = None

    @property
    def needs_step(self) -> bool:
        """True if the field inside needs the size of the step."""
        return self.field.needs_step and self.step is None

    def with_step(self, dt: Float[ArrayLike, ""]) -> Field:
        """The same with the step `dt`, which is |η(t)| dt on the clock of the field inside."""
        if not self.needs_step:
            return self
        step = checked_step(dt)
        return eqx.tree_at(lambda outer: outer.step, self, step, is_leaf=lambda node: node is None)

    def arrival(self, dtype: np.dtype) -> None:
        """None: the last time that the field inside declares is of its own clock."""
        del dtype

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """η(t) times that of the field inside at s(t); 0 where it stands still."""
        s, is_moving, pace = self._reading(t)
        rate = self.field.closing_rate(jnp.where(is_moving, s, 0.0).astype(t.dtype))
        return jnp.where(is_moving, pace.astype(t.dtype) * rate, jnp.zeros_like(rate))

    def without_gain(self) -> Field:
        """The field inside."""
        return self.field.without_gain()

    def _reading(self, t: Float[Array, ""]) -> tuple[Array, Array, Array]:
        """s(t), whether that is below 1, and η(t)."""
        s = jnp.interp(t, self.nodes, self.clock)
        return s, s < 1, jnp.interp(t, self.nodes, self.rate)

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample."""
        s, is_moving, pace = self._reading(as_time(t, x))
        eta = jnp.where(is_moving, pace, 0.0)
        field = self.field
        if self.step is not None:
            # Not eta, which is 0 once s is 1, where a model of log dt would be infinite.
            field = field.with_step(jnp.abs(pace) * self.step.astype(pace.dtype))
        velocity = field(jnp.minimum(s, 1.0).astype(dtype_of(x)), x, cond)
        return jax.tree.map(lambda v: eta.astype(v.dtype) * v, velocity)


class ClockMatched(eqx.Module):
    """The transform that `clock_matched` returns."""

    rate: Float[Array, " nodes"]
    clock: Float[Array, " nodes"]
    nodes: Float[Array, " nodes"]

    def __call__(self, field: VelocityField) -> ClockMatchedField:
        """Wraps `field`."""
        return ClockMatchedField(as_field(field), self.rate, self.clock, self.nodes)


def clock_matched(gain: Gain, *, num_nodes: int = 2001) -> ClockMatched:
    """The control of a gain η: `u(t, x) = η(t) v(s(t), x)` with `s(t) = ∫_0^t η`.

    It runs the path of v itself, at the pace of the gain: the network receives the time at which
    it would be at x, where a gain alone leaves it at t. From s = 1 on it stands still. What the
    gain does beyond a change of pace is the difference between the two. A network that takes the
    size of the step receives η(t) dt.

    Args:
        gain: a transform of `kts`, `ssc` or `gain`, whose numbers are known.
        num_nodes: nodes of the trapezoid rule by which s is integrated.

    Returns:
        The transform of fields, a pytree.

    Raises:
        ValueError: if `gain` is not a gain of known numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import kts, sample
        >>> from kinetic_jax.transforms import clock_matched
        >>> drift = lambda t, x, cond=None: 2 * t * jnp.ones_like(x)  # x = t²
        >>> slow = clock_matched(kts(alpha0=0.1, beta0=0.02))
        >>> sample(slow(drift), jnp.zeros((1, 1)), num_steps=200).x1.shape
        (1, 1)
    """
    require(isinstance(gain, Gain), "gain", type(gain).__name__, "be a kts, ssc or gain")
    num_nodes = whole_number("num_nodes", num_nodes, 2)
    require(is_concrete(gain), "gain", "traced numbers", "hold known numbers")
    nodes = np.linspace(0.0, 1.0, num_nodes)
    with jax.ensure_compile_time_eval():
        rate = np.asarray(call_opened(gain_at, gain.fn, jnp.asarray(nodes, float)), float)
    clock = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(nodes))])
    return ClockMatched(*(jnp.asarray(values, float) for values in (rate, clock, nodes)))
