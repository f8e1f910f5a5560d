"""All that decides the samples of a job, as arguments and as the job's description."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._digest import digest
from kinetic_jax.fields import check_cond
from kinetic_jax.networks import Scaling
from kinetic_jax.sampling import noise, time_nodes
from kinetic_jax.training import describe_field
from kinetic_jax.transforms import DEFAULT_TAU_SPLIT, Transform, cfg, chain, kts

FORMAT = 1
GENERATOR = "threefry2x32"  # draws the same on every machine, in every batch
LABELS_TOLD = 100  # a longer cycle of labels is told by its digest
SOLVERS: dict[str, Any] = {
    "euler": diffrax.Euler,
    "midpoint": diffrax.Midpoint,
    "heun": diffrax.Heun,
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class JobSettings:
    """What decides the samples of a job, beside its field.

    Attributes:
        n: how many samples; sample i depends on (seed, i) alone.
        seed: of the noise.
        shard_size: samples per file.
        alpha0: strength of the launch; see `kts`.
        beta0: strength of the landing.
        tau_split: end of the launch; the energy is split there.
        launch: shape of the launch, a name.
        landing: shape of the landing, a name.
        k: steepness of the exponential shapes.
        allow_reversal: whether strengths may stop or reverse the flow; see `kts`.
        steps: of the time grid.
        grid: "uniform" or "cosine".
        solver: "euler", "midpoint", "heun", "bosh3", "tsit5" or "dopri5".
        labels: one class, or a cycle of them: sample i is of class labels[i mod their number];
            "all": the field's classes in turn. None: no class, for a field with classes its null
            class.
        cfg: weight of the guidance (`cfg`), which needs labels; None: no guidance.
        cfg_interval: the times between which it acts.
        profile: whether to keep speed and bend per step.

    Raises:
        ValueError: naming the setting that is out of range.

    Example:
        >>> from kinetic_jax import JobSettings
        >>> JobSettings(n=50_000, alpha0=0.01, beta0=0.01).shard_size
        1024
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
    steps: int = 100
    grid: str = "uniform"
    solver: str = "euler"
    labels: str | int | Sequence[int] | np.ndarray | None = None
    cfg: float | None = None
    cfg_interval: tuple[float, float] = (0.0, 1.0)
    profile: bool = False

    def __post_init__(self) -> None:
        for name in ("alpha0", "beta0", "tau_split", "k"):  # 1 and 1.0 are one setting
            object.__setattr__(self, name, _as_float(name, getattr(self, name)))
        if self.cfg is not None:
            object.__setattr__(self, "cfg", _as_float("cfg", self.cfg))
        for name, least, most in (
            ("n", 1, 2**32),
            ("seed", 0, 2**63 - 1),
            ("shard_size", 1, 2**32),
            ("steps", 1, 2**31 - 1),
        ):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            words = f"be a whole number from {least} to {most}"
            require(whole and least <= value <= most, name, repr(value), words)
        require(isinstance(self.grid, str), "grid", repr(self.grid), "be 'uniform' or 'cosine'")
        known = ", ".join(map(repr, SOLVERS))
        require(self.solver in SOLVERS, "solver", repr(self.solver), f"be one of {known}")
        for name in ("launch", "landing"):  # a function could not be written down
            value = getattr(self, name)
            require(isinstance(value, str), name, repr(value), "be a shape's name")
        for name in ("allow_reversal", "profile"):
            value = getattr(self, name)
            require(isinstance(value, bool), name, repr(value), "be True or False")
        interval = tuple(self.cfg_interval)
        acts = self.cfg is not None or interval == (0.0, 1.0)
        require(acts, "cfg_interval", interval, "be left out without cfg, which acts within it")
        guided = self.cfg is None or self.labels is not None
        require(guided, "cfg", self.cfg, "be left out without labels, which it strengthens")


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value) + 0.0  # −0 and 0 are one setting as well
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number, got {value!r}") from error


class Plan(NamedTuple):
    """A job that is ready to be run: the field under its transforms, and how it is described.

    Attributes:
        velocity: the field under guidance and gain.
        settings: as given.
        labels: the cycle of labels, or None.
        about: what `job.json` holds.
    """

    velocity: Any
    settings: JobSettings
    labels: np.ndarray | None
    about: dict[str, Any]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.about["event_shape"])

    def labels_of(self, index: np.ndarray) -> np.ndarray | None:
        """The labels of the samples with those global indices."""
        return None if self.labels is None else self.labels[index % len(self.labels)]


