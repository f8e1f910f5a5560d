"""Controls for KTS: other gains, other clocks, and trivial ways to lower F_mem."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax.fields import VelocityField
from kinetic_jax.transforms import Transform, gain, kts_gain


class ClockMatchedField(eqx.Module):
    """u(t, x) = η(t) v(s(t), x) with s(t) = ∫_0^t η: the same path at another pace.

    The network receives the time at which it would be at x; under a gain alone it receives t.
    From s = 1 on it stands still.

    Attributes:
        field: v.
        rate: η at the nodes.
        clock: s at the nodes, increasing.
        nodes: times.
    """

    field: VelocityField
    rate: Float[Array, " nodes"]
    clock: Float[Array, " nodes"]
    nodes: Float[Array, " nodes"]

    def __call__(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample."""
        s = jnp.interp(t, self.nodes, self.clock)
        eta = jnp.where(s < 1, jnp.interp(t, self.nodes, self.rate), 0.0)
        return eta.astype(x.dtype) * self.field(jnp.minimum(s, 1.0).astype(x.dtype), x, cond)


def clock_matched(eta: Callable[[np.ndarray], Any], num_nodes: int = 2001) -> Transform:
    """The transform to a `ClockMatchedField`, its clock integrated by the trapezoid rule."""
    nodes = np.linspace(0.0, 1.0, num_nodes)
    rate = np.asarray(eta(nodes), np.float64)
    clock = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(nodes))])
    arrays = [jnp.asarray(values, jnp.float32) for values in (rate, clock, nodes)]
    return lambda field: ClockMatchedField(field, *arrays)


def ssc(a: float, b: float) -> Transform:
    """η = 1 + a (1 − t)^b (arXiv 2605.14819); KTS with τ → 1 and a linear launch at b = 1."""
    strength, power = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    return gain(jax.tree_util.Partial(_ssc_gain, strength, power))


def _ssc_gain(a: Array, b: Array, t: Array) -> Array:
    return 1 + a.astype(t.dtype) * (1 - t) ** b.astype(t.dtype)


def constant_like(alpha0: float, beta0: float, tau_split: float, steps: int) -> Transform:
    """The constant gain with the ∫ η dt that a KTS setting has on the same uniform grid."""
    eta = kts_gain(jnp.arange(steps) / steps, alpha0, beta0, tau_split)
    mean = jnp.asarray(np.asarray(eta, np.float64).mean(), jnp.float32)
    return gain(jax.tree_util.Partial(_constant_gain, mean))


def _constant_gain(c: Array, t: Array) -> Array:
    return c.astype(t.dtype) * jnp.ones_like(t)


def time_shifted(steps: int, shift: float) -> np.ndarray:
    """The grid t' = t / (t + s (1 − t)) of Stable Diffusion 3: s > 1 steps finer at the noise."""
    t = np.arange(steps + 1) / steps
    return t / (t + shift * (1 - t))


def with_noise(images: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Finished samples with noise on them: a trivial way to lower F_mem."""
    draws = np.random.default_rng(seed).normal(size=images.shape)
    return (images + sigma * draws).astype(images.dtype)
