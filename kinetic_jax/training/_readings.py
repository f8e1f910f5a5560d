"""The conventions that `identify_convention` tries, and how each reads a model."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from kinetic_jax._state import State
from kinetic_jax.fields import (
    Field,
    Schedule,
    VelocityField,
    WrappedField,
    as_field,
    cosine_schedule,
    ddpm_schedule,
    edm_denoiser,
    edm_schedule,
    from_prediction,
    from_reversed_time,
    from_scaled_time,
    linear_schedule,
    schedule_from_scheduler,
    vp_schedule,
)
from kinetic_jax.fields._prediction import Prediction, preconditioning, rates_of

ALL: tuple[Prediction, ...] = ("velocity", "data", "noise", "v", "score")
BETAS = "np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))"
# diffusers' names for the bins of Stable Diffusion and of Nichol & Dhariwal 2021.
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SQUARED_COSINE = {"beta_schedule": "squaredcos_cap_v2"}


class _Turned(eqx.Module):
    """Glue for `from_prediction`: the other sign, a clock that runs the other way."""

    sign: int = eqx.field(static=True)
    largest: float | None = eqx.field(static=True)
    is_tree: bool = eqx.field(static=True, default=False)

    def __call__(self, model: Any, r: Array, x: State, cond: PyTree[Any]) -> State:
        output = model(r if self.largest is None else self.largest - r, x, cond)
        return output if self.sign > 0 else jax.tree.map(jnp.negative, output)

    @property
    def code(self) -> str:
        """The same as a line of Python."""
        reading = "r" if self.largest is None else f"{self.largest:g} - r"
        call = f"model({reading}, x, cond)"
        if self.sign < 0:
            call = f"jax.tree.map(jnp.negative, {call})" if self.is_tree else f"-{call}"
        return f"lambda model, r, x, cond: {call}"


class _Glued(WrappedField):
    """A field called through glue, which still declares what it declares."""

    keeps_pace = True
    call: _Turned

    def __call__(self, t: Array, x: State, cond: PyTree[Any] | None = None) -> State:
        return self.call(self.field, t, x, cond)


@dataclasses.dataclass(frozen=True)
class Convention:
    """One way to read a model.

    Attributes:
        name: the convention in words.
        code: the line of Python that makes the field of `model`.
        predicts: what the model predicts, as in `from_prediction`.
        schedule: the path on which it does.
        call: glue that changes the sign or turns the clock, as `from_prediction` takes it; None
            where neither is needed.
        sigma_data: for a preconditioned network, the argument of `edm_denoiser`; else None.
        adapter: makes the field where a plainer function than `from_prediction` does; else None.
    """

    name: str
    code: str
    predicts: Prediction
    schedule: Schedule
    call: _Turned | None = None
    sigma_data: float | None = None
    adapter: Callable[[Field], Field] | None = dataclasses.field(default=None, repr=False)

    def field(self, model: VelocityField) -> Field:
        """The model, read so, as a velocity field on the linear path.

        It declares what the model declares: its classes, its null condition, its shape.

        Args:
            model: the model, called as `model(reading, x, cond)` on one sample.

        Raises:
            ValueError: if the model cannot be called so.
        """
        inner = as_field(model, "model")
        if self.adapter is not None:
            return self.adapter(inner)
        if self.sigma_data is not None:
            inner = edm_denoiser(inner, sigma_data=self.sigma_data)
        if self.call is not None:
            inner = _Glued(inner, self.call)
        return from_prediction(inner, predicts=self.predicts, schedule=self.schedule)


class Clock(NamedTuple):
    """A schedule and a reading of its clock: one evaluation of a model serves all predictions.

    Attributes:
        name: in words.
        code: the schedule as Python.
        schedule: the path.
        predictions: what is tried.
        largest: the largest reading of a clock that runs the other way, noise at 0.
        sigma_data: of a preconditioned network.
        adapter: the function and the code that do for a velocity what `from_prediction` does.
    """

    name: str
    code: str
    schedule: Schedule
    predictions: tuple[Prediction, ...] = ALL
    largest: float | None = None
    sigma_data: float | None = None
    adapter: tuple[Callable[[Field], Field], str] | None = None

    def conventions(self, *, is_tree: bool = False) -> list[Convention]:
        """One for each prediction and sign, with code for pytrees if the data are one."""
        return [self._convention(predicts, sign, is_tree) for predicts, sign in self.signed()]

    def signed(self) -> list[tuple[Prediction, int]]:
        """The predictions with their signs; nothing predicts minus the data."""
        both = [(predicts, sign) for predicts in self.predictions for sign in (1, -1)]
        return [(predicts, sign) for predicts, sign in both if sign > 0 or predicts != "data"]

    def _convention(self, predicts: Prediction, sign: int, is_tree: bool) -> Convention:
        is_plain = (sign, self.largest) == (1, None)
        turned = None if is_plain else _Turned(sign, self.largest, is_tree)
        # dx/dr on a clock that runs the other way is minus that of the schedule.
        is_turned = predicts == "velocity" and self.largest is not None
        minus = "" if (sign > 0) != is_turned else "minus "
        if predicts == "velocity" and sign > 0 and self.adapter is not None:
            adapter, code = self.adapter
            return Convention(
                f"velocity {self.name}", code, predicts, self.schedule, adapter=adapter
            )
        model = "model"
        name = f"{minus}{predicts} {self.name}"
        if self.sigma_data is not None:
            model, name = f"edm_denoiser(model, sigma_data={self.sigma_data:g})", self.name
        glue = "" if turned is None else f", call={turned.code}"
        code = f'from_prediction({model}, predicts="{predicts}", schedule={self.code}{glue})'
        return Convention(name, code, predicts, self.schedule, turned, self.sigma_data)


def _span(first: str, last: str, largest: float) -> str:
    return f"clock 0 ({first}) to {largest:,g} ({last})"


def _linear() -> list[Clock]:
    clocks = []
    for largest in (1.0, 1000.0):
        scale = "" if largest == 1 else f"time_scale={largest}"
        to_data = functools.partial(from_scaled_time, time_scale=largest)
        adapter = (as_field, "model") if largest == 1 else (to_data, _call("scaled", scale))
        clocks.append(
            Clock(
                f"on the linear path, {_span('noise', 'data', largest)}",
                f"linear_schedule({scale})",
                linear_schedule(time_scale=largest),
                adapter=adapter,
            )
        )
        to_noise = functools.partial(from_reversed_time, time_scale=largest)
        arguments = ", ".join(filter(None, ("reverse=True", scale)))
        clocks.append(
            Clock(
                f"on the linear path, {_span('data', 'noise', largest)}",
                f"linear_schedule({arguments})",
                linear_schedule(reverse=True, time_scale=largest),
                adapter=(to_noise, _call("reversed", scale)),
            )
        )
    return clocks


def _call(kind: str, scale: str) -> str:
    return f"from_{kind}_time({', '.join(filter(None, ('model', scale)))})"


def _preserving() -> list[Clock]:
    clocks = []
    for name, function, scales in (
        ("variance-preserving", vp_schedule, (1.0, 999.0)),
        ("cosine", cosine_schedule, (1.0, 1000.0)),
    ):
        for largest in scales:
            scale = "" if largest == 1 else f"time_scale={largest}"
            code, schedule = f"{function.__name__}({scale})", function(time_scale=largest)
            span = _span("data", "noise", largest)
            clocks.append(Clock(f"on the {name} path, {span}", code, schedule))
        span = _span("noise", "data", 1.0)
        plain = f"{function.__name__}()"
        clocks.append(Clock(f"on the {name} path, {span}", plain, function(), largest=1.0))
    return clocks


def edm_network(sigma_data: float) -> Clock:
    """A network that is to be preconditioned."""
    name = f"a network that EDM preconditions, sigma_data {sigma_data:g}"
    return Clock(name, "edm_schedule()", edm_schedule(), ("data",), sigma_data=sigma_data)


def schedule_clock(name: str, schedule: Schedule) -> Clock:
    """The clock of a schedule of the caller's."""
    return Clock(f"on schedules[{name!r}]", f"schedules[{name!r}]", schedule)


