"""Energies and log densities of GIVEN images: training images against held-out ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._runs import BATCH
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import LEAST, Line, as_json, interval, with_interval
from kinetic_jax import plotting
from kinetic_jax.copies import bending
from kinetic_jax.energy import in_frame
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.metrics import roc_auc
from kinetic_jax.sampling import encode

# Each so that members are expected to have more of it.
QUANTITIES = {
    "energy": "−E",
    "mean frame": "−E, frame of the mean",
    "excess": "−excess",
    "bending": "−bending",
    "log density": "log p",
}


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Energies and log densities of members and held-out images, along the training."""
    members, others = _sets(subjects, config)
    mean = subjects.few.mean(axis=0)
    table = []
    for step, field in sorted(subjects.checkpoints.items()):
        groups = [_encoded(field, images, mean, config, progress) for images in (members, others)]
        table.append(
            {
                "step": step,
                "failed": [int(np.sum(np.isnan(group["energy"]))) for group in groups],
                "auc": {name: _auc(*(group[name] for group in groups)) for name in QUANTITIES},
                "means": {
                    name: [float(np.nanmean(group[name])) for group in groups]
                    for name in QUANTITIES
                },
            }
        )
    first = {name: _first(table, name) for name in QUANTITIES}
    return {"images": [len(members), len(others)], "table": table, "first": first}


def _sets(subjects: Subjects, config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Training images of the model that copies, and as many that no model has seen."""
    number = min(config["samples"], len(subjects.few), len(subjects.data.held_out))
    order = np.random.default_rng(config["seed"]).permutation(len(subjects.data.held_out))
    return subjects.few[:number], subjects.data.held_out[order[:number]]


def _encoded(
    field: VelocityField,
    images: np.ndarray,
    mean: np.ndarray,
    config: dict[str, Any],
    progress: Any,
) -> dict[str, np.ndarray]:
    """Each quantity of every image, signed as in `QUANTITIES`; NaN where a path failed."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in QUANTITIES}
    key, last = jax.random.key(config["seed"]), as_field(field).arrival(np.dtype(np.float32))
    end = 1.0 if last is None else float(np.asarray(last))  # an exact flow is singular later
    for number, start in enumerate(range(0, len(images), BATCH)):
        rows = jnp.asarray(images[start : start + BATCH])
        run = encode(
            field,
            rows,
            num_steps=config["steps"],
            t1=end,
            log_density="hutchinson",
            key=jax.random.fold_in(key, number),
            probes=config["probes"],
        )
        seen = in_frame(run.energy, run.x0, run.x1, mean, duration=end)
        assert run.profile is not None, "a fixed grid has a profile"
        values = {
            "energy": -run.energy.total,
            "mean frame": -seen.total,
            "excess": -run.energy.excess,
            "bending": -bending(run.profile, end=end),
            "log density": run.log_density,
        }
        is_valid = np.asarray(run.status) == 0
        for name, value in values.items():
            parts[name].append(np.where(is_valid, np.asarray(value, np.float64), np.nan))
        progress(len(rows))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _auc(members: np.ndarray, others: np.ndarray) -> dict[str, float]:
    groups = [values[~np.isnan(values)] for values in (members, others)]
    if min(map(len, groups)) < LEAST:
        return dict.fromkeys(("value", "low", "high"), float("nan"))
    return as_json(roc_auc(*groups))


def _first(table: list[dict[str, Any]], name: str) -> int | None:
    """The step from which on the interval of the AUC lies on one side of ½, the last one's."""
    first = None
    sign = 1 if table[-1]["auc"][name]["value"] > 0.5 else -1
    for one in reversed(table):
        auc = one["auc"][name]
        ends = (auc["low"] - 0.5, auc["high"] - 0.5)
        if not min(sign * end for end in ends) > 0:
            break
        first = one["step"]
    return first


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of sets of images that `measure` encodes, as multiples of `samples`."""
    del config
    return 2 * len(subjects.checkpoints)


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    last = results["table"][-1]
    listed = "; ".join(
        f"{label} {with_interval(last['auc'][name], '.3f')}, "
        + (f"clear of ½ from step {step:,}" if step is not None else "not clear of ½")
        for name, label in QUANTITIES.items()
        for step in (results["first"][name],)
    )
    members, others = results["images"]
    return (
        f"{members:,} training images against {others:,} held-out ones, each taken back to noise: "
        f"AUC of members at step {last['step']:,}: {listed}."
    )


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    last = results["table"][-1]
    lines = []
    for name, label in QUANTITIES.items():
        step = results["first"][name]
        since = "not clear of ½" if step is None else f"clear of ½ from step {step:,}"
        what = f"AUC of {label} for training images among held-out ones, step {last['step']:,}"
        lines.append(Line(what, "", f"{with_interval(last['auc'][name], '.3f')}; {since}"))
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The AUC of each quantity over the steps of training."""
    steps = np.array([one["step"] for one in results["table"]])
    panels = {
        label: {
            "training images, AUC": plotting.Curve(
                steps, *np.array([interval(one["auc"][name]) for one in results["table"]]).T
            )
        }
        for name, label in QUANTITIES.items()
    }
    return {"images": plotting.energy_by_step(panels)}
