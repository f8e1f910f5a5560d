"""A job that is ready to be run, and its description."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._checks import as_array, require
from kinetic_jax._digest import digest
from kinetic_jax.fields import check_cond, checked_event_shape, checked_field, declared
from kinetic_jax.jobs._description import FORMAT, GENERATOR
from kinetic_jax.jobs._settings import SOLVERS, JobSettings
from kinetic_jax.networks import NetworkSpec, Scaling, own_spec
from kinetic_jax.sampling import held_arrays, noise, probed, time_nodes
from kinetic_jax.transforms import Transform, cfg, chain, kts

CLASSES_PROBED = 64
LISTED = 100  # a longer list of labels or times is told by its digest
# Settings of later versions are written down only where they are not the default: the
# descriptions of older jobs, and so their shards, stay theirs.
LATER = ("t0", "t1", "rtol", "atol", "max_steps")
Start = Callable[[np.ndarray], ArrayLike]


class Plan(NamedTuple):
    """A job that is ready to be run: the field under its transforms, and how it is described.

    Attributes:
        velocity: the field under guidance and gain.
        settings: as given.
        labels: the cycle of labels, or None.
        x0: where samples begin, by their indices; None for noise.
        about: what `job.json` holds.
    """

    velocity: Any
    settings: JobSettings
    labels: np.ndarray | None
    x0: Start | None
    about: dict[str, Any]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.about["event_shape"])

    def start_of(self, index: np.ndarray) -> Array:
        """Where the samples with those global indices begin."""
        if self.x0 is None:
            return noise(job_key(self.settings.seed), jnp.asarray(index), self.event_shape)
        return _started(self.x0, index, self.event_shape)

    def labels_of(self, index: np.ndarray) -> np.ndarray | None:
        """The labels of the samples with those global indices."""
        return None if self.labels is None else self.labels[index % len(self.labels)]

    def cond_of(self, index: np.ndarray) -> PyTree[Any]:
        """The conditions of the samples with those indices, which lie close together."""
        if self.labels is not None:
            return jnp.asarray(self.labels_of(index))
        return jax.tree.map(lambda rows: _rows_of(rows, index), self.settings.cond)

    def solve_options(self) -> dict[str, Any]:
        """What `sample` takes beside field, start and conditions."""
        given = self.settings
        options = {
            "solver": SOLVERS[str(given.solver)](),
            "t0": given.t0,
            "t1": given.t1,
            "tau_split": given.tau_split,
        }
        if given.rtol is None or given.atol is None:
            return options | {"num_steps": given.steps, "grid": given.grid}
        controller = diffrax.PIDController(rtol=given.rtol, atol=given.atol)
        return options | {"controller": controller, "max_steps": given.max_steps}


def make_plan(
    field: Any,
    settings: JobSettings,
    *,
    event_shape: tuple[int, ...] | None = None,
    x0: Start | None = None,
) -> Plan:
    """Checks that field and settings go together, before a folder is made.

    Raises:
        ValueError: naming what does not.
    """
    spec, field = own_spec(field), checked_field(field)
    shape = _event_shape(field, event_shape, x0)
    if x0 is not None:
        words = "be left out with x0, which decides where samples begin"
        require(settings.seed == 0, "seed", settings.seed, words)
    labels = _cycle(settings, field)
    guidance = _guidance(field, settings)
    numbers = {name: getattr(settings, name) for name in ("alpha0", "beta0", "tau_split", "k")}
    shapes: dict[str, Any] = {"launch": settings.launch, "landing": settings.landing}
    shaping = kts(**numbers, **shapes, allow_reversal=settings.allow_reversal)
    dtype = jax.eval_shape(lambda: noise(job_key(0), 0, shape)).dtype
    if x0 is not None:
        dtype = _started(x0, np.zeros(1, np.uint32), shape).dtype
    if settings.rtol is None:
        time_nodes(settings.grid, settings.steps, settings.t0, settings.t1, dtype)
    about = _described(field, settings, labels) | {
        "dtype": dtype.name,
        "event_shape": shape,
        "field": _fingerprint(field, spec),
        "generator": GENERATOR if x0 is None else None,
    }
    plan = Plan(chain(*guidance, shaping)(field), settings, labels, x0, about)
    if spec is None or x0 is not None:
        about["probes"] = probed(field, *_probe_rows(plan, field), (settings.t0, settings.t1))
    # As JSON has it, which knows no tuples: what is read from a folder is compared with it.
    return plan._replace(about=json.loads(json.dumps(about)))


def job_key(seed: int) -> Any:
    """The key of a job's noise, made of both halves of a seed of 64 bits.

    (`jax.random.key` sees the lower half alone, unless 64-bit types are enabled.)
    """
    halves = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(halves), impl=GENERATOR)


def _event_shape(field: Any, given: tuple[int, ...] | None, x0: Start | None) -> tuple[int, ...]:
    """The shape of a sample, as the field says, the caller, or the rows of `x0`."""
    own, given = declared(field, "event_shape"), checked_event_shape(given)
    if given is not None:
        same = own is None or tuple(own) == given
        require(same, "event_shape", given, f"be the field's, {own}")
        own = given
    elif own is None and x0 is not None:
        own = np.shape(x0(np.zeros(1, np.uint32)))[1:]
    words = "know the shape of a sample, or event_shape be given"
    require(own is not None, "field", type(field).__name__, words)
    has_sides = all(side >= 1 for side in own)
    require(has_sides, "event_shape", tuple(own), "have sides >= 1, each of them")
    return tuple(int(side) for side in own)


def _started(x0: Start, index: np.ndarray, shape: tuple[int, ...]) -> Array:
    rows = as_array("x0(index)", x0(index))
    words = f"have the shape {(index.size, *shape)}, a row per index"
    require(rows.shape == (index.size, *shape), "x0(index)", f"shape {rows.shape}", words)
    is_real = rows.dtype in (jnp.float32, jnp.float64)
    require(is_real, "x0(index)", f"dtype {rows.dtype}", "be float32 or float64")
    return rows


def _rows_of(rows: Any, index: np.ndarray) -> Array:
    """Rows with those indices, or the one row for all; read as a slice, as lazy arrays have it."""
    if rows.shape[0] == 1:
        index = np.zeros_like(index)
    first, last = int(index.min()), int(index.max())
    return jnp.asarray(np.asarray(rows[first : last + 1])[index - first])


def _guidance(field: Any, settings: JobSettings) -> list[Transform]:
    if settings.cfg is None:
        return []
    null = declared(field, "null_cond")
    words = "be left out for a field without null_cond (give the field under kinetic_jax.cfg)"
    require(null is not None, "cfg", settings.cfg, words)
    low, high = settings.cfg_interval
    return [cfg(settings.cfg, null, interval=(low, high))]


def _cycle(settings: JobSettings, field: Any) -> np.ndarray | None:
    if settings.labels is None:
        return None
    classes = declared(field, "num_classes", "unknown")
    if isinstance(settings.labels, str):
        known = classes not in (None, "unknown")
        require(known, "labels", "'all'", "be left out for a field without classes")
        return np.arange(classes, dtype=np.int32)
    labels = np.asarray(settings.labels)
    words = "be left out for a field without classes"
    require(classes is not None, "labels", labels[:3], words)
    check_cond(field, "labels", labels)
    return labels


def _fingerprint(field: Any, spec: NetworkSpec | None) -> str:
    """A digest of a field's arrays, and of what its network is if it is of this package."""
    known = None if spec is None else spec.to_json()
    text = json.dumps(known, sort_keys=True) + digest(held_arrays(field))
    return hashlib.sha256(text.encode()).hexdigest()