@functools.cache
def known_clocks() -> tuple[Clock, ...]:
    """The clocks that are always tried, the plainest first."""
    bins = ddpm_schedule(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
    # On EDM's path dx/dr is the noise.
    of_edm: tuple[Prediction, ...] = ("data", "noise", "score")
    return (
        *_linear(),
        # Before the continuous clock, which would read a table between its entries.
        Clock("in DDPM's 1,000 bins, 0 at data", f"ddpm_schedule({BETAS})", bins),
        _scheduler("in Stable Diffusion's 1,000 bins, 0 at data", SCALED),
        *_preserving(),
        _scheduler("in 1,000 bins of squared cosines, 0 at data", SQUARED_COSINE),
        Clock("on EDM's path, clock sigma", "edm_schedule()", edm_schedule(), of_edm),
        *map(edm_network, (0.5, 1.0)),
    )


def _scheduler(name: str, settings: dict[str, Any]) -> Clock:
    config = {"_class_name": "DDPMScheduler", **settings}
    text = json.dumps(config)
    schedule, _ = schedule_from_scheduler(config)
    return Clock(name, f"schedule_from_scheduler({text})[0]", schedule)


class Rates(NamedTuple):
    """The readings of a model by the conventions of each clock, at some times.

    The velocity is `of_x x + of_output model(reading, size x)`, NaN in places without a convention.
    """

    reading: Float[Array, "clocks times"]
    size: Float[Array, "clocks times"]
    of_x: Float[Array, "clocks conventions times"]
    of_output: Float[Array, "clocks conventions times"]


MOST = 2 * len(ALL) - 1  # conventions of a clock


def rates_of_clocks(
    clocks: Sequence[Clock], times: Float[np.ndarray, " times"]
) -> tuple[np.ndarray, ...]:
    """The `Rates` of some clocks, in the host's memory."""
    per_clock = jax.jit(lambda t: [_rates_of_clock(clock, t) for clock in clocks])(times)
    rates = [[np.asarray(values) for values in clock] for clock in per_clock]

    def padded(values: np.ndarray) -> np.ndarray:
        missing = ((0, MOST - len(values)), (0, 0))
        return np.pad(values, missing, constant_values=np.nan)

    reading, size, of_x, of_output = zip(*rates, strict=True)
    tables = (reading, size, map(padded, of_x), map(padded, of_output))
    return tuple(np.stack(list(table)) for table in tables)


def _rates_of_clock(clock: Clock, times: Array) -> tuple[Array, Array, Array, Array]:
    def rates(t: Array) -> tuple[Array, Array, Array, Array]:
        read = {name: rates_of(clock.schedule, name, t) for name in clock.predictions}
        reading, size, *_ = read[clock.predictions[0]]
        of_x = jnp.stack([read[predicts][2] for predicts, _ in clock.signed()])
        of_output = jnp.stack([sign * read[predicts][3] for predicts, sign in clock.signed()])
        if clock.sigma_data is not None:
            data = jnp.asarray(clock.sigma_data, t.dtype)
            reading, scale, of_noisy, of_network = preconditioning(reading, data)
            of_x = of_x + of_output * of_noisy * size
            of_output, size = of_output * of_network, scale * size
        if clock.largest is not None:
            reading = clock.largest - reading
        return reading, size, of_x, of_output

    return jax.vmap(rates, out_axes=(0, 0, 1, 1))(times)


@functools.lru_cache(4)
def known_rates(number: int, dtype: str) -> tuple[np.ndarray, ...]:
    """Those of `known_clocks`, the same for every model."""
    return rates_of_clocks(known_clocks(), times_of(number, dtype))


def times_of(number: int, dtype: str) -> Float[np.ndarray, " number"]:
    """Times spread evenly over [0.02, 0.98], which no schedule's span ends within."""
    return (0.02 + 0.96 * (np.arange(number) + 0.5) / number).astype(dtype)


def extra_clocks(sigma_data: float, schedules: Mapping[str, Schedule]) -> list[Clock]:
    """The clocks of one call: preconditioning by the data's own scale, the caller's schedules."""
    is_new = all(abs(sigma_data / known - 1) > 0.02 for known in (0.5, 1.0))
    own = [edm_network(sigma_data)] if is_new else []
    return own + [schedule_clock(*item) for item in schedules.items()]
