"""Classifier-free guidance, on an interval of time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import (
    as_array,
    float_scalar,
    is_concrete,
    require,
    require_between,
    require_finite,
)
from kinetic_jax._dtypes import as_time, dtype_of
from kinetic_jax._mesh import varied_as
from kinetic_jax._state import State
from kinetic_jax.fields import VelocityField, WrappedField, as_field
from kinetic_jax.fields._field import require_takes_cond
from kinetic_jax.transforms._phases import is_within


class CFGField(WrappedField):
    """The guided velocity field; see `cfg`."""

    keeps_pace = True
    scale: Float[Array, ""]
    unconditional: PyTree[Array]
    interval: tuple[Float[Array, ""], Float[Array, ""]] | None

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The guided velocity of one sample."""
        t = as_time(t, x)
        if self.interval is None:
            return self._guided(t, x, cond)

        # On a fixed grid t is the same for the whole batch and this stays a branch, which saves
        # the unconditional evaluation outside the interval. The branches are local functions,
        # because `cond` hashes them, and methods of modules with arrays have no hash.
        def guided(t: Array, x: State, cond: PyTree[Any]) -> State:
            return self._guided(t, x, cond)

        def plain(t: Array, x: State, cond: PyTree[Any]) -> State:
            return varied_as(self.field(t, x, cond), guided, t, x, cond)

        return jax.lax.cond(is_within(t, *self.interval), guided, plain, t, x, cond)

    def check_cond(self, cond: PyTree[Any], name: str = "cond") -> None:
        """Refuses a condition whose dtype cannot hold the null condition (uint8 and class 256)."""
        nulls = jax.tree.leaves(self.unconditional)
        for leaf, null in zip(jax.tree.leaves(cond), nulls, strict=False):
            if is_concrete(null) and not jnp.issubdtype(leaf.dtype, jnp.inexact):
                label = np.asarray(null)
                fits = bool(np.all(label.astype(leaf.dtype) == label))
                require(fits, name, f"dtype {leaf.dtype}", f"be able to hold null_cond, {label}")
        self.field.check_cond(cond, name)

    def both(self, t: Array, x: State, cond: PyTree[Any]) -> tuple[State, State]:
        """The velocities given `cond` and given none, by one call of the field if it can be."""
        if cond is None:
            raise ValueError("cond must be given to a guided field, got None")
        if self.unconditional is None:
            return self.field(t, x, cond), self.field(t, x, None)
        pair = _stack(cond, self.unconditional)
        velocities = jax.vmap(lambda c: self.field(t, x, c))(pair)
        conditional, unconditional = (
            jax.tree.map(lambda leaf, n=n: leaf[n], velocities) for n in range(2)
        )
        return conditional, unconditional

    def _guided(self, t: Array, x: State, cond: PyTree[Any]) -> State:
        conditional, unconditional = self.both(t, x, cond)
        scale = self.scale.astype(dtype_of(x))
        return jax.tree.map(lambda c, u: u + scale * (c - u), conditional, unconditional)


def _stack(cond: PyTree[Any], null_cond: PyTree[Any]) -> PyTree[Any]:
    """The condition and the null condition, stacked for a single call of the field."""
    structure: object = jax.tree.structure(cond)
    expected: object = jax.tree.structure(null_cond)
    is_alike = structure == expected
    require(is_alike, "cond", structure, f"have the structure of null_cond, {expected}")

    def stack(leaf: ArrayLike, null: ArrayLike) -> Array:
        leaf = jnp.asarray(leaf)
        null = jnp.asarray(null).astype(leaf.dtype)
        expected = f"have the shape of one sample's cond, {leaf.shape}"
        require(null.shape == leaf.shape, "null_cond", f"shape {null.shape}", expected)
        # `jnp.stack` refuses a batch of conditions split over Explicit axes of a mesh.
        is_null = jnp.array([False, True]).reshape(2, *(1,) * leaf.ndim)
        return jnp.where(is_null, null[None], leaf[None])

    return jax.tree.map(stack, cond, null_cond)


class CFG(eqx.Module):
    """The transform that `cfg` returns."""

    scale: Float[Array, ""]
    null_cond: PyTree[Any]
    interval: tuple[Float[Array, ""], Float[Array, ""]] | None

    def __call__(self, field: VelocityField) -> CFGField:
        """Wraps `field`."""
        field = as_field(field)
        require_takes_cond(field, "to be guided by it")
        if self.null_cond is not None:
            field.check_cond(self.null_cond, "null_cond")
        return CFGField(field, self.scale, self.null_cond, self.interval)


def cfg(
    scale: ArrayLike, null_cond: PyTree[Any], *, interval: tuple[ArrayLike, ArrayLike] = (0.0, 1.0)
) -> CFG:
    """Classifier-free guidance: v_u + w (v_c − v_u) for lo ≤ t ≤ hi, v_c outside.

    v_c is the velocity given `cond`, v_u the velocity given `null_cond`. Both are computed in one
    call of the field with twice the batch, which `sample` counts as one evaluation.

    Args:
        scale: the guidance weight w; 1 is no guidance, 0 unconditional. Traced.
        null_cond: the condition of ONE sample that stands for "none", such as the null class,
            with the structure and shapes of one sample's `cond`. Traced. None for a model whose
            "no condition" is None; it is then called twice, once without.
        interval: the times (lo, hi) between which guidance acts (arXiv 2404.07724). Traced.

    Returns:
        The transform of fields, a pytree.

    Raises:
        ValueError: if the scale or the null condition is not finite, the null condition is empty,
            or the interval is reversed or not within [0, 1]; when applied, if the field declares
            that it ignores its condition; when first called, if `cond` and `null_cond` differ in
            structure or shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import cfg
        >>> labelled = lambda t, x, cond: x + cond
        >>> guided = cfg(2.0, null_cond=0.0)(labelled)
        >>> guided(jnp.array(0.5), jnp.zeros(2), jnp.array(1.0))
        Array([2., 2.], dtype=float32)

    References:
        Ho and Salimans, Classifier-free diffusion guidance, arXiv 2207.12598.
    """
    weight = float_scalar(scale, "scale")
    require_finite("scale", weight)
    is_given = null_cond is None or bool(jax.tree.leaves(null_cond))
    require(is_given, "null_cond", null_cond, "be None or hold at least one array")
    null_cond = jax.tree.map(lambda leaf: as_array("null_cond", leaf), null_cond)
    for leaf in jax.tree.leaves(null_cond):
        require_finite("null_cond", leaf)
    is_pair = isinstance(interval, tuple | list) and len(interval) == 2
    require(is_pair, "interval", interval, "be a pair (lo, hi)")
    low, high = (float_scalar(bound, "interval") for bound in interval)
    everywhere = False
    for bound in (low, high):
        require_between("interval", bound, 0.0, 1.0, closed=True)
    if is_concrete(low, high):
        ends = float(np.asarray(low)), float(np.asarray(high))
        require(ends[0] <= ends[1], "interval", interval, "have lo <= hi")
        everywhere = ends == (0.0, 1.0)
    return CFG(weight, null_cond, None if everywhere else (low, high))
