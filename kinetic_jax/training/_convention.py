"""The convention of a trained model: its sign, direction, clock and prediction."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import require, require_key, require_known, short, whole_number
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import gathered
from kinetic_jax._open import call_opened
from kinetic_jax.energy._path_energy import squared_norm
from kinetic_jax.exact import GaussianField
from kinetic_jax.fields import Field, Schedule, VelocityField, as_field
from kinetic_jax.fields._flat import flattened
from kinetic_jax.training._inputs import checked_data
from kinetic_jax.training._loss import points_at
from kinetic_jax.training._readings import (
    Convention,
    Rates,
    extra_clocks,
    known_clocks,
    known_rates,
    rates_of_clocks,
    times_of,
)

NO_BETTER = 1.02  # times the Gaussian's loss: a greater one fits nothing
# Times the loss with a constant output, below which a model must be: one that beats the Gaussian,
# and others. A random correction of a nearly right path can do as well as the Gaussian.
INFORMS, INFORMS_MUCH = 0.98, 0.8
SAME, AS_GOOD = 1.001, 1.01  # times the lowest loss
ROWS_OF_MOMENTS = 4096
SHOWN = 4  # names of equivalents in the printed text


@dataclasses.dataclass(frozen=True, repr=False)
class Identification:
    """The result of `identify_convention`; printing it gives a short table.

    Attributes:
        fits: True if the best convention does as well as the Gaussian flow of the data's mean and
            standard deviations, and better than with a constant for the model's outputs.
        convention: the best convention, right only if `fits`: its `name`, the line of `code` that
            makes the field, and its parts, `predicts`, `schedule`, `call` and `sigma_data`.
        equivalents: the conventions within 1% of it, lowest loss first.
        losses: the loss of each convention by its name, lowest first; those that are not finite
            are last.
        codes: the line of code of each convention by its name.
        gaussian_loss: that of the Gaussian flow.
        model: the model.
    """

    fits: bool
    convention: Convention
    equivalents: tuple[Convention, ...]
    losses: dict[str, float]
    codes: dict[str, str]
    gaussian_loss: float
    model: Field

    @property
    def field(self) -> Field:
        """The model as a velocity field on the linear path, by the convention that fits.

        Raises:
            ValueError: if none fits.
        """
        require(self.fits, "model", "one that fits none", "fit one of the conventions tried")
        return self.convention.field(self.model)

    def __repr__(self) -> str:
        """The verdict, the code to write, and the lowest losses."""
        best = self.convention
        head = [f"None of {len(self.losses)} conventions fits. The nearest is {best.name}."]
        if self.fits:
            head = [f"{best.name[0].upper()}{best.name[1:]}.", f"field = {best.code}"]
            if self.equivalents:
                names = [each.name for each in self.equivalents]
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                head.append(f"As good, within 1%: {'; '.join(names[:SHOWN])}{more}.")
            if self.losses[best.name] > INFORMS * self.gaussian_loss:
                head.append("No better than a Gaussian flow: right only if the data are Gaussian.")
        rows = [(loss, name) for name, loss in self.losses.items() if np.isfinite(loss)]
        rows = [*rows[:6], (self.gaussian_loss, "(the Gaussian of the data's mean and scale)")]
        table = [f"{loss:9.4g}  {name}" for loss, name in sorted(rows)]
        infinite = sum(not np.isfinite(loss) for loss in self.losses.values())
        tail = [f"{infinite} are not finite."] if infinite else []
        return "\n".join([*head, "", "     loss  convention", *table, *tail])


def identify_convention(
    model: VelocityField,
    data: ArrayLike | PyTree[ArrayLike],
    *,
    key: PRNGKeyArray,
    cond: PyTree[Any] | None = None,
    num_samples: int = 256,
    schedules: Mapping[str, Schedule] | None = None,
) -> Identification:
    """Names the convention of a trained model: what it predicts, on which clock, with which sign.

    A model that is read wrongly samples nonsense without an error. Each convention tried makes a
    velocity field of the model (`from_prediction`); the one with the least flow-matching loss is
    named, with the line of code to write. The loss is that of `cfm_loss` with a weight,

    `30 t² (1 − t)² ||v(t, x_t) − (x1 − x0)||²`, averaged over t in [0.02, 0.98],

    at the same points x_t for all. The weight is there because v is (D − x)/(1 − t) of predicted
    data D, and (x − N)/t of predicted noise N: the small errors of a right model would be
    multiplied by 1/t near t = 0 and decide the mean.

    | tried | |
    |---|---|
    | predictions | "velocity", "data", "noise", "v", "score", and minus these, but for the data |
    | linear path | clock 0 to 1 and 0 to 1,000, noise at 0 or data at 0 |
    | `vp_schedule` | clock 0 to 1 and 0 to 999 with data at 0, 0 to 1 with noise at 0 |
    | `cosine_schedule` | clock 0 to 1 and 0 to 1,000 with data at 0, 0 to 1 with noise at 0 |
    | `ddpm_schedule` | the 1,000 bins of Ho et al.; `vp_schedule(time_scale=999.0)` is as good |
    | `edm_schedule` | data, noise and score on the clock σ; a network that `edm_denoiser` \
