"""A setting that was chosen, judged on noise by which it was neither chosen nor confirmed."""

from typing import Any

import jax
import numpy as np

from benchmarks.claims._rows import Row, compared, measured
from benchmarks.claims._runs import common_noise, sampled
from benchmarks.claims._subjects import BATCH, Subjects
from benchmarks.claims._words import CONFIDENCE, as_json
from kinetic_jax.copies import snap
from kinetic_jax.metrics import paired_difference
from kinetic_jax.tuning import Setting

NO_GAIN = "no gain"
FIRST = 1000  # added to the claim's seed for the first noise that judges


def judged(
    setting: Setting, number: int, subjects: Subjects, config: dict[str, Any], progress: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies, distance and snap under a setting, with their changes over no gain.

    Args:
        setting: a gain or a time grid.
        number: of the noise, which is no other number's.
        subjects: models, data and judge.
        config: of the claim.
        progress: called with the number of trajectories after each batch.

    Returns:
        The setting and no gain, as JSON has them.
    """
    seed = config["seed"] + FIRST + number
    x0 = common_noise(config["samples"], subjects.data.event_shape, seed)
    plain, plain_scores = _row(Setting(NO_GAIN), x0, subjects, config, progress)
    row, scores = _row(setting, x0, subjects, config, progress)
    moved = paired_difference(scores, plain_scores, confidence=CONFIDENCE)
    own = {**compared(setting.name, "", row, plain), "snap change": as_json(moved)}
    return own, compared(NO_GAIN, NO_GAIN, plain, plain)


def _row(
    setting: Setting, x0: np.ndarray, subjects: Subjects, config: dict[str, Any], progress: Any
) -> tuple[Row, np.ndarray]:
    """The samples of a setting, measured, and the snap of its completed ones."""
    options = {"num_steps": None if "grid" in setting.options else config["steps"]}
    run = sampled(
        subjects.memorizing,
        x0,
        transform=setting.transform,
        progress=progress,
        **(options | dict(setting.options)),
    )
    scores = np.full(len(run.is_valid), np.nan)
    scores[run.is_valid] = _snap(run.completed, subjects, config)
    return measured(run, subjects), scores


def _snap(images: np.ndarray, subjects: Subjects, config: dict[str, Any]) -> np.ndarray:
    """Snap of images, by the same noise in every call."""
    earlier = subjects.checkpoints[subjects.nearest_step(config["earlier"])]
    parts = [
        snap(
            subjects.memorizing,
            earlier,
            images[start : start + BATCH],
            key=jax.random.key(config["seed"] + 1),
            draws=config["draws"],
        )
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])
