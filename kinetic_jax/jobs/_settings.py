"""The settings of a job."""

import dataclasses
import functools
from collections.abc import Collection, Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PyTree

from kinetic_jax._checks import (
    numbers,
    real_number,
    require,
    require_between,
    require_flag,
    short,
    whole_number,
)
from kinetic_jax.energy._measure import checked_frame, checked_mass
from kinetic_jax.sampling._grid import DEFAULT_NUM_STEPS, named_grid, time_nodes
from kinetic_jax.transforms._kts import LANDING_SHAPES, LAUNCH_SHAPES
from kinetic_jax.transforms._phases import DEFAULT_TAU_SPLIT

MAX_STEPS = 4096
SOLVERS: dict[str, type[diffrax.AbstractSolver]] = {
    "euler": diffrax.Euler,
    "midpoint": diffrax.Midpoint,
    "heun": diffrax.Heun,
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
}
_LIMITS = {
    "n": (1, 2**32),
    "seed": (0, 2**63 - 1),
    "shard_size": (1, 2**32),
    "num_steps": (1, 2**31 - 1),
    "max_steps": (1, 2**31 - 1),
}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class JobSettings:
    """All settings that decide the samples of a job, besides its field.

    Attributes:
        n: number of samples; sample i depends on (seed, i) alone.
        seed: seed of the noise, 64 bits: sample i begins at `noise(jax.random.key(seed), i,
            event_shape)` (with JAX's default generator, for seeds below 2³²).
        shard_size: samples per file.
        alpha0: strength of the launch; see `kts`.
        beta0: strength of the landing.
        tau_split: end of the launch; the energy is split there.
        launch: shape of the launch, a name.
        landing: shape of the landing, a name.
        k: steepness of the exponential shapes.
        allow_reversal: allow strengths that stop or reverse the flow; see `kts`.
        num_steps: steps of the time grid, 100 by default.
        grid: "uniform", "cosine", "shifted:3" (see `shifted_grid`) or N + 1 times from t0 to t1.
        solver: "euler" (the default), "midpoint", "heun", "bosh3", "tsit5" (the default with
            rtol and atol) or "dopri5".
        labels: one class, or a cycle of classes: sample i has class labels[i mod their number];
            "all": the field's classes in turn. None: no class, or the null class of a field with
            classes.
        cfg: weight of the guidance (`cfg`), which needs labels or cond; None: no guidance.
        cfg_interval: the times between which guidance acts.
        profile: keep speed and bend per step.
        residual: keep the share of noise that is left on each sample, for `complete`.
        t0: start, a number in [0, 1).
        t1: end, a number in (t0, 1].
        rtol: relative tolerance; with `rtol` and `atol` each sample takes its own adaptive steps,
            by a `diffrax.PIDController`, and num_steps, grid and profile are left out.
        atol: absolute tolerance.
        max_steps: step limit of an adaptive solve.
        cond: conditions other than labels: an array or a pytree of arrays (memmaps, say) with n
            rows, one per sample, or one row for all.
        mass: weights of the energy, as in `sample`: arrays that broadcast to a sample, or that have
            n rows, one per sample.
        frame: the velocity of the frame of the energy, as in `sample`, in the same shapes.

    Raises:
        ValueError: naming the setting that is out of range.

    Example:
        >>> from kinetic_jax.jobs import JobSettings
        >>> JobSettings(n=50_000, alpha0=0.01, beta0=0.01).shard_size
        1024
        >>> JobSettings(n=50_000, rtol=1e-4, atol=1e-4).solver
        'tsit5'
    """

    n: int
    seed: int = 0
    shard_size: int = 1024
    alpha0: float = 0.0
    beta0: float = 0.0
    tau_split: float = DEFAULT_TAU_SPLIT
    launch: str = "linear"
    landing: str = "exponential"
    k: float = 3.0
    allow_reversal: bool = False
    num_steps: int | None = None
    grid: str | ArrayLike | Sequence[float] = "uniform"
    solver: str | None = None
    labels: str | ArrayLike | Sequence[int] | None = None
    cfg: float | None = None
    cfg_interval: Sequence[float] = (0.0, 1.0)
    profile: bool = False
    t0: float = 0.0
    t1: float = 1.0
    rtol: float | None = None
    atol: float | None = None
    max_steps: int = MAX_STEPS
    cond: PyTree[Any] | None = None
    mass: PyTree[Any] | None = None
    frame: PyTree[Any] | None = None
    residual: bool = False

    def __post_init__(self) -> None:
        keep = functools.partial(object.__setattr__, self)
        for name in ("alpha0", "beta0", "tau_split", "k", "t0", "t1", "cfg", "rtol", "atol"):
            if getattr(self, name) is not None or name not in ("cfg", "rtol", "atol"):
                keep(name, real_number(name, getattr(self, name)) + 0.0)  # + 0.0 turns −0 into 0
        for name, (least, most) in _LIMITS.items():
            if name != "num_steps" or self.num_steps is not None:
                keep(name, whole_number(name, getattr(self, name), least, most))
        for name in ("allow_reversal", "profile", "residual"):
            require_flag(name, getattr(self, name))
        _check_name("launch", self.launch, LAUNCH_SHAPES)  # a function cannot be stored
        _check_name("landing", self.landing, LANDING_SHAPES)
        if self.solver is None:
            keep("solver", "euler" if self.rtol is None else "tsit5")
        _check_name("solver", self.solver, SOLVERS)
        require(0 <= self.t0 < 1, "t0", self.t0, "lie in [0, 1)")
        is_after = self.t0 < self.t1 <= 1
        require(is_after, "t1", self.t1, f"lie in (t0, 1], with t0 = {self.t0:g}")
        _check_tolerances(self)
        if self.rtol is None:
            keep("grid", _checked_grid(self))
            fixed = (
                DEFAULT_NUM_STEPS if isinstance(self.grid, str) else len(np.asarray(self.grid)) - 1
            )
            keep("num_steps", self.num_steps or fixed)
        keep("labels", _checked_labels(self.labels, self.n))
        keep("cond", _checked_cond(self))
        keep("mass", jax.tree.map(np.asarray, checked_mass(self.mass)))
        keep("frame", jax.tree.map(np.asarray, checked_frame(self.frame)))
        keep("cfg_interval", _checked_interval(self))


