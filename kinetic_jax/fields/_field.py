"""The base class of fields: a velocity, and what a field declares about itself."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import require
from kinetic_jax._state import EventShape, State, StateSpec, as_event_shape
from kinetic_jax.manifolds import Manifold


class Field(eqx.Module):
    """Base class of velocity fields; its properties are what a field may declare about itself.

    Any callable `field(t, x, cond=None)` is a velocity field, and declares nothing. A subclass
    overrides what it knows; `sample`, `cfg`, jobs and training then check and use it. Transforms
    pass on what the field inside them declares.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import kts, noise, sample
        >>> from kinetic_jax.fields import Field
        >>> class Drift(Field):
        ...     velocity: jax.Array
        ...     event_shape = (2,)
        ...     def __call__(self, t, x, cond=None):
        ...         return self.velocity
        >>> field = kts(0.1)(Drift(jnp.ones(2)))
        >>> sample(field, jnp.zeros((4, 3)))
        Traceback (most recent call last):
        ValueError: x0 must have the field's event shape, (2,), got rows of shape (3,)

    Attributes:
        untrained: names of attributes that are settings, which `fit` leaves as they are.
    """

    untrained: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of ONE sample, of the shape and dtype of `x`, an array or a pytree."""

    @property
    def event_shape(self) -> EventShape | None:
        """Shape of one sample, a dict of shapes for a dict of arrays; None for any."""
        return None

    @property
    def takes_cond(self) -> bool:
        """False if the field ignores its condition; `cfg` then refuses it."""
        return True

    @property
    def num_classes(self) -> int | None:
        """Number of classes, if conditions are class labels."""
        return None

    @property
    def null_cond(self) -> PyTree[Array] | None:
        """The condition of one sample that means "none", for `cfg` and training."""
        return None

    @property
    def scaling(self) -> Any:
        """The `kinetic_jax.networks.Scaling` of the raw data, if it is known."""
        return None

    @property
    def tau_split(self) -> Float[Array, ""] | None:
        """Where a gain on the velocity has a kink: `sample` splits energies there."""
        return None

    @property
    def manifold(self) -> Manifold | None:
        """The manifold on which samples move; None for flat space."""
        return None

    @property
    def mesh(self) -> Mesh | None:
        """The mesh over which the field splits its own arrays, if it does."""
        return None

    def partition_specs(self) -> list[PartitionSpec]:
        """The layout on `mesh` of each of the field's arrays, in the order of its leaves."""
        return [PartitionSpec() for _ in filter(eqx.is_array, jax.tree.leaves(self))]

    def arrival(self, dtype: np.dtype) -> ArrayLike | None:
        """The last time at which a solver evaluates the field; later it takes the limit."""
        del dtype
        return None

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The rate κ at which a path closes in on where it leads, `u(t, x) = κ(t) (D − x)`.

        D is the sample that the model predicts at the end of the path. A plain velocity field on
        the linear path has κ = 1/(1 − t), the default; a gain η multiplies it, which a field of
        your own must declare if it has one, as a scalar in the dtype of t. `sample` integrates it
        to find how much noise is left on a sample (`Trajectories.residual`). It is asked for
        t < 1 only.
        """
        return 1 / (1 - t)

    def without_gain(self) -> "Field":
        """The field without the gains on its velocity, which reads t as the level of noise."""
        return self

    @property
    def needs_step(self) -> bool:
        """True if a model inside takes the size of the step, and `with_step` has bound none."""
        return False

    def with_step(self, dt: Float[ArrayLike, ""]) -> "Field":
        """The field at steps of size `dt`, for models that take it (shortcut, MeanFlow).

        `sample` and `sweep` bind the size of every step of a fixed grid, for all of its stages. A
        step that is bound before stays: bind one to call such a field yourself, or to sample it by
        adaptive steps, to which no size belongs. Other fields are returned unchanged.

        Args:
            dt: the size of the step, not negative; traced.

        Raises:
            ValueError: if a model takes the step, and `dt` is not finite and at least 0.

        Example:
            >>> import jax.numpy as jnp
            >>> from kinetic_jax.fields import as_field
            >>> field = as_field(lambda t, x, cond, dt: (1 + dt) * jnp.ones_like(x))
            >>> field.needs_step, field.with_step(0.5).needs_step
            (True, False)
            >>> field.with_step(0.5)(jnp.array(0.0), jnp.zeros(2))
            Array([1.5, 1.5], dtype=float32)
        """
        del dt
        return self

    def check_cond(self, cond: PyTree[Any], name: str = "cond") -> None:
        """Raises a ValueError, naming the argument, for conditions that the field does not know."""

    def trainable(self) -> PyTree[bool]:
        """A mask of the arrays that `fit` trains.

        Floating ones, but none of the `untrained` attributes; a field inside masks its own.
        """
        is_child = lambda node: node is not self  # noqa: E731
        children, structure = jax.tree.flatten_with_path(self, is_leaf=is_child)

        def mask(path: tuple[Any, ...], child: Any) -> PyTree[bool]:
            if path[0].name in self.untrained:
                return jax.tree.map(lambda leaf: False, child)
            return trained(child)

        return jax.tree.unflatten(structure, [mask(*child) for child in children])


class ModelField(Field):
    """A field around another model, with an optional `event_shape`."""

    shape: tuple[int, ...] | StateSpec | None = eqx.field(static=True)

    @property
    def event_shape(self) -> EventShape | None:
        """Shape of one sample."""
        return None if self.shape is None else as_event_shape(self.shape)


class WrappedField(Field):
    """A field made of another one, with the same x and the same cond.

    It declares what the field inside declares, which of its arrays are trained among the rest.
    Arrays of the wrapper itself are trained, unless their attribute is named in `untrained`.

    Attributes:
        field: the field inside; `as_field` makes one of any callable.
        is_adapter: True if the wrapper only says how a model is read, and is trained with it;
            False for transforms, which are applied to a trained field.
        keeps_pace: True if the velocity closes in on its goal as that of the field inside does.
            False: a wrapper with a gain declares its `closing_rate`; `Trajectories.residual` is NaN
            without.
    """

    is_adapter: ClassVar[bool] = False
    keeps_pace: ClassVar[bool] = False
    field: Field

    @property
    def event_shape(self) -> EventShape | None:
        """Shape of one sample."""
        return self.field.event_shape

    @property
    def takes_cond(self) -> bool:
        """False if the field inside ignores its condition."""
        return self.field.takes_cond

    @property
    def num_classes(self) -> int | None:
        """Number of classes."""
        return self.field.num_classes

    @property
    def null_cond(self) -> PyTree[Array] | None:
        """The condition that means "none"."""
        return self.field.null_cond

    @property
    def scaling(self) -> Any:
        """Scaling of the raw data."""
        return self.field.scaling

    @property
    def tau_split(self) -> Float[Array, ""] | None:
        """Where the field inside has a kink."""
        return self.field.tau_split

    @property
    def manifold(self) -> Manifold | None:
        """Where the samples of the field inside move."""
        return self.field.manifold

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """That of the field inside if the wrapper `keeps_pace`, else NaN: it is not known."""
        rate = self.field.closing_rate(t)
        return rate if self.keeps_pace else unknown_rate(rate)

    def without_gain(self) -> Field:
        """The same around the field inside without its gains."""
        inside = self.field.without_gain()
        if inside is self.field:
            return self
        return eqx.tree_at(lambda outer: outer.field, self, inside)

    @property
    def needs_step(self) -> bool:
        """True if the field inside needs the size of the step."""
        return self.field.needs_step

    def with_step(self, dt: Float[ArrayLike, ""]) -> Field:
        """The same around the field inside with the step `dt`, if that needs one."""
        if not self.needs_step:
            return self
        return eqx.tree_at(lambda outer: outer.field, self, self.field.with_step(dt))

    def arrival(self, dtype: np.dtype) -> ArrayLike | None:
        """The last time at which a solver may look at the field inside."""
        return self.field.arrival(dtype)

    def check_cond(self, cond: PyTree[Any], name: str = "cond") -> None:
        """Raises for conditions that the field inside does not know."""
        self.field.check_cond(cond, name)


def trained(tree: PyTree[Any]) -> PyTree[bool]:
    """A mask of the floating arrays in `tree`, without those that a field in it does not train."""

    def mask(node: Any) -> PyTree[bool]:
        is_floating = jax.tree.map(eqx.is_inexact_array, node)
        if not isinstance(node, Field):
            return is_floating
        return jax.tree.map(lambda a, b: a and b, is_floating, node.trainable())

    return jax.tree.map(mask, tree, is_leaf=lambda node: isinstance(node, Field))


def check_inputs(field: Field, name: str, x: Array, cond: PyTree[Any]) -> None:
    """Checks a batch against what the field declares.

    Raises:
        ValueError: if the rows of `x` have another shape, or the field refuses `cond`.
    """
    rows, expected = x.shape[1:], field.event_shape
    expected = tuple(expected) if isinstance(expected, list) else expected
    if expected is not None and rows != expected:
        raise ValueError(
            f"{name} must have the field's event shape, {expected}, got rows of shape {rows}"
        )
    if field.manifold is not None:
        field.manifold.check_shape(name, rows)
    if cond is not None:
        field.check_cond(cond)


def has_gain(field: Field) -> bool:
    """True if a gain is around a field, or inside of it."""
    return field.without_gain() is not field


def unknown_rate(rate: Float[Array, ""]) -> Float[Array, ""]:
    """NaN in the place of a closing rate."""
    return jnp.full_like(rate, jnp.nan)


def is_transformed(field: Field) -> bool:
    """True if a transform is around a field, perhaps inside of adapters."""
    while isinstance(field, WrappedField):
        if not field.is_adapter:
            return True
        field = field.field
    return False


def require_takes_cond(field: Field, why: str) -> None:
    """Raises for a field that ignores its condition."""
    innermost = field
    while isinstance(innermost, WrappedField):
        innermost = innermost.field
    name = type(innermost).__name__
    require(field.takes_cond, "field", f"{name}, which ignores it", f"use cond {why}")


def arrival_of(field: Field, dtype: np.dtype) -> Float[Array, ""] | None:
    """`field.arrival` as an array, so that it is traced."""
    last = field.arrival(dtype)
    return None if last is None else jnp.asarray(last, dtype)


def _is_split(node: object) -> bool:
    return isinstance(node, Field) and node.mesh is not None


def own_mesh(tree: PyTree[Any]) -> Mesh | None:
    """The mesh over which a field in `tree` splits its own arrays, if one does."""
    split = filter(_is_split, jax.tree.leaves(tree, is_leaf=_is_split))
    return next((node.mesh for node in split), None)


def partition_specs(field: Field, mesh: Mesh) -> list[PartitionSpec]:
    """The layout of each array of a field on `mesh`, in the order of its leaves.

    Raises:
        ValueError: if a field inside splits its arrays over another mesh.
    """
    specs: list[PartitionSpec] = []
    for node in jax.tree.leaves(field, is_leaf=_is_split):
        if _is_split(node):
            same = node.mesh == mesh
            require(same, "mesh", mesh, f"be {node.mesh}, over which the rows are split")
            specs += node.partition_specs()
        elif eqx.is_array(node):
            specs.append(PartitionSpec())
    return specs
