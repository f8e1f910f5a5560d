"""Every argument of a wrong kind is named: of all metrics and of the exact fields."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

import kinetic_jax as kj
from kinetic_jax import metrics

ROWS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
X = jnp.asarray(ROWS[0])
FIELD = kj.EmpiricalField(ROWS, labels=np.arange(12) % 2)
PLAIN = kj.EmpiricalField(ROWS)
GAUSSIAN = kj.GaussianField(np.zeros(3), 1.0)
RUN = kj.sample(GAUSSIAN, ROWS, num_steps=4, save_at=jnp.array([0.5, 0.75, 0.9]))
VALUES = np.arange(12.0)
QUICK = {"progress": False}
NEAREST = metrics.NearestTwo(np.ones((3, 2)), np.zeros((3, 2), int), np.zeros(3, bool))

# Good arguments of each function; those left out keep their defaults, and are tried as well.
GOOD = {
    "authpct": (metrics.authpct, {"samples": ROWS, "train": ROWS}),
    "ct_score": (metrics.ct_score, {"samples": ROWS, "held_out": ROWS, "train": ROWS}),
    "density_profile": (metrics.density_profile, {"field": PLAIN, "trajectories": RUN}),
    "energy_groups": (metrics.energy_groups, {"energy": VALUES, "values": VALUES, "num_groups": 2}),
    "energy_threshold": (
        metrics.energy_threshold,
        {"energy": VALUES, "memorized": VALUES > 4, "resamples": 5},
    ),
    "frechet_distance": (metrics.frechet_distance, {"a": ROWS, "b": ROWS}),
    "frechet_floor": (
        metrics.frechet_floor,
        {"train": ROWS, "held_out": ROWS, "size": 5, "draws": 2},
    ),
    "kde_support": (metrics.kde_support, {"x": ROWS, "reference": ROWS}),
    "kernel_distance": (metrics.kernel_distance, {"a": ROWS, "b": ROWS}),
    "knn_support": (metrics.knn_support, {"x": ROWS, "reference": ROWS}),
    "late_energy": (
        metrics.late_energy,
        {"field": PLAIN, "learned": GAUSSIAN, "trajectories": RUN, "start": 0.5},
    ),
    "memorization": (metrics.memorization, {"samples": ROWS, "train": ROWS}),
    "nearest_neighbors": (metrics.nearest_neighbors, {"queries": ROWS, "reference": ROWS}),
    "precision_recall": (metrics.precision_recall, {"a": ROWS, "b": ROWS, "k": 2}),
    "spearman": (metrics.spearman, {"a": VALUES, "b": VALUES**2, "resamples": 5}),
    "FrechetReference": (metrics.FrechetReference, {"b": ROWS}),
    "EmpiricalField": (kj.EmpiricalField, {"data": ROWS}),
    "GaussianField": (kj.GaussianField, {"mean": X, "scale": 1.0}),
    "FIELD": (FIELD.__call__, {"t": 0.5, "x": X, "cond": 1}),
    "FIELD.posterior": (FIELD.posterior, {"t": 0.5, "x": X, "k": 2}),
    "FIELD.on_batch": (FIELD.on_batch, {"t": 0.5, "x": ROWS}),
    "FIELD.log_weight": (FIELD.log_weight, {"index": 1, "dtype": jnp.float32}),
    "FIELD.farthest": (FIELD.farthest, {"x": X}),
    "GAUSSIAN": (GAUSSIAN.__call__, {"t": 0.5, "x": X}),
    "energy_identity": (kj.energy_identity, {"field": PLAIN, "t": 0.5, "x": X}),
    "single_atom": (kj.single_atom, {"gain": 1.0, "t": 0.5}),
}
# What is no rule of `memorization` alone, but a part of it for jobs.
PARTS = {"nearest_two", "judged", "check_rule"}
SPOILT = ROWS.copy()
SPOILT[3, 1] = np.nan
BAD = {
    "none": None,
    "text": "abc",
    "complex": 1j,
    "complex rows": ROWS * 1j,
    "a list": ["a"],
    "ragged": [[1.0], [1.0, 2.0]],
    "nested": {"a": [object()]},
    "nan": float("nan"),
    "spoilt": SPOILT,
    "object": object(),
    "a fraction": 0.5,
    "below": -1,
}
OPTIONAL = {"none"}
# What is right for an argument, or says nothing: a class that is None, a sample that is counted
# as invalid, a time that is a number.
FINE = {
    "progress": set(BAD) - {"text"},
    "dtype": set(BAD),
    "samples": {"spoilt"},
    "queries": {"spoilt"},
    "x": {"spoilt"},
    "held_out": OPTIONAL | {"spoilt"},
    "given": OPTIONAL,
    "bandwidth": OPTIONAL | {"a fraction"},
    "cond": OPTIONAL | {"below"},
    "t": {"a fraction", "below"},
    "start": {"a fraction"},
    "threshold": {"a fraction"},
    "confidence": {"a fraction"},
    "duplicate_distance": {"a fraction"},
    "thresholds": OPTIONAL,
    "embed": OPTIONAL,
    "mesh": OPTIONAL,
    "axis": OPTIONAL,
    "labels": OPTIONAL,
    "weights": OPTIONAL,
    "index": OPTIONAL,
    "velocity": OPTIONAL,
    "scale": {"a fraction"},
    "mean": {"a fraction", "below"},
    "gain": {"a fraction", "below"},
}


# Conditions are any pytree where a field has no classes.
ANYTHING = {("density_profile", "cond"), ("late_energy", "cond"), ("GAUSSIAN", "cond")}


def test_every_metric_is_here():
    """The next one as well."""
    public = {name for name, one in vars(metrics).items() if inspect.isfunction(one)}
    assert public - PARTS <= set(GOOD)


CASES = {
    f"{key}-{name}": (function, good, name)
    for key, (function, good) in GOOD.items()
    for name in inspect.signature(function).parameters
    if (key, name) not in ANYTHING
}


@pytest.mark.parametrize(("function", "good", "name"), CASES.values(), ids=CASES)
@pytest.mark.usefixtures("own_messages")
def test_the_argument_is_named(function, good, name):
    for kind, bad in BAD.items():
        if kind in FINE.get(name, ()):
            continue
        arguments = good | {name: bad}
        if "progress" in inspect.signature(function).parameters and name != "progress":
            arguments["progress"] = False
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            function(**arguments)
