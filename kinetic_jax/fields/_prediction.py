"""Models that predict data, noise, v, a score or a velocity of another path, on the linear one."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from kinetic_jax._checks import positive_scalar, require, short
from kinetic_jax._dtypes import as_time, clock_stop, dtype_of, last_stage
from kinetic_jax._pytree import as_pytree
from kinetic_jax._state import EventShape, State, StateSpec, as_event_shape, optional_event_shape
from kinetic_jax.fields._field import Field, WrappedField, has_gain, unknown_rate
from kinetic_jax.fields._nnx import from_nnx
from kinetic_jax.fields._protocol import (
    VelocityField,
    as_field,
    checked_velocity,
    hint_of_cond,
    require_function,
    traced_args,
)
from kinetic_jax.fields._schedule import Schedule

Prediction = Literal["velocity", "data", "noise", "v", "score"]
# Noise and score say nothing of the data at t = 0; before this time they are held.
FIRST_TIME = 1e-3


class PredictionField(WrappedField):
    """See `from_prediction`."""

    schedule: Schedule
    shape: tuple[int, ...] | StateSpec | None = eqx.field(static=True)
    predicts: Prediction = eqx.field(static=True)
    tau_split = None
    is_adapter = True
    untrained = ("schedule",)

    @property
    def event_shape(self) -> EventShape | None:
        """Shape of one sample."""
        return self.field.event_shape if self.shape is None else as_event_shape(self.shape)

    def arrival(self, dtype: np.dtype) -> Float[Array, ""]:
        """The last time at which a solver evaluates the model."""
        last = self.schedule.time(self.schedule.span[1])
        # Earlier than the model's clock stops: a solver's weights multiply the rounding of x.
        early = jnp.minimum(last, last_stage(dtype))
        return jnp.where(self._diverges(), early, last)

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """1/(1 − t), up to the time at which the model is held; NaN with a gain inside."""
        last = self.schedule.time(self.schedule.span[1]).astype(t.dtype)
        rate = Field.closing_rate(self, jnp.minimum(self._clock(t), last))
        return unknown_rate(rate) if has_gain(self.field) else rate

    def without_gain(self) -> Field:
        """Itself."""
        return self

    def _clock(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """t, or where the velocity is 0/0 at t = 1 the last time before."""
        return jnp.where(self._diverges(), jnp.minimum(t, 1 - clock_stop(t.dtype)), t)

    def _diverges(self) -> Bool[ArrayLike, ""]:
        """True if the velocity is 0/0 or ∞/∞ at t = 1, as (D − x)/(1 − t) is."""
        if self.predicts == "data":
            return True
        end = self.schedule.span[1]
        if self.predicts == "score":  # −N/σ
            return self.schedule.sigma(end) == 0
        return self.predicts == "velocity" and _is_singular(self.schedule, end)

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The velocity of one sample on the linear path."""
        t = as_time(t, x).astype(dtype_of(x))
        t = self._clock(t)
        reading, size, of_x, of_output = rates_of(self.schedule, self.predicts, t)
        output = self.field(reading, jax.tree.map(lambda leaf: size * leaf, x), cond)
        return jax.tree.map(lambda leaf, out: of_x * leaf + of_output * out, x, output)


