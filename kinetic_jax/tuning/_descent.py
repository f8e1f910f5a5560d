"""A gain by gradients through `sample`: a free one of a few numbers, or KTS."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import (
    as_arrays,
    real_number,
    refuse_memmap,
    require,
    require_key,
    require_known,
    short,
    whole_number,
)
from kinetic_jax._checks import batch_size as rows_of
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import EventShape, State, checked_event_shape
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.sampling import complete, noise, sample
from kinetic_jax.sampling._grid import time_nodes
from kinetic_jax.training._optax import optax_promotion
from kinetic_jax.tuning._free_gain import Parameters, at_no_gain
from kinetic_jax.tuning._measure import shape_of
from kinetic_jax.tuning._objectives import Drawn, Objective
from kinetic_jax.tuning._settings import Setting

Penalty = Callable[[State], ArrayLike]
# A stream apart from the noise of `tune`, which may have the same key, and whose rows count from 0.
_STREAM = 2**32 - 1


class Descent(NamedTuple):
    """The result of `gain_by_gradients`.

    Attributes:
        setting: the gain, named "free gain" or "kts by gradients", for `tune`, which measures and
            confirms it.
        values: the gain at the knots, shape (knots,); or α0, β0 and τ.
        losses: the loss of each iteration, on its own noise, shape (iterations,).
    """

    setting: Setting
    values: Float[np.ndarray, " values"]
    losses: Float[np.ndarray, " iterations"]


def gain_by_gradients(
    field: VelocityField,
    objective: Objective,
    *,
    key: PRNGKeyArray,
    form: Literal["free", "kts"] = "free",
    num_knots: int = 8,
    iterations: int = 100,
    learning_rate: float = 0.05,
    batch_size: int = 64,
    penalty: Penalty | None = None,
    bound: float = 0.0,
    weight: float = 1.0,
    shape: EventShape | None = None,
    cond: PyTree[Any] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    num_steps: int | None = None,
    grid: str | ArrayLike = "uniform",
    progress: bool | None = None,
) -> Descent:
    """A gain with a small mean score, by gradients through `sample`, starting from no gain.

    Adam, with a cosine decay of its step, minimises the mean score of a batch of fresh noise plus
    `weight · max(0, D(gain) − D(no gain) − bound)`, where D is the penalty on samples of the same
    noise.

    The parameters of a free gain are the logarithms of its values at evenly spaced times, between
    which it is linear; those of KTS are the logarithms of the gain at t = 0 and 1, and the logit of
    τ. Both stay above 0 wherever the search goes, so the result never reverses the flow. It comes
    without a guarantee: pass its setting to `tune`.

    A search exploits whatever its objective and its penalty do not see. A free gain can leave noise
    on samples that one evaluation does not complete, and that neither snap nor features of a
    classifier notice: look at the samples, and at `memorization(completed=, plain=).kept_copies`.

    Args:
        field: the velocity field, without the gain.
        objective: from `Drawn` to a score for each sample, (batch,), in JAX and differentiable,
            such as `snap_of`; flags of copies have no gradient.
        key: of the noise, which is not that of `tune` with the same key.
        form: "free", or "kts" with k = 3 and the default shapes.
        num_knots: values of a free gain, at least 2.
        iterations: steps of Adam.
        learning_rate: of Adam, in units of log η, decaying to 0.
        batch_size: samples of an iteration, at least 2.
        penalty: D, a differentiable function of samples (batch, *event), such as
            `kernel_penalty`; None for none.
        bound: the increase of D over no gain that costs nothing, at least 0.
        weight: of the penalty, at least 0.
        shape: as in `tune`.
        cond: conditions with any number of rows; each iteration draws its own from them.
        solver: as in `sample`, on a fixed grid.
        num_steps: as in `sample`.
        grid: as in `sample`.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The gain as a setting for `tune`, its numbers, and the score along the descent.

    Raises:
        ValueError: if an argument is of a wrong kind or out of range.
        RuntimeError: if a loss is not finite.

    Example:
        The least energy that still arrives: constant velocity, scored by both.

        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax.tuning import gain_by_gradients
        >>> field = lambda t, x, cond=None: jnp.ones_like(x)
        >>> score = lambda drawn: drawn.run.energy.total + (drawn.run.energy.length - 2) ** 2
        >>> result = gain_by_gradients(
        ...     field, score, key=jax.random.key(0), shape=(1,), num_steps=20)
        >>> print(result.values.round(1))  # 4/3 at every time
        [1.3 1.3 1.3 1.3 1.3 1.3 1.3 1.3]
    """
    field, names = as_field(field), {"free": "free gain", "kts": "kts by gradients"}
    require(callable(objective), "objective", short(objective), "be a function of Drawn")
    is_form = isinstance(form, str) and form in names
    require(is_form, "form", short(form), "be 'free' or 'kts'")
    require(penalty is None or callable(penalty), "penalty", short(penalty), "be a function")
    require_key("key", key)
    require_known("key", key)
    check_progress(progress)
    solver_is_known = solver is None or isinstance(solver, diffrax.AbstractSolver)
    require(solver_is_known, "solver", short(solver), "be an instance of a diffrax.AbstractSolver")
    time_nodes(grid, num_steps, None, None, np.dtype(np.float32))
    refuse_memmap("cond", cond)
    rate, allowed = real_number("learning_rate", learning_rate), real_number("bound", bound)
    require(rate > 0, "learning_rate", rate, "be positive")
    require(allowed >= 0, "bound", allowed, "be at least 0")
    factor = real_number("weight", weight)
    require(factor >= 0, "weight", factor, "be at least 0")
    event = shape_of(field, shape)
    checked_event_shape(event, "shape", 0)
    cond = as_arrays("cond", jax.tree.map(lambda leaf: gathered("cond", leaf), cond))
    if cond is not None:
        require(rows_of("cond", cond) > 0, "cond", "no rows", "have rows")
        field.check_cond(cond)
    loss = _Loss(
        as_pytree(objective),
        None if penalty is None else as_pytree(penalty),
        jnp.asarray(allowed, jnp.float32),
        jnp.asarray(factor, jnp.float32),
        cond=cond,
        shape=event,
        size=whole_number("batch_size", batch_size, 2),
        options={"solver": solver, "num_steps": num_steps, "grid": grid},
    )
    start = at_no_gain(form, whole_number("num_knots", num_knots, 2))
    number = whole_number("iterations", iterations, 1)
    end, losses = _descended(loss, field, start, key, number, rate, progress)
    setting = Setting(names[form], end.transform())
    return Descent(setting, np.asarray(end.values(), float), losses)


class _Loss(eqx.Module):
    """The loss of a batch: the objective plus the weighted excess of the penalty over its bound."""

    objective: Callable[..., Any]
    penalty: Callable[..., Any] | None
    bound: Float[Array, ""]
    weight: Float[Array, ""]
    cond: PyTree[Array]
    shape: EventShape = eqx.field(static=True)
    size: int = eqx.field(static=True)
    options: dict[str, Any]

    def __call__(self, parameters: Parameters, field: Field, key: PRNGKeyArray) -> Array:
        of_noise, of_rows = jax.random.split(key)
        x0, cond = noise(of_noise, jnp.arange(self.size), self.shape), self._conditions(of_rows)
        shaped = parameters.transform()(field)
        run = sample(shaped, x0, cond, **self.options)
        scores = self.objective(Drawn(run, complete(shaped, run, cond), cond))
        loss = jnp.mean(jnp.asarray(scores, jnp.float32))
        if self.penalty is None:
            return loss
        plain = sample(field, x0, cond, **self.options).x1
        excess = jnp.asarray(self.penalty(run.x1) - self.penalty(plain), jnp.float32)
        return loss + self.weight * jax.nn.relu(excess - self.bound)

    def _conditions(self, key: PRNGKeyArray) -> PyTree[Array]:
        if self.cond is None:
            return None
        rows = jax.random.randint(key, (self.size,), 0, rows_of("cond", self.cond))
        return jax.tree.map(lambda leaf: leaf[rows], self.cond)


def _descended(
    loss: _Loss,
    field: Field,
    parameters: Parameters,
    key: PRNGKeyArray,
    iterations: int,
    rate: float,
    progress: bool | None,
) -> tuple[Parameters, np.ndarray]:
    import optax  # a slow import

    optimizer = optax.adam(optax.cosine_decay_schedule(rate, iterations))
    state, losses = optimizer.init(parameters), np.empty(iterations)
    stream = jax.random.fold_in(key, _STREAM)

    @eqx.filter_jit
    def step(loss: _Loss, field: Field, parameters: Parameters, state: Any, number: Array) -> Any:
        of_parameters = eqx.filter_value_and_grad(lambda own, *given: loss(own, *given))
        value, slope = of_parameters(parameters, field, jax.random.fold_in(stream, number))
        with optax_promotion():
            updates, state = optimizer.update(slope, state)
        return optax.apply_updates(parameters, updates), state, value

    with progress_bar("gain by gradients", iterations, show=progress) as update:
        for number in range(iterations):
            try:
                moved, state, value = step(loss, field, parameters, state, jnp.uint32(number))
            except (ValueError, jax.errors.JAXTypeError) as error:
                error.add_note(
                    "The objective and the penalty are differentiated inside jit: take snap_of and "
                    "kernel_penalty, not copies_of and frechet_to."
                )
                raise
            losses[number] = float(value)
            if not np.isfinite(losses[number]):
                raise RuntimeError(f"the loss is {losses[number]} in iteration {number}")
            parameters = moved
            update(number + 1, f"loss {losses[number]:.4g}")
    return parameters, losses