def make_plan(field: Any, settings: JobSettings) -> Plan:
    """Checks that field and settings go together, before a folder is made.

    Raises:
        ValueError: naming what does not.
    """
    shape: Any = getattr(field, "event_shape", None)
    words = "know the shape of a sample (event_shape), as the fields of network_field do"
    require(shape is not None, "field", type(field).__name__, words)
    labels = _cycle(settings, field)
    transforms: list[Transform] = []
    if settings.cfg is not None:
        null = getattr(field, "null_cond", None)
        require(null is not None, "cfg", settings.cfg, "be left out for a field without null_cond")
        transforms.append(cfg(settings.cfg, null, interval=settings.cfg_interval))
    numbers = {name: getattr(settings, name) for name in ("alpha0", "beta0", "tau_split", "k")}
    shapes: dict[str, Any] = {"launch": settings.launch, "landing": settings.landing}
    transforms.append(kts(**numbers, **shapes, allow_reversal=settings.allow_reversal))
    x0 = jax.eval_shape(lambda: noise(job_key(0), 0, shape))
    time_nodes(settings.grid, settings.steps, 0.0, 1.0, x0.dtype)
    about = _described(field, settings, labels) | {"dtype": x0.dtype.name}
    # As JSON has it, which knows no tuples: what is read from a folder is compared with it.
    return Plan(chain(*transforms)(field), settings, labels, json.loads(json.dumps(about)))


def job_key(seed: int) -> Any:
    """The key of a job's noise, made of both halves of a seed of 64 bits.

    (`jax.random.key` sees the lower half alone, unless 64-bit types are enabled.)
    """
    halves = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return jax.random.wrap_key_data(halves, impl=GENERATOR)


def _cycle(settings: JobSettings, field: Any) -> np.ndarray | None:
    if settings.labels is None:
        return None
    classes: Any = getattr(field, "num_classes", None)
    if isinstance(settings.labels, str):
        require(settings.labels == "all", "labels", repr(settings.labels), "be 'all' or numbers")
        require(classes is not None, "labels", "'all'", "be left out for a field without classes")
        return np.arange(classes, dtype=np.int32)
    given = np.atleast_1d(np.asarray(settings.labels))
    good = given.ndim == 1 and given.dtype.kind in "iu" and 1 <= given.size <= settings.n
    words = f"be one axis of 1 to n = {settings.n} whole numbers"
    require(good, "labels", f"{given.dtype} of shape {given.shape}", words)
    lacks = hasattr(field, "num_classes") and classes is None
    require(not lacks, "labels", given[:3], "be left out for a field without classes")
    check_cond(field, "labels", given)
    return given.astype(np.int32)


def _described(field: Any, settings: JobSettings, labels: np.ndarray | None) -> dict[str, Any]:
    scaling = getattr(field, "scaling", Scaling())
    about: dict[str, Any] = {
        field.name: _plain(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if field.name not in ("labels", "cfg_interval")
    }
    about["cfg_interval"] = [float(bound) for bound in settings.cfg_interval]
    about["labels"] = labels if labels is None else labels.tolist()
    if labels is not None and labels.size > LABELS_TOLD:
        about["labels"] = {"number": labels.size, "sha256": digest([labels])}
    return about | {
        "format": FORMAT,
        "generator": GENERATOR,
        "field": _fingerprint(field),
        "event_shape": tuple(field.event_shape),
        "num_classes": getattr(field, "num_classes", None),
        "scaling": dataclasses.asdict(scaling),
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _fingerprint(field: Any) -> str:
    """A digest of the field's weights and of what it is, whatever folder it came from."""
    arrays = eqx.filter(field, eqx.is_array)
    known = describe_field(field)
    if known is None:
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(arrays)]
        # Numbers and settings that are no arrays, too; functions by their names.
        told = eqx.tree_pformat(field, short_arrays=True)
        known = {"class": type(field).__qualname__, "arrays": paths, "told": told}
    text = json.dumps(known, sort_keys=True) + digest(jax.tree.leaves(arrays))
    return hashlib.sha256(text.encode()).hexdigest()
