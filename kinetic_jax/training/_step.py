"""The compiled training loop, one program for any number of steps."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from kinetic_jax.fields import VelocityField
from kinetic_jax.fields._field import trained
from kinetic_jax.training._coupling import INDEPENDENT, Coupling, optimal_pairing
from kinetic_jax.training._loss import cfm_loss, drawn_noise
from kinetic_jax.training._optax import optax_promotion

if TYPE_CHECKING:
    import optax

LOSS_BUFFER = 4096  # maximum number of steps per call


class TrainingState(NamedTuple):
    """The state of a run.

    Attributes:
        step: number of steps taken.
        field: the parameters, in float32 or better: half precision would round small updates away.
        ema: moving average of the parameters.
        optimizer: the state of the optimizer.
    """

    step: Int[Array, ""]
    field: PyTree
    ema: PyTree
    optimizer: PyTree


class Problem(NamedTuple):
    """The constant inputs of a run.

    Attributes:
        static: the untrained part of the field.
        dtypes: dtypes of the field's parameters.
        data: shape (rows, *event).
        cond: conditions of the rows, or None.
        null_cond: the condition that means "none", or None.
        cond_dropout: share of samples that receive `null_cond`.
        key: the key of all random draws.
        optimizer: the optimizer; static.
        batch_size: rows per step; static.
        ema: decay of the moving average, or None; static.
        coupling: the name of a coupling, static; or the noise of each row, shape (rows, *event).
    """

    static: PyTree
    dtypes: PyTree
    data: Float[Array, "rows *event"]
    cond: PyTree
    null_cond: PyTree
    cond_dropout: Float[Array, ""]
    key: PRNGKeyArray
    optimizer: "optax.GradientTransformation"
    batch_size: int
    ema: float | None
    coupling: Coupling = INDEPENDENT


def split_field(field: VelocityField) -> tuple[PyTree[Array], PyTree]:
    """Splits a field into its parameters, of which there must be some, and the untrained part."""
    parameters, static = eqx.partition(field, trained(field))
    if not jax.tree.leaves(parameters):
        raise ValueError(
            f"field must be a pytree with floating arrays to train, got {type(field).__name__} "
            "without any: arrays that a plain function closes over cannot be seen from outside"
        )
    return parameters, static


def initial_state(parameters: PyTree, optimizer: "optax.GradientTransformation") -> TrainingState:
    """The state before the first step."""

    def wide_copy(leaf: Array) -> Array:
        return jnp.array(leaf, leaf.dtype if jnp.finfo(leaf.dtype).bits >= 32 else jnp.float32)

    # Copies: the state's buffers are donated, and the caller's field must stay usable.
    wide = jax.tree.map(wide_copy, parameters)
    with optax_promotion():
        state = optimizer.init(wide)
    state = jax.tree.map(jnp.array, state)
    return TrainingState(jnp.zeros((), jnp.int32), wide, jax.tree.map(jnp.array, wide), state)


def field_of(problem: Problem, parameters: PyTree[Array]) -> PyTree:
    """The field with these parameters, cast to its own dtypes."""
    cast = jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), parameters, problem.dtypes)
    return eqx.combine(cast, problem.static)


# The state's buffers are donated: no second copy of parameters and moments.
@eqx.filter_jit(donate="all-except-first")
def advance(
    problem: Problem, state: TrainingState, stop: Int[Array, ""]
) -> tuple[TrainingState, Float[Array, " buffer"]]:
    """Trains until step `stop`, at most `LOSS_BUFFER` steps; returns the state and the losses.

    All calls share one program, so their lengths do not affect the numbers.
    """
    data, cond, null_cond = problem.data, problem.cond, problem.null_cond
    start = state.step + 0  # a copy of the donated buffer

    def body(step: Array, carry: tuple[TrainingState, Array]) -> tuple[TrainingState, Array]:
        state, losses = carry
        draw, drop, draws = jax.random.split(jax.random.fold_in(problem.key, step), 3)
        rows = jax.random.randint(draw, (problem.batch_size,), 0, data.shape[0])
        batch, labels = data[rows], jax.tree.map(lambda leaf: leaf[rows], cond)
        if null_cond is not None and cond is not None:
            labels = _drop(drop, labels, null_cond, problem.cond_dropout)
        x0 = _starts(problem.coupling, draws, rows, batch)

        def loss(parameters: PyTree) -> Array:
            field = field_of(problem, parameters)
            return jnp.mean(cfm_loss(field, draws, batch, labels, x0=x0))

        value, gradient = jax.value_and_grad(loss)(state.field)
        losses = losses.at[step - start].set(value.astype(losses.dtype))
        return _update(problem, state, loss, value, gradient), losses

    losses = jnp.zeros(LOSS_BUFFER, jnp.float32)
    return jax.lax.fori_loop(start, stop, body, (state, losses))


def _starts(
    coupling: Coupling,
    key: PRNGKeyArray,
    rows: Int[Array, " batch"],
    batch: Float[Array, "batch *event"],
) -> Float[Array, "batch *event"] | None:
    """The noise of a batch; None for that which `cfm_loss` draws from `key`."""
    if not isinstance(coupling, str):
        return coupling[rows]
    if coupling == INDEPENDENT:
        return None
    x0 = drawn_noise(key, batch)
    return x0[optimal_pairing(x0, batch)]


def _drop(key: PRNGKeyArray, cond: PyTree, null_cond: PyTree, share: Float[Array, ""]) -> PyTree:
    size = jax.tree.leaves(cond)[0].shape[0]
    dropped = jax.random.uniform(key, (size,), share.dtype) < share

    def pick(leaf: Array, null: Array) -> Array:
        mask = dropped.reshape(size, *(1,) * (leaf.ndim - 1))
        return jnp.where(mask, jnp.broadcast_to(null.astype(leaf.dtype), leaf.shape), leaf)

    return jax.tree.map(pick, cond, null_cond)


def _update(
    problem: Problem,
    state: TrainingState,
    loss: Callable[[PyTree], Array],
    value: Array,
    gradient: PyTree,
) -> TrainingState:
    import optax

    # JAX returns the conjugate of the steepest-ascent direction for complex parameters.
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