preconditions, with 0.5, 1 or the data's own standard deviation |

    None fits if the best loss is above 1.02 times that of the Gaussian flow with the data's mean
    and standard deviations, which knows nothing else about them, or if a constant in place of the
    model's outputs (their mean) does about as well: within 2%, or 20% where the Gaussian is not
    beaten by 2%. That is an untrained model. A model of a path that is not tried may come out as
    its nearest; the margins are in `losses`.

    Args:
        model: called as `model(reading, x, cond)` on ONE sample: a function, `from_nnx(...)` or
            `from_linen(...)`.
        data: some rows of what the model was trained on, shape (rows, *event), in its scale, or a
            pytree of such arrays.
        key: a JAX random key.
        cond: a pytree with one entry per row on every leaf (class labels, say), or None.
        num_samples: rows drawn, each at a time of its own; the model is evaluated so many times on
            each of 14 clocks, 15 if the data's standard deviation is neither 0.5 nor 1.
        schedules: schedules of your own to try besides, by name.

    Returns:
        `Identification`: print it, or use its `field`.

    Raises:
        ValueError: before anything large compiles, if the model cannot be called so, for empty or
            non-finite data, rows that are all the same, rows of `cond` that differ from those of
            `data` or that the model refuses, other arguments of wrong kinds.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField
        >>> from kinetic_jax.training import identify_convention
        >>> exact = GaussianField(jnp.array([2.0, 0.0]), 0.5)
        >>> sit = lambda r, x, cond=None: -exact(1 - r / 1000, x)  # a model from elsewhere
        >>> data = exact.mean[None] + 0.5 * jax.random.normal(jax.random.key(1), (500, 2))
        >>> print(identify_convention(sit, data, key=jax.random.key(0)).convention.code)
        from_reversed_time(model, time_scale=1000.0)
    """
    given = as_field(model, "model")
    require_key("key", key)
    require_known("key", key)
    require_known("model", given)
    require_known("data", data)
    require_known("cond", cond)
    field, data, _ = flattened("data", given, data)
    rows, cond, _ = checked_data(field, data, cond, None)
    rows = jnp.asarray(gathered("data", rows))
    cond = jax.tree.map(lambda leaf: gathered("cond", leaf), cond)
    number = whole_number("num_samples", num_samples, 16)
    own = _checked_schedules(schedules)
    gaussian = _gaussian_of(rows)
    dtype = np.dtype(at_least_float32(rows.dtype)).name
    first = jax.tree.map(lambda leaf: leaf[0], (rows, cond))
    jax.eval_shape(field, jnp.zeros((), dtype), *first)  # the model's own errors
    sigma_data = float(f"{np.sqrt(np.mean(np.asarray(gaussian.scale) ** 2)):.3g}")
    extra = extra_clocks(sigma_data, own)
    rates = known_rates(number, dtype)
    if extra:
        more = rates_of_clocks(extra, times_of(number, dtype))
        rates = tuple(np.concatenate(pair) for pair in zip(rates, more, strict=True))
    times = jnp.asarray(times_of(number, dtype))
    measured = call_opened(
        _losses, field, rows, cond, key, times, Rates(*map(jnp.asarray, rates)), gaussian
    )
    losses, constant, reference = map(np.asarray, measured)
    conventions = [clock.conventions() for clock in (*known_clocks(), *extra)]
    tried = [
        (convention, float(losses[i, j]), float(constant[i, j]))
        for i, of_clock in enumerate(conventions)
        for j, convention in enumerate(of_clock)
    ]
    return _verdict(tried, float(reference), given)


def _checked_schedules(schedules: Any) -> Mapping[str, Schedule]:
    if schedules is None:
        return {}
    is_mapping = isinstance(schedules, Mapping)
    require(is_mapping, "schedules", short(schedules), "be a mapping from names to schedules")
    for name, schedule in schedules.items():
        fits = isinstance(name, str) and isinstance(schedule, Schedule)
        require(fits, "schedules", short((name, schedule)), "map names to Schedules")
        require_known("schedules", schedule)
    return schedules


def _gaussian_of(rows: Array) -> GaussianField:
    """The Gaussian of the mean and the standard deviation of each coordinate."""
    some = np.asarray(rows[:: -(-rows.shape[0] // ROWS_OF_MOMENTS)], np.float64)
    mean, scale = some.mean(axis=0), some.std(axis=0)
    overall = np.sqrt(np.mean(scale**2))
    require(bool(overall > 0), "data", "rows that are all the same", "hold rows that differ")
    dtype = at_least_float32(rows.dtype)
    # A coordinate that never changes has none.
    return GaussianField(mean.astype(dtype), np.maximum(scale, 1e-3 * overall).astype(dtype))


@eqx.filter_jit
def _losses(
    field: Field,
    rows: Float[Array, "rows *event"],
    cond: PyTree[Array],
    key: PRNGKeyArray,
    times: Float[Array, " times"],
    rates: Rates,
    gaussian: GaussianField,
) -> tuple[Array, Array, Array]:
    """Mean losses by (clock, convention), those with a constant output, and the Gaussian's."""
    key_rows, key_noise = jax.random.split(key)
    picked = jax.random.randint(key_rows, times.shape, 0, rows.shape[0])
    x1, cond = jax.tree.map(lambda leaf: leaf[picked], (rows, cond))
    times, x, target = points_at(times, key_noise, x1)
    wide = x.astype(target.dtype)
    weight = 30 * (times * (1 - times)) ** 2

    def spread(values: Array) -> Array:
        return values.reshape(-1, *(1,) * (x.ndim - 1))

    def loss_of(velocity: Array) -> Array:
        return jnp.mean(weight * jax.vmap(squared_norm)(velocity - target))

    def of_clock(rates: Rates) -> tuple[Array, Array]:
        at = (spread(rates.size) * wide).astype(x.dtype)
        outputs = jax.vmap(field)(rates.reading, at, cond).astype(wide.dtype)
        constant = jnp.mean(outputs, axis=0, keepdims=True)

        def of_convention(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            of_x, of_output = map(spread, pair)
            return loss_of(of_x * wide + of_output * outputs), loss_of(
                of_x * wide + of_output * constant
            )

        return jax.lax.map(of_convention, (rates.of_x, rates.of_output))

    losses, constant = jax.lax.map(of_clock, rates)
    return losses, constant, loss_of(jax.vmap(gaussian)(times, wide))


def _verdict(
    tried: list[tuple[Convention, float, float]], gaussian_loss: float, model: Field
) -> Identification:
    # A stable sort: of readings that are the same, the plainest is first.
    ranked = sorted(tried, key=lambda each: each[1] if np.isfinite(each[1]) else np.inf)
    lowest = ranked[0][1]
    of_lowest = (each for each in tried if each[1] <= SAME * lowest)
    best, loss, constant = next(of_lowest, ranked[0])  # none where all are NaN
    share = INFORMS if loss <= INFORMS * gaussian_loss else INFORMS_MUCH
    return Identification(
        fits=loss <= min(NO_BETTER * gaussian_loss, share * constant),
        convention=best,
        equivalents=tuple(
            each for each, other, _ in ranked if each is not best and other <= AS_GOOD * lowest
        ),
        losses={each.name: other for each, other, _ in ranked},
        codes={each.name: each.code for each, _, _ in ranked},
        gaussian_loss=gaussian_loss,
        model=model,
    )
