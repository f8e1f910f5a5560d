"""Candidates for slots, with the scores by which one of each slot is selected."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks.claims._runs import BATCH
from benchmarks.claims._subjects import Subjects
from kinetic_jax.copies import accumulated_guidance, early_bending
from kinetic_jax.sampling import sample

BENDING, ENERGY, GUIDANCE, VERIFIER = "early bending", "launch energy", "guidance", "verifier"


class Candidates(NamedTuple):
    """Candidates of slots; scores and images of failed ones are NaN.

    Attributes:
        images: shape (slots, most, *event).
        scores: by name, shape (slots, at most most) each.
    """

    images: np.ndarray
    scores: dict[str, np.ndarray]


def sampled_candidates(
    subjects: Subjects,
    x0: np.ndarray,
    labels: np.ndarray,
    config: dict[str, Any],
    guided: int,
    progress: Any,
) -> Candidates:
    """The paths of all candidates, from which every method can select.

    `sample_selecting` would sample the launches of the others alone; the samples that stay are the
    same, and so one path of each candidate serves all methods.

    Args:
        subjects: models and judge.
        x0: noise of the candidates, shape (slots, most, *event).
        labels: of the slots, shape (slots,).
        config: has `steps` and `t_early`.
        guided: for so many candidates of each slot guidance is accumulated, which takes calls.
        progress: called with the number of paths after each batch.
    """
    slots, most = x0.shape[:2]
    together = max(1, BATCH // most)
    images, scores = [], dict[str, list[np.ndarray]]()
    for start in range(0, slots, together):
        rows = slice(start, start + together)
        begin = x0[rows]
        number = len(begin)
        own, guidance = _batch(subjects, begin, labels[rows], config, guided)
        images.append(own.pop("images").reshape(begin.shape))
        own = {name: values.reshape(number, most) for name, values in own.items()}
        for name, values in (own | {GUIDANCE: guidance.reshape(number, guided)}).items():
            scores.setdefault(name, []).append(values)
        progress(number * most)
    return Candidates(
        np.concatenate(images), {name: np.concatenate(parts) for name, parts in scores.items()}
    )


def _batch(
    subjects: Subjects, x0: np.ndarray, labels: np.ndarray, config: dict[str, Any], guided: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images and scores of candidates, and the guidance accumulated by the first of each slot."""
    field, steps, end = subjects.general, config["steps"], config["t_early"]
    noise = jnp.asarray(x0.reshape(-1, *x0.shape[2:]))
    cond = np.repeat(labels, x0.shape[1])
    run = sample(field, noise, jnp.asarray(cond), num_steps=steps, tau_split=end)
    assert run.profile is not None, "the grid is fixed"
    failed = np.asarray(run.status) != 0
    pictures = np.where(failed[:, None, None, None], np.nan, np.asarray(run.x1))
    scores = {
        BENDING: np.asarray(early_bending(run.profile), np.float64),
        ENERGY: np.asarray(run.energy.launch, np.float64),
        VERIFIER: margins(subjects.logits(pictures), cond),
    }
    first = jnp.asarray(x0[:, :guided].reshape(-1, *x0.shape[2:]))
    of_first = jnp.asarray(np.repeat(labels, guided))
    path = accumulated_guidance(field, first, of_first, until=end, num_steps=steps)
    known = {name: np.where(failed, np.nan, values) for name, values in scores.items()}
    return {"images": pictures} | known, np.asarray(path.total, np.float64)


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The logit of the given class above that of the best other one."""
    rows = np.arange(len(labels))
    others = np.array(logits, np.float64)
    others[rows, labels] = -np.inf
    return logits[rows, labels] - others.max(axis=1)
