"""Ways to sample that may have fewer copies: risks of candidates, and changed velocities."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks.claims import _controls
from benchmarks.claims._kept import Samples, samples_of
from benchmarks.claims._methods import of_labels
from benchmarks.claims._runs import BATCH, sampled
from benchmarks.claims._scored import Scored
from benchmarks.claims._subjects import Subjects
from kinetic_jax.copies import (
    STATISTICS,
    CopyFeatures,
    profile_features,
    sample_rejecting,
    train_distance,
)
from kinetic_jax.sampling import Trajectories
from kinetic_jax.transforms import guide, kts

RANDOM, ORACLE, DETECTOR = "random", "oracle", "detector"
STATISTICS_USED = ("snap", "self_consistency")


class Way(NamedTuple):
    """Samples whose paths or ends were changed.

    Attributes:
        family: what changed them.
        name: its setting.
        images: the samples, shape (valid, *event).
        completed: they, completed by one evaluation.
        is_valid: flags of the rows of the noise they came from, shape (rows,).
        evaluations: calls of a network for each.
    """

    family: str
    name: str
    images: np.ndarray
    completed: np.ndarray
    is_valid: np.ndarray
    evaluations: float


def candidates_of(samples: int, share: float) -> int:
    """The candidates of which `samples` stay when a share is rejected."""
    return round(samples / (1 - share))


def on_noise(
    images: np.ndarray, is_kept: np.ndarray, x0: np.ndarray, subjects: Subjects
) -> Samples:
    """Samples of the marked ones of the first rows of the noise."""
    flags = np.zeros(len(x0), bool)
    flags[: len(is_kept)] = is_kept
    return samples_of(images, flags, subjects)


def risks(
    other: Scored, fresh: Scored, subjects: Subjects, config: dict[str, Any]
) -> dict[str, np.ndarray]:
    """The risk of every candidate by each rule; no detector where there are too few of a kind."""
    draws = np.random.default_rng(config["seed"])
    by_name = {RANDOM: draws.uniform(size=len(fresh.images))}
    by_name |= {name: fresh.features.column(name) for name in STATISTICS_USED}
    detector = of_labels(other.features, other.copied.memorized)
    if detector is not None:
        by_name[DETECTOR] = detector.score(fresh.features)
    oracle = np.asarray(train_distance(fresh.images, subjects.few), np.float64)
    return by_name | {ORACLE: oracle}


def score_evaluations(family: str) -> int:
    """Calls of a network that a risk takes for each candidate."""
    used = (*STATISTICS_USED, "spread") if family == DETECTOR else (family,)
    return sum(STATISTICS[name].evaluations for name in used if name in STATISTICS)


def early(
    subjects: Subjects, config: dict[str, Any], other: Scored, x0: np.ndarray, progress: Any
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Images, flags of the rows of the noise, and cost of what a detector keeps early."""
    end = config["t_early"]
    is_early = [
        " " in name and float(name.split()[1]) < end - 1e-6 for name in other.features.names
    ]
    names = tuple(name for name, own in zip(other.features.names, is_early, strict=True) if own)
    first = CopyFeatures(other.features.values[:, is_early], names, {"end": end})
    detector = of_labels(first, other.copied.memorized)
    if detector is None:
        return None

    def risk(run: Trajectories) -> np.ndarray:
        assert run.profile is not None, "the grid is fixed"
        values = np.asarray(profile_features(run.profile, len(names) // 2, end=end), np.float64)
        return detector.score(first._replace(values=values))

    images, flags, evaluations = [], np.zeros(len(x0), bool), 0
    for start in range(0, len(x0), BATCH):
        part = sample_rejecting(
            subjects.memorizing,
            jnp.asarray(x0[start : start + BATCH]),
            risk=risk,
            t_early=end,
            share=config["early share"],
            num_steps=config["steps"],
        )
        is_valid = np.asarray(part.run.status) == 0
        images.append(np.asarray(part.run.x1)[is_valid])
        flags[start + part.rejection.kept[is_valid]] = True
        evaluations += part.evaluations
        progress(len(x0[start : start + BATCH]))
    return np.concatenate(images), flags, evaluations / int(flags.sum())


def shaped(
    subjects: Subjects, config: dict[str, Any], x0: np.ndarray, plain: np.ndarray, progress: Any
) -> Iterator[Way]:
    """Landings, mixing, early stops and noise; `plain` are the samples without any."""
    field, steps = subjects.memorizing, config["steps"]
    step = subjects.nearest_step(config["mixed"])
    options: list[tuple[str, str, dict[str, Any], int]] = []
    for s in config["strengths"]:
        landing = {"transform": kts(0.0, s, config["tau_split"])}
        options.append(("KTS, landing only", f"β0 = {s:g}", landing, 1))
    for w in config["guide"]:
        mixing = {"transform": guide(subjects.checkpoints[step], w)}
        options.append((f"mixed with step {step:,}", f"w = {w:g}", mixing, 2))
    for end in config["stops"]:
        stop = {"num_steps": round(steps * end), "t1": end}
        options.append(("early stop", f"t = {end:g}", stop, 1))
    for family, name, own, networks in options:
        run = sampled(field, x0, progress=progress, **({"num_steps": steps} | own))
        cost = float(run.evaluations * networks)
        yield Way(family, name, run.images, run.completed, run.is_valid, cost)
    for sigma in config["noise"]:
        noisy = _controls.with_noise(plain, sigma)
        ends = _controls.without_noise(field, noisy, np.zeros(len(noisy), noisy.dtype), sigma)
        is_valid = np.isfinite(plain).all(axis=(1, 2, 3))
        pair = noisy[is_valid], ends[is_valid]
        yield Way("copy plus noise", f"σ = {sigma:g}", *pair, is_valid, float(steps))
