"""Samples with their features and statistics of copies, and how well a score tells copies."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._runs import BATCH
from benchmarks.claims._words import LEAST, as_json, bootstrap
from kinetic_jax.copies import STATISTICS, CopyFeatures, copy_features
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import Memorization, memorization, roc_auc
from kinetic_jax.sampling import Trajectories, noise, sample
from kinetic_jax.transforms import Transform, identity

UNCLEAR = (1 / 3, 1 / 2)  # ratios of distances between which it is a matter of opinion
RATES = {"tpr 1%": 0.01, "tpr 0.1%": 0.001}
NONE = dict.fromkeys(("value", "low", "high"))
SOLVERS = {"Euler": diffrax.Euler, "Heun": diffrax.Heun}


class Model(NamedTuple):
    """A model whose samples are looked at.

    Attributes:
        field: the model.
        earlier: a checkpoint of it from before it copied.
        cond: the conditions of all samples, or None.
        transform: with which it is sampled.
    """

    field: VelocityField
    earlier: VelocityField
    cond: np.ndarray | None = None
    transform: Transform | None = None


class Scored(NamedTuple):
    """Samples of a model.

    Attributes:
        features: for a detector.
        statistics: by name, shape (n,) each; NaN where unknown.
        speed2: squared speeds along the paths, shape (n, steps).
        images: the samples, shape (n, *event).
        copied: which of them are copies.
    """

    features: CopyFeatures
    statistics: Mapping[str, np.ndarray]
    speed2: np.ndarray
    images: np.ndarray
    copied: Memorization


def scored(
    model: Model,
    train: np.ndarray,
    config: Mapping[str, Any],
    seed: int,
    progress: Any,
    *,
    samples: int | None = None,
    steps: int | None = None,
    solver: str = "Euler",
    statistics: tuple[str, ...] = (),
    usual: np.ndarray | None = None,
) -> Scored:
    """Samples a model from noise of one seed, with features and statistics.

    Args:
        model: the model.
        train: the images it was trained on, which only say which samples are copies.
        config: has `samples` and `steps`.
        seed: of the noise.
        progress: called with the number of samples after each batch.
        samples: in the place of the config's.
        steps: likewise.
        solver: "Euler" or "Heun".
        statistics: names of those to compute besides the features.
        usual: squared speeds of samples that are no copies, for `norm_rule`.
    """
    number, count = samples or config["samples"], steps or config["steps"]
    field = (model.transform or identity())(model.field)
    features, speed2, images = [], [], []
    values: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    key = jax.random.key(config["seed"])
    for start in range(0, number, BATCH):
        rows = jnp.arange(start, min(start + BATCH, number))
        x0 = noise(jax.random.key(seed), rows, train.shape[1:])
        cond = None if model.cond is None else jnp.asarray(model.cond[np.asarray(rows)])
        run = sample(field, x0, cond, num_steps=count, solver=SOLVERS[solver]())
        given = {"field": model.field, "earlier": model.earlier, "x0": x0, "x1": run.x1}
        given |= {"cond": cond, "key": key, "profile": run.profile, "train": train, "usual": usual}
        for name in statistics:
            values[name].append(np.asarray(STATISTICS[name](**given), np.float64))
        features.append(features_of(model, run, cond, bins=min(20, count // 2)))
        assert run.profile is not None, "a fixed grid has a profile"
        speed2.append(np.asarray(run.profile.speed2, np.float64))
        images.append(np.asarray(run.x1))
        progress(len(rows))
    x1 = np.concatenate(images)
    joined = {name: np.concatenate(parts) for name, parts in values.items()}
    together = features[0].joined(features[1:])
    copied = memorization(x1, train, progress=False)
    return Scored(together, joined, np.concatenate(speed2), x1, copied)


def with_usual(names: tuple[str, ...], other: Scored) -> dict[str, Any]:
    """The options of `scored` for statistics, with the usual speeds of samples of other noise.

    Without `norm_rule` if fewer than two of those samples are no copies.
    """
    usual = other.speed2[other.copied.valid & ~other.copied.memorized]
    if len(usual) < 2:
        return {"statistics": tuple(name for name in names if name != "norm_rule")}
    return {"statistics": names, "usual": usual.astype(np.float32)}


def features_of(model: Model, run: Trajectories, cond: Any, *, bins: int) -> CopyFeatures:
    """The features of a run, by the same noise in all runs."""
    return copy_features(
        model.field,
        run,
        key=jax.random.key(0),
        earlier=model.earlier,
        cond=cond,
        bins=bins,
        progress=False,
    )


def quality(score: np.ndarray, copied: Memorization) -> dict[str, Any]:
    """How well a score tells the copies: AUC, that without unclear ones, and true positives."""
    known = np.isfinite(score) & copied.valid
    clear = known & ~((copied.ratios >= UNCLEAR[0]) & (copied.ratios <= UNCLEAR[1]))
    areas = {
        name: area(score[chosen], copied.memorized[chosen])
        for name, chosen in (("auc", known), ("clear auc", clear))
    }
    rates = {
        name: _with_interval(rate, score[known], copied.memorized[known])
        for name, rate in RATES.items()
    }
    return areas | rates | {"unknown": int(np.sum(~known))}


def area(score: np.ndarray, is_copy: np.ndarray) -> dict[str, Any]:
    """The AUC of finite scores for copies; null of too few."""
    groups = score[is_copy], score[~is_copy]
    return as_json(roc_auc(*groups)) if min(map(len, groups)) >= LEAST else dict(NONE)


def true_positives(rate: float, score: np.ndarray, is_copy: np.ndarray) -> float | None:
    """The share of copies above the score that a share `rate` of the others exceeds.

    None, for unknown, of fewer than `LEAST` copies, or of fewer than 1 / `rate` others: the limit
    would be that of no false positive at all.
    """
    copies = int(is_copy.sum())
    if copies < LEAST or (len(is_copy) - copies) * rate < 1:
        return None
    return _above_limit(rate, score, is_copy)


def _with_interval(rate: float, score: np.ndarray, is_copy: np.ndarray) -> dict[str, Any]:
    """`true_positives` with its bootstrap interval; null where unknown."""
    if true_positives(rate, score, is_copy) is None:
        return dict(NONE)
    return bootstrap(functools.partial(_above_limit, rate), [score, is_copy])


def _above_limit(rate: float, score: np.ndarray, is_copy: np.ndarray) -> float:
    limit = np.quantile(score[~is_copy], 1 - rate)
    return float(np.mean(score[is_copy] > limit))


def calibration(risk: np.ndarray, copied: Memorization, groups: int = 5) -> list[dict[str, Any]]:
    """The mean risk and the share of copies, by fifth of [0, 1]."""
    known = np.isfinite(risk) & copied.valid
    part = np.minimum(np.where(known, risk, 0) * groups, groups - 1).astype(int)
    table = []
    for number in range(groups):
        inside = known & (part == number)
        values = (risk, copied.memorized)
        means = [float(of[inside].mean()) if inside.any() else None for of in values]
        table.append({"number": int(inside.sum()), "risk": means[0], "copies": means[1]})
    return table
