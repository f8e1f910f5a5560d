"""States that are pytrees, such as positions and types, and their shapes."""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jaxtyping import Array, ArrayLike, Float, PyTree

from kinetic_jax._checks import as_array, batch_size, refuse_memmap, require, short, whole_numbers

State: TypeAlias = PyTree[Float[Array, "..."]]  # an array, or a pytree of arrays, that moves
# The shape of one sample: of a state that is a dict, a dict of shapes.
EventShape: TypeAlias = tuple[int, ...] | Mapping[str, Any]


class StateSpec(NamedTuple):
    """The structure of one sample that is a pytree; hashable, so that it can be static.

    Attributes:
        structure: the pytree.
        shapes: the shapes of its leaves, without a batch axis.
    """

    structure: PyTreeDef
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """The number of numbers in a sample."""
        return sum(map(math.prod, self.shapes))

    @property
    def event_shape(self) -> EventShape:
        """The shapes, in the pytree."""
        return jax.tree.unflatten(self.structure, self.shapes)

    def flat(self, state: State) -> Float[Array, "*batch size"]:
        """The leaves behind one another, in the order of `jax.flatten_util.ravel_pytree`."""
        leaves = jax.tree.leaves(state)
        rows = [
            leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], math.prod(shape))
            for leaf, shape in zip(leaves, self.shapes, strict=True)
        ]
        return jnp.concatenate(rows, axis=-1)

    def restored(self, flat: ArrayLike) -> PyTree[Array]:
        """The pytree of what `flat` made one vector; of NumPy arrays for NumPy's."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = (np if isinstance(flat, np.ndarray) else jnp).split(flat, ends, axis=-1)
        leaves = [
            part.reshape(*part.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.structure, leaves)


def is_pytree_state(x: object) -> bool:
    """True for states that are pytrees; lists are arrays of numbers, as they are for NumPy."""
    leaves = jax.tree.leaves(x)
    is_inner = not isinstance(x, list) and not jax.tree_util.all_leaves([x])
    return is_inner and bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def spec_of(name: str, states: PyTree) -> StateSpec:
    """The structure of one sample of a batch of states.

    Raises:
        ValueError: if the leaves have not one batch axis in common, or not one dtype.
    """
    batch_size(name, states)
    require_one_dtype(name, states)
    leaves, structure = jax.tree.flatten(states)
    return StateSpec(structure, tuple(tuple(leaf.shape[1:]) for leaf in leaves))


def require_one_dtype(name: str, states: PyTree) -> None:
    """Checks that the arrays of a state have one dtype, as JAX takes them."""
    leaves = jax.tree.leaves(states)
    dtypes = sorted({str(jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves})
    require(len(dtypes) == 1, name, f"leaves of {', '.join(dtypes)}", "have leaves of one dtype")


@functools.partial(jax.jit, static_argnums=0)
def _flat(spec: StateSpec, states: PyTree) -> Array:
    return spec.flat(states)


def flat_rows(name: str, states: PyTree[ArrayLike], spec: StateSpec) -> Array:
    """A batch of states as rows, checked to be of that structure.

    Raises:
        ValueError: if the structure or the shapes differ, or a leaf is a memmap.
    """
    refuse_memmap(name, states)
    leaves, structure = jax.tree.flatten(states)
    expected: object = (
        spec.structure
    )  # compared itself: an OrderedDict equals a dict in another order
    require(structure == expected, name, f"{structure}", f"have the structure {expected}")
    shapes = [np.shape(leaf)[1:] for leaf in leaves]
    wanted = f"have rows of the shapes {', '.join(map(str, spec.shapes))}"
    require(shapes == list(spec.shapes), name, ", ".join(map(str, shapes)), wanted)
    return _flat(spec, jax.tree.map(lambda leaf: as_array(name, leaf), states))


def broadcasts(shape: tuple[int, ...], event: tuple[int, ...]) -> bool:
    """True if an array of this shape broadcasts to that of a sample (or a batch)."""
    sides = zip(reversed(shape), reversed(event), strict=False)
    return len(shape) <= len(event) and all(side in (1, other) for side, other in sides)


def broadcast_like(array: Array, like: Array) -> Array:
    """`array` in the shape of `like`; rank promotion may be forbidden, so its rank comes first."""
    padded = (1,) * (like.ndim - array.ndim) + array.shape
    return jnp.broadcast_to(array.reshape(padded), like.shape)


def checked_event_shape(
    event_shape: object, name: str = "event_shape", least: int = 1
) -> "tuple[int, ...] | StateSpec":
    """The shape of one sample, a tuple of whole numbers or a dict of such; hashable.

    Raises:
        ValueError: if it is neither.
    """
    if not isinstance(event_shape, Mapping):
        return whole_numbers(name, event_shape, least)
    shapes, structure = jax.tree.flatten(dict(event_shape), is_leaf=_is_no_container)
    require(bool(shapes), name, short(event_shape), "be a shape, or a dict of shapes")
    return StateSpec(structure, tuple(whole_numbers(name, shape, least) for shape in shapes))


def _is_no_container(node: object) -> bool:
    """True for a shape, and for anything else that is not a container of shapes."""
    parts = node.values() if isinstance(node, Mapping) else node
    return not isinstance(parts, Iterable) or not any(isinstance(p, Iterable) for p in parts)


def optional_event_shape(event_shape: object) -> "tuple[int, ...] | StateSpec | None":
    """`checked_event_shape`, for an argument that may be None."""
    return None if event_shape is None else checked_event_shape(event_shape)


def as_event_shape(shape: "tuple[int, ...] | StateSpec") -> EventShape:
    """The shape that `checked_event_shape` returned, as users write it."""
    return shape.event_shape if isinstance(shape, StateSpec) else shape
