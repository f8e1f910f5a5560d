"""Plans: a validated field, its settings and the job description."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from kinetic_jax._checks import as_array, require, short
from kinetic_jax._digest import digest
from kinetic_jax._dtypes import dtype_of
from kinetic_jax._state import (
    EventShape,
    State,
    StateSpec,
    as_event_shape,
    checked_event_shape,
    is_pytree_state,
    optional_event_shape,
    spec_of,
)
from kinetic_jax._streaming import Rows
from kinetic_jax.energy._measure import spread_like
from kinetic_jax.fields import Field, VelocityField, as_field
from kinetic_jax.fields._step import require_step
from kinetic_jax.jobs._description import (
    FORMAT,
    GENERATOR,
    MAX_TIMES,
    About,
    fingerprint,
    values_or_digest,
)
from kinetic_jax.jobs._settings import SOLVERS, JobSettings
from kinetic_jax.jobs._shards import paths_of
from kinetic_jax.networks import Scaling
from kinetic_jax.networks._network_field import own_spec
from kinetic_jax.sampling import noise
from kinetic_jax.sampling._explicit import stages_of
from kinetic_jax.sampling._geodesic import check_stages
from kinetic_jax.sampling._grid import time_nodes
from kinetic_jax.sampling._probes import probed
from kinetic_jax.transforms import Transform, cfg, chain, kts

MAX_PROBED_CLASSES = 64
# Settings of later versions, written only if they differ from the default: descriptions of older
# jobs stay the same, and so do the digests in their shards.
_OPTIONAL = ("t0", "t1", "rtol", "atol", "max_steps", "mass", "frame", "residual")
_GAIN = ("alpha0", "beta0", "tau_split", "launch", "landing", "k", "allow_reversal")
Start = Callable[[np.ndarray], ArrayLike | PyTree[ArrayLike]]


class Plan(NamedTuple):
    """A validated job; its methods take sample indices."""

    velocity: VelocityField  # with guidance and gain
    settings: JobSettings
    labels: np.ndarray | None  # the cycle of labels
    x0: Start | None  # None for noise
    about: About

    def start_of(self, index: np.ndarray) -> State:
        shape = checked_event_shape(self.about["event_shape"])
        if self.x0 is None:
            x0 = noise(job_key(self.settings.seed), jnp.asarray(index), as_event_shape(shape))
            space = as_field(self.velocity).manifold
            return x0 if space is None else jax.vmap(space.from_normal)(x0)
        return _checked_starts(self.x0, index, shape)

    def labels_of(self, index: np.ndarray) -> np.ndarray | None:
        return None if self.labels is None else self.labels[index % len(self.labels)]

    def cond_of(self, index: np.ndarray) -> PyTree[Any]:
        """Conditions, read as one slice: the indices should be close together."""
        if self.labels is not None:
            return jnp.asarray(self.labels_of(index))
        return jax.tree.map(lambda rows: _rows_of(rows, index), self.settings.cond)

    def measure_of(self, index: np.ndarray, x0: State) -> dict[str, PyTree[Any]]:
        """The mass and the frame of the energy: their rows where they have one per sample."""
        both = {"mass": self.settings.mass, "frame": self.settings.frame}
        return {name: self._own_rows(values, index, x0) for name, values in both.items()}

    def _own_rows(self, values: PyTree[Any], index: np.ndarray, x0: State) -> PyTree[Any]:
        own: object = jax.tree.structure(values)
        if values is None or own != jax.tree.structure(x0):
            return values

        def of_array(leaf: np.ndarray, like: Array) -> ArrayLike:
            has_rows = leaf.ndim == like.ndim and leaf.shape[0] == self.settings.n
            return _rows_of(leaf, index) if has_rows else leaf

        return jax.tree.map(of_array, values, x0)

    def solve_options(self) -> dict[str, Any]:
        """Keyword arguments of `sample`."""
        settings = self.settings
        options = {name: getattr(settings, name) for name in ("t0", "t1", "tau_split")}
        options["solver"] = SOLVERS[str(settings.solver)]()
        if settings.rtol is None or settings.atol is None:
            return options | {"num_steps": settings.num_steps, "grid": settings.grid}
        controller = diffrax.PIDController(rtol=settings.rtol, atol=settings.atol)
        return options | {"controller": controller, "max_steps": settings.max_steps}


def make_plan(
    field: Field,
    settings: JobSettings,
    *,
    event_shape: EventShape | None = None,
    x0: Start | None = None,
) -> Plan:
    """Validates the field and the settings and builds the plan."""
    spec = own_spec(field)
    shape = _sample_shape(field, event_shape, x0)
    if x0 is not None:
        expected = "be left out with x0, which decides where samples begin"
        require(settings.seed == 0, "seed", settings.seed, expected)
    labels = _label_cycle(settings, field)
    guidance = _guidance(field, settings)
    shaping = kts(**{name: getattr(settings, name) for name in _GAIN})
    dtype = dtype_of(jax.eval_shape(lambda: noise(job_key(0), 0, as_event_shape(shape))))
    if x0 is not None:
        dtype = dtype_of(_checked_starts(x0, np.zeros(1, np.uint32), shape))
    if settings.rtol is not None:
        require_step(field, "with rtol and atol, which try steps of many sizes")
    else:
        time_nodes(settings.grid, settings.num_steps, settings.t0, settings.t1, dtype)
    _check_measure(field, settings, shape)
    about = _describe(field, settings, labels) | {
        "dtype": dtype.name,
        "event_shape": as_event_shape(shape),
        "field": fingerprint(field),
        "generator": GENERATOR if x0 is None else None,
    }
    plan = Plan(chain(*guidance, shaping)(field), settings, labels, x0, about)
    if spec is None or x0 is not None:
        about["probes"] = probed(field, *_probe_inputs(plan, field), (settings.t0, settings.t1))
    # JSON turns tuples to lists; the plan is compared with a description that was read.
    return plan._replace(about=json.loads(json.dumps(about)))


def job_key(seed: int) -> PRNGKeyArray:
    """The key of a job's noise, from all 64 bits of the seed.

    Without 64-bit types `jax.random.key` uses the lower 32 bits alone.
    """
    halves = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(halves), impl=GENERATOR)


def _sample_shape(
    field: Field, event_shape: EventShape | None, x0: Start | None
) -> tuple[int, ...] | StateSpec:
    """The shape of a sample, declared by the field, given by the caller, or taken from `x0`."""
    declared, given = field.event_shape, optional_event_shape(event_shape)
    own = None if declared is None else checked_event_shape(declared, least=0)
    same = own is None or given is None or own == given
    require(same, "event_shape", event_shape, f"be the field's, {declared}")
    shape = own if given is None else given
    if shape is None and x0 is not None:
        first = x0(np.zeros(1, np.uint32))
        is_tree = is_pytree_state(first)
        shape = spec_of("x0(index)", first) if is_tree else tuple(np.shape(first)[1:])
        is_dict = not is_tree or isinstance(first, dict)
        require(is_dict, "x0(index)", type(first).__name__, "be an array or a dict of arrays")
    expected = "declare its event_shape, or event_shape must be given"
    if shape is None:
        raise ValueError(f"field must {expected}, got {type(field).__name__}")
    shapes = shape.shapes if isinstance(shape, StateSpec) else (shape,)
    has_sides = all(side >= 1 for sides in shapes for side in sides)
    require(has_sides, "event_shape", as_event_shape(shape), "have sides >= 1, each of them")
    if isinstance(shape, StateSpec):
        names = [name for path in paths_of(shape.event_shape) for name in path]
        can_store = all(isinstance(name, str) and name.isidentifier() for name in names)
        require(
            can_store,
            "event_shape",
            names,
            "be a dict with identifiers as names, to be stored by them",
        )
    return shape


def _check_measure(field: Field, settings: JobSettings, shape: tuple[int, ...] | StateSpec) -> None:
    """Checks the settings that `sample` checks, before anything is written."""
    check_stages(field, stages_of(SOLVERS[str(settings.solver)]()))
    if field.manifold is not None:
        for name in ("rtol", "mass", "frame"):
            value = getattr(settings, name)
            require(value is None, name, short(value), "be left out on a manifold")
    spec = shape if isinstance(shape, StateSpec) else None
    shapes = (shape,) if spec is None else spec.shapes
    rows = [jax.ShapeDtypeStruct((settings.n, *sides), np.float32) for sides in shapes]
    states = rows[0] if spec is None else jax.tree.unflatten(spec.structure, rows)
    for name in ("mass", "frame"):
        values = getattr(settings, name)
        jax.eval_shape(lambda v, x, name=name: spread_like(name, v, x), values, states)


def _checked_starts(x0: Start, index: np.ndarray, shape: tuple[int, ...] | StateSpec) -> State:
    starts = x0(index)
    if not isinstance(shape, StateSpec):
        return _checked_start(starts, (index.size, *shape))
    got: object = jax.tree.structure(starts)
    require(got == shape.structure, "x0(index)", got, f"have the structure {shape.structure}")
    pairs = zip(jax.tree.leaves(starts), shape.shapes, strict=True)
    leaves = [_checked_start(leaf, (index.size, *sides)) for leaf, sides in pairs]
    return jax.tree.unflatten(shape.structure, leaves)


def _checked_start(start: ArrayLike, shape: tuple[int, ...]) -> Array:
    rows = as_array("x0(index)", start)
    expected = f"have the shape {shape}, a row per index"
    require(rows.shape == shape, "x0(index)", f"shape {rows.shape}", expected)
    is_real = rows.dtype in (jnp.float32, jnp.float64)
    require(is_real, "x0(index)", f"dtype {rows.dtype}", "be float32 or float64")
    return rows


def _rows_of(rows: Rows, index: np.ndarray) -> Array:
    """Rows with these indices, or the single shared row; lazy arrays are read as one slice."""
    if rows.shape[0] == 1:
        index = np.zeros_like(index)
    first, last = int(index.min()), int(index.max())
    return jnp.asarray(np.asarray(rows[first : last + 1])[index - first])


def _guidance(field: Field, settings: JobSettings) -> list[Transform]:
    if settings.cfg is None:
        return []
    null = field.null_cond
    expected = "be left out for a field without null_cond (give the field under kinetic_jax.cfg)"
    require(null is not None, "cfg", settings.cfg, expected)
    low, high = settings.cfg_interval
    return [cfg(settings.cfg, null, interval=(low, high))]


def _label_cycle(settings: JobSettings, field: Field) -> np.ndarray | None:
    if settings.labels is None:
        return None
    expected = "be left out for a field without classes"
    if isinstance(settings.labels, str):
        if field.num_classes is None:
            raise ValueError(f"labels must {expected}, got 'all'")
        return np.arange(field.num_classes, dtype=np.int32)
    labels = np.asarray(settings.labels)
    require(field.takes_cond, "labels", labels[:3], expected)
    field.check_cond(labels, "labels")
    return labels


def _probe_inputs(plan: Plan, field: Field) -> tuple[State, PyTree[Any]]:
    """Initial values and conditions of probes: some per class, and unlabelled ones with `cfg`."""
    n = plan.settings.n
    firsts = np.zeros(0, int)
    if plan.labels is not None:
        firsts = np.sort(np.unique(plan.labels[:n], return_index=True)[1])[:MAX_PROBED_CLASSES]
    spread = [*range(min(n, 4)), n // 4, n // 2, 3 * n // 4, n - 1]
    index = np.unique([*spread, *firsts]).astype(np.uint32)
    x0 = plan.start_of(index)
    # One by one, as the indices are far apart.
    conds = [plan.cond_of(index[place : place + 1]) for place in range(index.size)]
    if plan.settings.cfg is not None:
        null = jax.tree.map(
            lambda row, none: jnp.broadcast_to(jnp.asarray(none, row.dtype), row.shape),
            conds[0],
            field.null_cond,
        )
        x0 = jax.tree.map(lambda rows: jnp.concatenate([rows, rows]), x0)
        conds += [null] * index.size
    return x0, jax.tree.map(lambda *rows: jnp.concatenate(rows), *conds)


def _differs(settings: JobSettings, setting: "dataclasses.Field[Any]") -> bool:
    value = getattr(settings, setting.name)
    return value is not None if setting.default is None else value != setting.default


def _describe(field: Field, settings: JobSettings, labels: np.ndarray | None) -> About:
    about: About = {
        setting.name: getattr(settings, setting.name)
        for setting in dataclasses.fields(settings)
        if setting.name not in _OPTIONAL or _differs(settings, setting)
    }
    about["steps"] = about.pop("num_steps")  # as jobs have it since the first
    about["cfg_interval"] = list(settings.cfg_interval)
    about["labels"] = labels if labels is None else values_or_digest(labels)
    if not isinstance(settings.grid, str):
        about["grid"] = values_or_digest(np.asarray(settings.grid), MAX_TIMES)
    for name in ("cond", "mass", "frame"):
        if (arrays := about.pop(name, None)) is not None:
            leaves = jax.tree.leaves_with_path(arrays)
            about[name] = {jax.tree_util.keystr(path): digest([leaf]) for path, leaf in leaves}
    classes, scaling = field.num_classes, field.scaling
    return about | {
        "format": FORMAT,
        "num_classes": classes if classes is None else int(classes),
        "scaling": dataclasses.asdict(scaling if isinstance(scaling, Scaling) else Scaling()),
    }