def _probe_rows(plan: Plan, field: Any) -> tuple[Array, PyTree[Any]]:
    """Starts and conditions of some samples, of each class one; under guidance of none as well."""
    n = plan.settings.n
    firsts = np.zeros(0, int)
    if plan.labels is not None:
        firsts = np.sort(np.unique(plan.labels[:n], return_index=True)[1])[:CLASSES_PROBED]
    some = [*range(min(n, 4)), n // 4, n // 2, 3 * n // 4, n - 1]
    index = np.unique([*some, *firsts]).astype(np.uint32)
    x0 = plan.start_of(index)
    # One by one, as they lie far apart.
    conds = [plan.cond_of(index[place : place + 1]) for place in range(index.size)]
    if plan.settings.cfg is not None:
        null = jax.tree.map(
            lambda row, none: jnp.broadcast_to(jnp.asarray(none, row.dtype), row.shape),
            conds[0],
            declared(field, "null_cond"),
        )
        x0 = jnp.concatenate([x0, x0])
        conds += [null] * index.size
    return x0, jax.tree.map(lambda *rows: jnp.concatenate(rows), *conds)


def _described(field: Any, settings: JobSettings, labels: np.ndarray | None) -> dict[str, Any]:
    about: dict[str, Any] = {
        setting.name: getattr(settings, setting.name)
        for setting in dataclasses.fields(settings)
        if setting.name not in LATER or getattr(settings, setting.name) != setting.default
    }
    about["cfg_interval"] = list(settings.cfg_interval)
    about["labels"] = labels if labels is None else _listed(labels)
    if not isinstance(settings.grid, str):
        about["grid"] = _listed(np.asarray(settings.grid))
    if about.pop("cond") is not None:
        leaves = jax.tree.leaves_with_path(settings.cond)
        about["cond"] = {jax.tree_util.keystr(path): digest([leaf]) for path, leaf in leaves}
    classes, scaling = declared(field, "num_classes"), declared(field, "scaling")
    return about | {
        "format": FORMAT,
        "num_classes": classes if classes is None else int(classes),
        "scaling": dataclasses.asdict(scaling if isinstance(scaling, Scaling) else Scaling()),
    }


def _listed(values: np.ndarray) -> Any:
    if values.size <= LISTED:
        return values.tolist()
    return {"number": values.size, "sha256": digest([values])}