def rates_of(
    schedule: Schedule, predicts: str, t: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """A model's clock, the scale of its x, and the coefficients of the velocity, at time t.

    The velocity is `of_x x + of_output m(reading, size x)` for every kind of prediction m.
    """
    if predicts in ("noise", "score"):
        t = jnp.maximum(t, FIRST_TIME)
    elif predicts == "velocity":
        is_held = _is_singular(schedule, schedule.span[0])
        t = jnp.where(is_held, jnp.maximum(t, FIRST_TIME), t)
    r = schedule.reading(t)
    alpha, sigma = schedule.alpha(r), schedule.sigma(r)
    size = alpha + sigma
    if predicts == "data":  # (D − x)/(1 − t)
        of_output = size / sigma
        of_x = -of_output
    elif predicts in ("noise", "score"):  # (x − N)/t
        of_x = size / alpha
        of_output = of_x * (sigma if predicts == "score" else -1)
    elif predicts == "v":
        square = alpha**2 + sigma**2
        of_x, of_output = size * (alpha - sigma) / square, -size / square
    else:
        d_alpha, d_sigma, growth = _slopes(schedule, r)
        of_x, of_output = size * (d_alpha + d_sigma) / growth, -size / growth
    return schedule.time_scale.astype(r.dtype) * r, size, of_x, of_output


def _slopes(
    schedule: Schedule, r: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """`α'`, `σ'` and `α σ' − σ α'`, which is −(α + σ)² dt/dr."""
    d_alpha, d_sigma = (jax.grad(scale)(r) for scale in (schedule.alpha, schedule.sigma))
    return d_alpha, d_sigma, schedule.alpha(r) * d_sigma - schedule.sigma(r) * d_alpha


def _is_singular(schedule: Schedule, end: Float[Array, ""]) -> Bool[Array, ""]:
    """True if t has no finite slope at this end, as at the zero of a square root."""
    *_, growth = _slopes(schedule, end)
    return ~jnp.isfinite(growth) | (growth == 0)


def from_prediction(
    model: Callable[..., Any] | PyTree[Any],
    *,
    predicts: Prediction,
    schedule: Schedule,
    call: Callable[..., Any] | None = None,
    args: PyTree[Any] = None,
    event_shape: EventShape | None = None,
) -> PredictionField:
    """A model of any affine Gaussian path as a velocity field on the LINEAR path.

    Every prediction on `x_r = α(r) x1 + σ(r) x0` gives the posterior means D of the data x1 and N
    of the noise x0 given x_r; the linear path has the same at `t = α/(α + σ)`,
    `x = x_r/(α + σ)`, and the velocity D − N. So a model has ONE energy, whatever its schedule,
    and τ and KTS mean the same signal-to-noise ratio for all.

    | `predicts` | the model's output | velocity |
    |---|---|---|
    | "data" | D | (D − x)/(1 − t) |
    | "noise" | N | (x − N)/t |
    | "score" | s = −N/σ | (x + σ s)/t |
    | "v" | α N − σ D | from D and N (Salimans & Ho 2022) |
    | "velocity" | dx_r/dr = α' D + σ' N | from D and N |

    `kinetic_jax.training.identify_convention` finds out which of these a trained model is.

    Noise and score say nothing about the data at t = 0: before t = 0.001 the model is evaluated at
    that time, and outside of the schedule's span at its nearer end. With the spans that the
    schedules have by default energies then differ from the exact ones by less than 1%. A score is
    infinite where σ = 0: near t = 1 it is held as predicted data are. On a clock of whole bins
    (`ddpm_schedule`) the model is read at the bin nearest to t, and x is scaled for that bin:
    dx/dt is then a step function of t.

    Args:
        model: called as `model(time_scale r, x_r, cond)` on ONE sample, r a floating number also on
            a clock of bins (`n.astype(int)` is the index of a table); or an NNX model, which
            is wrapped by `from_nnx`. `from_linen(...)` is such a model.
        predicts: "velocity", "data", "noise", "v" or "score".
        schedule: the path that the model was trained on; `fit` does not train its numbers.
        call: for an NNX model as in `from_nnx`; for others `call(model, r, x, cond)` of one
            sample, or `call(model, args, r, x, cond)`.
        args: arrays that `call` needs besides, traced, and not trained by `fit`.
        event_shape: the shape of one sample, where it is known.

    Returns:
        The field, on the linear path; its arrays are those of the model and of the schedule.

    Raises:
        ValueError: if `predicts` is none of these, `schedule` is not a `Schedule`, or the model
            cannot be called so, or takes the size of the step.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.fields import from_prediction, vp_schedule
        >>> of_one_point = lambda r, x, cond=None: jnp.full_like(x, 3.0)  # predicts the data
        >>> field = from_prediction(of_one_point, predicts="data", schedule=vp_schedule())
        >>> sample(field, jnp.zeros((1, 2))).x1
        Array([[3., 3.]], dtype=float32)
    """
    known = get_args(Prediction)
    is_known = isinstance(predicts, str) and predicts in known
    require(is_known, "predicts", short(predicts), f"be one of {', '.join(known)}")
    is_schedule = isinstance(schedule, Schedule)
    require(is_schedule, "schedule", type(schedule).__name__, "be a Schedule")
    shape = optional_event_shape(event_shape)
    inner: Field
    if isinstance(model, nnx.Module):
        inner = from_nnx(model, call=call, args=args)
    elif call is None:
        require(args is None, "args", short(args), "come with a call that takes them")
        inner = as_field(model, "model")
    else:
        given = () if args is None else ("args",)
        require_function("call", call, "model", *given, "r", "x", "cond")
        inner = _Called(as_pytree(model), as_pytree(call), traced_args(args))
    expected = (
        "not take the size of the step, as only a velocity at one time can be moved to another "
        "path (from_reversed_time and from_scaled_time take such a model of the linear path)"
    )
    require(not inner.needs_step, "model", "one with an argument dt", expected)
    return PredictionField(inner, schedule, shape, predicts)


class _Called(Field):
    """A model that is called through glue of the user's."""

    model: PyTree[Any]
    call: Callable[..., Any]
    args: PyTree[Any]
    untrained = ("call", "args")

    def __call__(self, t: Array, x: State, cond: PyTree[Any] | None = None) -> State:
        given = () if self.args is None else (self.args,)
        with hint_of_cond(cond):
            output = self.call(self.model, *given, t, x, cond)
        return checked_velocity(output, x)


class Preconditioned(WrappedField):
    """See `edm_denoiser`."""

    sigma_data: Float[Array, ""]
    tau_split = None
    is_adapter = True
    untrained = ("sigma_data",)

    def __call__(self, t: Float[ArrayLike, ""], x: State, cond: PyTree[Any] | None = None) -> State:
        """The denoised x at noise level t."""
        dtype = dtype_of(x)
        sigma, data = as_time(t, x).astype(dtype), self.sigma_data.astype(dtype)
        reading, size, of_x, of_output = preconditioning(sigma, data)
        output = self.field(reading, jax.tree.map(lambda leaf: size * leaf, x), cond)
        return jax.tree.map(lambda leaf, out: of_x * leaf + of_output * out, x, output)


def preconditioning(
    sigma: Float[Array, ""], data: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """The network's clock, the scale of its x, and the coefficients of the denoised x.

    It is `of_x x + of_output F(reading, size x)`, for data of standard deviation `data`.
    """
    total = jnp.sqrt(sigma**2 + data**2)
    return jnp.log(sigma) / 4, 1 / total, (data / total) ** 2, sigma * data / total


def edm_denoiser(network: VelocityField, *, sigma_data: ArrayLike = 0.5) -> Preconditioned:
    """The denoiser of a preconditioned network F (Karras et al. 2022, eq. 7 and table 1).

    `D(x, σ) = c_skip x + c_out F(log(σ)/4, c_in x)`, with `c_skip = s²/(σ² + s²)`,
    `c_out = σ s/√(σ² + s²)`, `c_in = 1/√(σ² + s²)` and s = `sigma_data`: a model that predicts
    the data on `edm_schedule()`.

    Args:
        network: F, called as `network(log(σ)/4, c_in x, cond)` on one sample.
        sigma_data: the standard deviation of the data; `fit` does not train it.

    Returns:
        The denoiser, a function of (σ, x, cond) of ONE sample, for `from_prediction`.

    Raises:
        ValueError: if `network` is not a field, or `sigma_data` not finite and positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax.fields import edm_denoiser, edm_schedule, from_prediction
        >>> network = lambda c_noise, x, cond=None: jnp.zeros_like(x)
        >>> edm_denoiser(network)(jnp.array(0.5), jnp.ones(2)).round(3)
        Array([0.5, 0.5], dtype=float32)
    """
    scale = positive_scalar(sigma_data, "sigma_data")
    return Preconditioned(as_field(network, "network"), scale)
