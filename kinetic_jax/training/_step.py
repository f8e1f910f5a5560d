"""The compiled part of training: any number of steps in one program."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from kinetic_jax.fields import VelocityField
from kinetic_jax.training._loss import cfm_loss

if TYPE_CHECKING:
    import optax

LOSS_BUFFER = 4096  # the most steps one call takes


class TrainingState(NamedTuple):
    """All that changes in training.

    Attributes:
        step: how many steps were taken.
        field: the parameters, in float32 at least: half precision would round small steps away.
        ema: their moving average.
        optimizer: the state of the optimizer.
    """

    step: Int[Array, ""]
    field: PyTree[Any]
    ema: PyTree[Any]
    optimizer: PyTree[Any]


class Problem(NamedTuple):
    """What stays as it is in training.

    Attributes:
        static: the part of the field that is not trained.
        dtypes: those in which the field holds its parameters.
        data: shape (rows, *event).
        cond: conditions of the rows, or None.
        null_cond: the condition that stands for "none", or None.
        cond_dropout: share of samples that see it.
        key: the key all randomness comes from.
        optimizer: the optimizer; static.
        batch_size: rows per step; static.
        ema: decay of the moving average, or None; static.
    """

    static: Any
    dtypes: PyTree[Any]
    data: Float[Array, "rows *event"]
    cond: PyTree[Any]
    null_cond: PyTree[Any]
    cond_dropout: Float[Array, ""]
    key: PRNGKeyArray
    optimizer: "optax.GradientTransformation"
    batch_size: int
    ema: float | None


def split_field(field: VelocityField) -> tuple[PyTree[Any], Any]:
    """The parameters of a field, and the part of it that is not trained.

    Raises:
        ValueError: if the field has no floating arrays.
    """
    parameters, static = eqx.partition(field, _trainable(field))
    if not jax.tree.leaves(parameters):
        raise ValueError(
            f"field must be a pytree with floating arrays to train, got {type(field).__name__} "
            "without any: arrays that a plain function closes over cannot be seen from outside"
        )
    return parameters, static


def initial_state(
    parameters: PyTree[Any], optimizer: "optax.GradientTransformation"
) -> TrainingState:
    """The state before the first step."""
    # Copies: the state's buffers are donated, and the caller's field must outlive that.
    wide = jax.tree.map(lambda leaf: jnp.array(leaf, _wide(leaf.dtype)), parameters)
    with optax_promotion():
        state = optimizer.init(wide)
    state = jax.tree.map(jnp.array, state)
    return TrainingState(jnp.zeros((), jnp.int32), wide, jax.tree.map(jnp.array, wide), state)


def _wide(dtype: Any) -> Any:
    """A floating or complex dtype, or float32 for half precision."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def field_of(problem: Problem, parameters: PyTree[Any]) -> Any:
    """The field with these parameters, in its own dtypes."""
    own = jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), parameters, problem.dtypes)
    return eqx.combine(own, problem.static)


def _trainable(field: VelocityField) -> Any:
    """Which leaves are trained: floating arrays, but for those a Flax model calls no parameters."""

    def mask(node: Any) -> Any:
        floating = jax.tree.map(eqx.is_inexact_array, node)
        if not _tells(node):
            return floating
        return jax.tree.map(lambda good, own: good and own, floating, node.trainable())

    return jax.tree.map(mask, field, is_leaf=_tells)


def _tells(node: Any) -> bool:
    return isinstance(node, eqx.Module) and hasattr(node, "trainable")


@contextmanager
def optax_promotion() -> Iterator[None]:
    """The implicit promotions that Optax's own code counts on, whatever the caller's settings."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# The state's buffers are donated: no second copy of parameters and moments.
@eqx.filter_jit(donate="all-except-first")
def advance(
    problem: Problem, state: TrainingState, stop: Int[Array, ""]
) -> tuple[TrainingState, Float[Array, " buffer"]]:
    """Steps until `stop` (at most `LOSS_BUFFER` of them); their losses from the front.

    One program for any number of steps: how a run is cut into calls cannot change its numbers.
    """
    _, _, data, cond, null_cond, cond_dropout, key, _, batch_size, _ = problem
    start = state.step + 0  # not the donated buffer itself

    def body(step: Array, carry: Any) -> Any:
        state, losses = carry
        draw, drop, draws = jax.random.split(jax.random.fold_in(key, step), 3)
        rows = jax.random.randint(draw, (batch_size,), 0, data.shape[0])
        batch, labels = data[rows], jax.tree.map(lambda leaf: leaf[rows], cond)
        if null_cond is not None and cond is not None:
            labels = _drop(drop, labels, null_cond, cond_dropout)

        def loss(parameters: Any) -> Array:
            return jnp.mean(cfm_loss(field_of(problem, parameters), draws, batch, labels))

        value, gradient = jax.value_and_grad(loss)(state.field)
        losses = losses.at[step - start].set(value.astype(losses.dtype))
        return _update(problem, state, loss, value, gradient), losses

    losses = jnp.zeros(LOSS_BUFFER, jnp.float32)
    return jax.lax.fori_loop(start, stop, body, (state, losses))


def _drop(
    key: PRNGKeyArray, cond: PyTree[Any], null_cond: PyTree[Any], share: Float[Array, ""]
) -> PyTree[Any]:
    size = jax.tree.leaves(cond)[0].shape[0]
    dropped = jax.random.uniform(key, (size,), share.dtype) < share

    def pick(leaf: Array, null: Any) -> Array:
        mask = dropped.reshape(size, *(1,) * (leaf.ndim - 1))
        return jnp.where(mask, jnp.broadcast_to(jnp.asarray(null, leaf.dtype), leaf.shape), leaf)

    return jax.tree.map(pick, cond, null_cond)


def _update(
    problem: Problem,
    state: TrainingState,
    loss: Callable[[PyTree[Any]], Array],
    value: Array,
    gradient: PyTree[Any],
) -> TrainingState:
    import optax

    # JAX's gradient of a complex parameter is the conjugate of the direction of steepest ascent.
    gradient = jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, gradient)
    with optax_promotion():
        updates, optimizer = optax.with_extra_args_support(problem.optimizer).update(
            gradient, state.optimizer, state.field, value=value, grad=gradient, value_fn=loss
        )
        field = optax.apply_updates(state.field, updates)
        average = state.ema
        if problem.ema is not None:
            step = state.step.astype(jnp.float32)
            decay = jnp.minimum(problem.ema, (1 + step) / (10 + step))
            average = jax.tree.map(
                lambda old, new: old + (1 - decay).astype(new.dtype) * (new - old), state.ema, field
            )
    return TrainingState(state.step + 1, field, average, optimizer)
