"""The convention of a trained model: its sign, direction, clock and prediction."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import require, require_key, require_known, short, whole_number
from kinetic_jax._dtypes import at_least_float32
from kinetic_jax._mesh import gathered
from kinetic_jax._open import call_opened
from kinetic_jax.exact import GaussianField
from kinetic_jax.fields import Field, Schedule, VelocityField, as_field
from kinetic_jax.fields._flat import flattened
from kinetic_jax.training._evidence import (
    INFORMS,
    Reference,
    may_be_gaussian,
    neighbors_of,
    reason_against,
    share_of_linear_correction,
)
from kinetic_jax.training._inputs import checked_data
from kinetic_jax.training._measured import measured_losses
from kinetic_jax.training._readings import (
    Convention,
    Rates,
    extra_clocks,
    known_clocks,
    known_rates,
    rates_of_clocks,
    times_of,
)

SAME, AS_GOOD = 1.0001, 1.01  # times the lowest loss
ROWS_OF_MOMENTS = 4096
LEAST_SAMPLES, MOST_SAMPLES = 64, 2**16
SHOWN = 4  # names of equivalents in the printed text


@dataclasses.dataclass(frozen=True, repr=False)
class Identification:
    """The result of `identify_convention`; printing it gives a short table.

    Attributes:
        fits: True if the best convention passes the tests that `identify_convention` describes.
        convention: the best convention, right only if `fits`: its `name`, the line of `code` that
            makes the field, and its parts, `predicts`, `schedule`, `call` and `sigma_data`.
        equivalents: the conventions within 1% of it, lowest loss first.
        losses: the loss of each convention by its name, lowest first; those that are not finite
            are last.
        codes: the line of code of each convention by its name.
        gaussian_loss: that of the Gaussian flow.
        smoothed_loss: that of the exact flow of other rows, smoothed.
        linear_correction: the share of the loss that a linear correction of its velocities removes.
        reason: why it does not fit; empty if it does.
        model: the model.
    """

    fits: bool
    convention: Convention
    equivalents: tuple[Convention, ...]
    losses: dict[str, float]
    codes: dict[str, str]
    gaussian_loss: float
    smoothed_loss: float
    linear_correction: float
    reason: str
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
        head = [
            f"None of {len(self.losses)} conventions fits. The nearest is {best.name}:",
            f"{self.reason}.",
        ]
        if self.fits:
            head = [f"{best.name[0].upper()}{best.name[1:]}.", f"field = {best.code}"]
            if self.equivalents:
                names = [each.name for each in self.equivalents]
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                head.append(f"As good, within 1%: {'; '.join(names[:SHOWN])}{more}.")
            if self.losses[best.name] > INFORMS * self.gaussian_loss:
                head.append("No better than a Gaussian flow: right only if the data are Gaussian.")
            head.append(f"A linear correction removes {self.linear_correction:.1%} of the loss.")
        rows = [(loss, name) for name, loss in self.losses.items() if np.isfinite(loss)]
        rows = [
            *rows[:6],
            (self.gaussian_loss, "(the Gaussian of the data's mean and scale)"),
            (self.smoothed_loss, "(the flow of other rows, smoothed)"),
        ]
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
    num_samples: int = 1024,
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
    | `ddpm_schedule` | 1,000 bins: of Ho et al., of Stable Diffusion, of squared cosines |
    | `vp_schedule` | clock 0 to 1 and 0 to 999 with data at 0, 0 to 1 with noise at 0 |
    | `cosine_schedule` | clock 0 to 1 and 0 to 1,000 with data at 0, 0 to 1 with noise at 0 |
    | `edm_schedule` | data, noise and score on the clock σ; a network that `edm_denoiser` \
preconditions, with 0.5, 1 or the data's own standard deviation |

    The best convention fits if all of these hold, and else `reason` says which does not:

    - its loss is at most 1.02 times that of the Gaussian flow with the data's mean and standard
      deviations; within 2% of it only for data that tests cannot tell from that Gaussian;
    - a constant in place of the model's outputs (their mean) does worse, by 2%, or by 20% where the
      Gaussian is not beaten by 2%;
    - it gains on that Gaussian at least 85% of what the smoothed data gain: the exact flow of other
      rows (up to 2,048), each widened to the best of five Gaussians. That is a good flow in few
      dimensions and a poor one of images, where this asks for less;
    - no linear correction `a v + b x + c` of its velocities, fitted in four bins of time on one
      half of the samples, lowers the loss of the other half by more than 3%: a right velocity is
      the mean of x1 − x0 given x_t, so that what is left over correlates with no function of x_t.

    So an untrained model fits nothing, and neither may one that has learned little, with few rows
    of its data, or without its `cond`. In few dimensions a velocity that is wrong by 30%, or a
    clock by 0.1, may pass with some keys; so may a path that is not tried, where it is nearly one
    that is. The margins are printed, and in `losses`, `smoothed_loss` and `linear_correction`.

    Args:
        model: called as `model(reading, x, cond)` on ONE sample: a function, `from_nnx(...)` or
            `from_linen(...)`.
        data: some rows of what the model was trained on, shape (rows, *event), in its scale, or a
            pytree of such arrays.
        key: a JAX random key.
        cond: a pytree with one entry per row on every leaf (class labels, say), or None.
        num_samples: rows drawn, 64 to 65,536, each at a time of its own; the model is evaluated so
            many times on each of 16 clocks, 17 if the data's standard deviation is neither 0.5
            nor 1.
        schedules: schedules of your own to try besides, by name.

    Returns:
        `Identification`: print it, or use its `field`.

    Raises:
        ValueError: before anything large compiles, if the model cannot be called so, with a
            floating clock, for empty or non-finite data, rows that are all the same, rows of `cond`
            that differ from those of `data` or that the model refuses, other arguments of wrong
            kinds.

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
    field, data, spec = flattened("data", given, data)
    rows, cond, _ = checked_data(field, data, cond, None)
    require(rows.size > 0, "data", f"shape {rows.shape}", "have coordinates")
    rows = jnp.asarray(gathered("data", rows))
    cond = jax.tree.map(lambda leaf: gathered("cond", leaf), cond)
    number = whole_number("num_samples", num_samples, LEAST_SAMPLES, MOST_SAMPLES)
    own = _checked_schedules(schedules)
    gaussian = _gaussian_of(rows)
    dtype = np.dtype(at_least_float32(rows.dtype)).name
    _try_call(field, dtype, *jax.tree.map(lambda leaf: leaf[0], (rows, cond)))
    scales = np.asarray(gaussian.scale, np.float64)
    overall = float(np.sqrt(np.mean(scales**2)))
    sigma_data = float(f"{overall:.3g}")
    extra = extra_clocks(sigma_data, own)
    rates = known_rates(number, dtype)
    if extra:
        more = rates_of_clocks(extra, times_of(number, dtype))
        rates = tuple(np.concatenate(pair) for pair in zip(rates, more, strict=True))
    times = jnp.asarray(times_of(number, dtype))
    neighbors = neighbors_of(rows, gaussian.mean, overall)
    measured = call_opened(
        measured_losses,
        field,
        rows,
        cond,
        key,
        times,
        Rates(*map(jnp.asarray, rates)),
        gaussian,
        neighbors,
    )
    losses, constant, products, of_gaussian, of_smoothed = map(np.asarray, measured)
    is_tree = spec is not None
    clocks = [clock.conventions(is_tree=is_tree) for clock in (*known_clocks(), *extra)]
    tried = [
        (convention, float(losses[i, j]), float(constant[i, j]), products[i, j])
        for i, of_clock in enumerate(clocks)
        for j, convention in enumerate(of_clock)
    ]
    flat = _rows_of_moments(rows).reshape(-1, scales.size)
    reference = Reference(float(of_gaussian), float(np.min(of_smoothed)), may_be_gaussian(flat))
    return _verdict(tried, reference, given)


def _try_call(field: Field, dtype: str, row: Array, cond: PyTree[Array]) -> None:
    """Calls the model once, without computing, for its own errors."""
    try:
        jax.eval_shape(field, jnp.zeros((), dtype), row, cond)
    except TypeError as error:
        # JAX's own: a number that is traced as a Python one, or a floating one as an index.
        if not isinstance(error, jax.errors.JAXTypeError) and "ndexer must" not in str(error):
            raise
        first = str(error).partition("\n")[0]
        expected = "take its clock as a floating JAX number (r.astype(int) is the index of a table)"
        raise ValueError(
            f"model must {expected}, got {type(error).__name__}: {first:.200}"
        ) from error
    except ValueError as error:
        if cond is not None:
            raise
        raise ValueError(f"{error}; cond is None: a model of classes needs their labels") from error


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


def _rows_of_moments(rows: Array) -> Float[np.ndarray, "some *event"]:
    return np.asarray(rows[:: -(-rows.shape[0] // ROWS_OF_MOMENTS)], np.float64)


def _gaussian_of(rows: Array) -> GaussianField:
    """The Gaussian of the mean and the standard deviation of each coordinate."""
    some = _rows_of_moments(rows)
    mean, scale = some.mean(axis=0), some.std(axis=0)
    overall = np.sqrt(np.mean(scale**2))
    require(bool(overall > 0), "data", "rows that are all the same", "hold rows that differ")
    dtype = at_least_float32(rows.dtype)
    # A coordinate that never changes has none.
    return GaussianField(mean.astype(dtype), np.maximum(scale, 1e-3 * overall).astype(dtype))


def _verdict(
    tried: list[tuple[Convention, float, float, np.ndarray]], reference: Reference, model: Field
) -> Identification:
    # A stable sort: of readings that are the same, the plainest is first.
    ranked = sorted(tried, key=lambda each: each[1] if np.isfinite(each[1]) else np.inf)
    lowest = ranked[0][1]
    of_lowest = (each for each in tried if each[1] <= SAME * lowest)
    best, loss, constant, products = next(of_lowest, ranked[0])  # none where all are NaN
    correction = share_of_linear_correction(products)
    reason = reason_against(loss, constant, correction, reference)
    return Identification(
        fits=not reason,
        convention=best,
        equivalents=tuple(
            each for each, other, *_ in ranked if each is not best and other <= AS_GOOD * lowest
        ),
        losses={each.name: other for each, other, *_ in ranked},
        codes={each.name: each.code for each, *_ in ranked},
        gaussian_loss=reference.gaussian,
        smoothed_loss=reference.smoothed,
        linear_correction=correction,
        reason=reason,
        model=model,
    )