def _check_name(name: str, value: object, known: Collection[str]) -> None:
    is_known = isinstance(value, str) and value in known
    require(is_known, name, repr(value), f"be one of {', '.join(map(repr, known))}")


def _check_tolerances(settings: JobSettings) -> None:
    rtol, atol = settings.rtol, settings.atol
    require((rtol is None) == (atol is None), "rtol, atol", (rtol, atol), "be given together")
    if rtol is None or atol is None:
        expected = "be left out without rtol and atol, as a fixed grid has its own number of steps"
        require(settings.max_steps == MAX_STEPS, "max_steps", settings.max_steps, expected)
        return
    require(rtol >= 0, "rtol", rtol, "be >= 0")
    require(atol >= 0, "atol", atol, "be >= 0")
    require(rtol + atol > 0, "rtol, atol", (rtol, atol), "not both be 0")
    estimates = issubclass(SOLVERS[str(settings.solver)], diffrax.AbstractAdaptiveSolver)
    require(estimates, "solver", repr(settings.solver), "estimate its error, for rtol and atol")
    for name, default in (("num_steps", None), ("grid", "uniform"), ("profile", False)):
        value = getattr(settings, name)
        is_default = isinstance(value, type(default)) and value == default
        expected = "be left out with rtol and atol, which decide the steps"
        require(is_default, name, repr(value), expected)


def _checked_grid(settings: JobSettings) -> str | np.ndarray:
    """The name of the grid, or its times in float64."""
    span = settings.t0, settings.t1, np.float64
    if isinstance(settings.grid, str):
        name, number = named_grid(settings.grid)
        return name if number is None else f"{name}:{number!r}"  # "shifted:3" is "shifted:3.0"
    grid = numbers("grid", settings.grid)
    return np.asarray(time_nodes(grid, settings.num_steps, *span)[0])


def _checked_labels(labels: object, n: int) -> str | np.ndarray | None:
    """The cycle of labels; None and "all" pass."""
    if labels is None or isinstance(labels, str):
        require(labels in (None, "all"), "labels", repr(labels), "be 'all' or numbers")
        return labels
    cycle = np.atleast_1d(numbers("labels", labels))
    is_cycle = cycle.ndim == 1 and cycle.dtype.kind in "iu" and 1 <= cycle.size <= n
    expected = f"be one axis of 1 to n = {n} whole numbers"
    require(is_cycle, "labels", f"{cycle.dtype} of shape {cycle.shape}", expected)
    require_between("labels", cycle, -(2.0**31), 2.0**31 - 1, closed=True)
    return cycle.astype(np.int32)


def _checked_cond(settings: JobSettings) -> PyTree[Any] | None:
    """The conditions, on the host, where batches are slices."""
    if settings.cond is None:
        return None
    leaves = jax.tree.leaves(settings.cond)
    shapes = [getattr(leaf, "shape", type(leaf).__name__) for leaf in leaves]
    have_rows = bool(shapes) and all(shape[:1] in ((settings.n,), (1,)) for shape in shapes)
    expected = f"be arrays of n = {settings.n} rows, or of one row for all"
    require(have_rows, "cond", shapes, expected)
    for dtype in (getattr(leaf, "dtype", None) for leaf in leaves):
        is_number = dtype is not None and (
            jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, np.bool_)
        )
        require(is_number, "cond", f"dtype {dtype}", "hold numbers")
    require(settings.labels is None, "labels", settings.labels, "be left out with cond")
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, settings.cond
    )


def _checked_interval(settings: JobSettings) -> tuple[float, float]:
    pair = settings.cfg_interval
    is_pair = isinstance(pair, tuple | list | np.ndarray) and len(pair) == 2
    require(is_pair, "cfg_interval", short(pair), "be a pair (low, high)")
    low, high = (real_number("cfg_interval", end) for end in pair)
    require(0 <= low <= high <= 1, "cfg_interval", (low, high), "have 0 <= low <= high <= 1")
    acts = settings.cfg is not None or (low, high) == (0.0, 1.0)
    expected = "be left out without cfg, which acts within it"
    require(acts, "cfg_interval", (low, high), expected)
    has_cond = settings.labels is not None or settings.cond is not None
    expected = "be left out without labels or cond, which it strengthens"
    require(settings.cfg is None or has_cond, "cfg", settings.cfg, expected)
    return low, high
