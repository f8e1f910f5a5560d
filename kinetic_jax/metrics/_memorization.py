"""Memorisation: samples that are copies of training rows."""

import functools
import itertools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from kinetic_jax._checks import (
    batch_size,
    fraction,
    numbers,
    real_array,
    real_number,
    refuse_memmap,
    require,
    require_flag,
    require_known,
    whole_number,
)
from kinetic_jax._mesh import gathered
from kinetic_jax._progress import check_progress
from kinetic_jax._state import is_pytree_state
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE, Rows, checked_rows
from kinetic_jax.metrics._duplicates import beyond_duplicates, duplicated
from kinetic_jax.metrics._features import Embedding, embedded, rows_in_memory
from kinetic_jax.metrics._intervals import bootstrap_share, wilson
from kinetic_jax.metrics._memorization_result import Kept, Memorization, ThresholdSweep
from kinetic_jax.metrics._neighbors import find_neighbors

SWEEP = np.linspace(0.05, 1, 20)


class NearestTwo(NamedTuple):
    """The two training rows nearest to each sample, as NumPy arrays.

    Attributes:
        distances: distances to the nearest and second nearest row, shape (n, 2).
        indices: numbers of those rows, shape (n, 2).
        twins: whether the two nearest rows are duplicates of each other, shape (n,).
    """

    distances: np.ndarray
    indices: np.ndarray
    twins: np.ndarray

    def part(self, samples: slice) -> "NearestTwo":
        return NearestTwo(*(array[samples] for array in self))


def memorization(
    samples: ArrayLike | PyTree[ArrayLike],
    train: Rows | PyTree[Rows],
    *,
    threshold: float = 1 / 3,
    confidence: float = 0.95,
    held_out: ArrayLike | PyTree[ArrayLike] | None = None,
    completed: ArrayLike | PyTree[ArrayLike] | None = None,
    plain: ArrayLike | PyTree[ArrayLike] | None = None,
    thresholds: Sequence[float] | np.ndarray | None = None,
    embed: Embedding | None = None,
    merge_duplicates: bool = False,
    duplicate_distance: float = 0.0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: bool | None = None,
) -> Memorization:
    """F_mem: the share of samples much nearer to one training row than to any other.

    A sample is memorised if its distance to the nearest training row is below `threshold` times
    its distance to the second nearest. Broken samples and copies of a row that occurs twice also
    score zero, and real data score above zero: report it beside a quality metric and the
    held-out data's score, and look at `duplicated`.

    Args:
        samples: shape (n, *event), or a pytree of such arrays, which needs `embed`.
        train: the training data, shape (rows, *event), at least two rows; may be a memmap. A pytree
            like `samples`, if that is one.
        threshold: threshold of the ratio of the two distances, in (0, 1].
        confidence: level of the intervals, in (0, 1).
        held_out: data the model never saw; their score is the floor. Rows that are training rows
            are counted in a warning.
        completed: the samples completed by `kinetic_jax.sampling.complete`, in the same order:
            noise that a gain left on a copy hides it from F_mem.
        plain: the samples from the same noise without the gain, in the same order; needs
            `completed`, and fills `kept` and `kept_copies`, which compare the numbers of rows:
            rows that duplicate each other differ.
        thresholds: thresholds of the sweep, in (0, 1]. Default: 0.05, 0.1, …, 1.
        embed: maps NumPy rows (chunk, *event), or a pytree of such, to features (chunk, d), between
            which distances are taken; called once for each row, with at most `chunk_size` rows.
            Features of a memmap are kept in a temporary file. Default: the rows themselves.
        merge_duplicates: take as second nearest the nearest row that does not duplicate the
            nearest.
        duplicate_distance: the greatest distance between duplicate training rows; 0 for equal
            rows only.
        chunk_size: as in `nearest_neighbors`.
        progress: whether to draw progress bars; None: on a terminal only.

    Returns:
        The share with its interval, and the distances, row numbers and ratio of each sample; see
        `Memorization`.

    Raises:
        ValueError: if there are no samples or fewer than two training rows, shapes or the numbers
            of samples and of those completed or plain differ, a setting is out of range, or all
            training rows are duplicates of one.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import memorization
        >>> train = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> result = memorization(jnp.array([[0.0, 0.1], [0.5, 0.3]]), train)
        >>> result.fraction, result.indices[:, 0].tolist()
        (0.5, [0, 0])
        >>> twice = jnp.concatenate([train, train])
        >>> hidden = memorization(jnp.array([[0.0, 0.1]]), twice)
        >>> merged = memorization(jnp.array([[0.0, 0.1]]), twice, merge_duplicates=True)
        >>> hidden.fraction, hidden.duplicated, merged.fraction
        (0.0, array([ True]), 1.0)

    References:
        Yoon et al., Diffusion probabilistic models generalize when they fail to memorize, 2023.
    """
    at = SWEEP if thresholds is None else real_array("thresholds", thresholds)
    check_rule(threshold, confidence, at, duplicate_distance, chunk_size)
    check_progress(progress)
    require_flag("merge_duplicates", merge_duplicates)
    require(plain is None or completed is not None, "plain", "samples", "be given with completed")
    others = {"held_out": held_out, "completed": completed, "plain": plain}
    sets = {"samples": samples} | {name: rows for name, rows in others.items() if rows is not None}
    train, sets = _checked_sets(sets, train, embed)
    count = batch_size("samples", sets["samples"])
    for name in ("completed", "plain"):
        size = batch_size(name, sets.get(name, sets["samples"]))
        require(size == count, name, f"{size} rows", f"have a row for each of {count} samples")
    stream: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    reference = embedded("train", train, embed, **stream)
    queries = {name: embedded(name, rows, embed, **stream) for name, rows in sets.items()}
    sizes = {name: len(rows) for name, rows in queries.items()}
    # One search for all of them.
    nearest = nearest_two(
        np.concatenate(list(queries.values())) if len(queries) > 1 else queries["samples"],
        reference,
        merge_duplicates=merge_duplicates,
        duplicate_distance=duplicate_distance,
        **stream,
    )
    rule = threshold, at, confidence
    ends = np.cumsum([0, *sizes.values()]).tolist()
    parts = [nearest.part(slice(*pair)) for pair in itertools.pairwise(ends)]
    results = dict(zip(sizes, (judged(part, *rule) for part in parts), strict=True))
    _warn_of_seen(results.get("held_out"))
    measured = results["samples"]._replace(
        held_out=results.get("held_out"), completed=results.get("completed")
    )
    if "plain" not in results:
        return measured
    kept, kept_copies = _kept(results["completed"], results["plain"], confidence)
    return measured._replace(kept=kept, kept_copies=kept_copies)


def _warn_of_seen(held_out: Memorization | None) -> None:
    """Warns of held-out rows that are training rows: the floor is too high by them."""
    seen = 0 if held_out is None else int(np.sum(held_out.distances[:, 0] == 0))
    if held_out is not None and seen:
        message = f"held_out has {seen:,} rows of train among {len(held_out.ratios):,}"
        warnings.warn(f"{message}: no floor is measured by data that the model saw", stacklevel=3)


def _kept(completed: Memorization, plain: Memorization, confidence: float) -> tuple[Kept, Kept]:
    """The shares of completed samples nearest to the row of their plain one: all, and copies."""
    is_pair = completed.valid & plain.valid
    is_same = completed.indices[:, 0] == plain.indices[:, 0]

    def share(among: np.ndarray) -> Kept:
        count, size = int(np.sum(is_same & among)), int(np.sum(among))
        return Kept(count / size if size else float("nan"), *wilson(count, size, confidence))

    return share(is_pair), share(is_pair & plain.memorized)


def nearest_two(
    samples: Array | np.ndarray,
    train: Rows,
    *,
    merge_duplicates: bool,
    duplicate_distance: float,
    chunk_size: int,
    progress: bool | None,
) -> NearestTwo:
    """The rows of `train` nearest to each sample, for `memorization`."""
    stream: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    neighbors = find_neighbors(samples, train, 2, names=("samples", "train"), **stream)
    distances, indices = map(np.array, neighbors)
    twins = duplicated(distances, indices, train, duplicate_distance, chunk_size)
    if merge_duplicates and twins.any():
        place = np.flatnonzero(twins)
        distances[place, 1], indices[place, 1] = beyond_duplicates(
            samples[place], indices[place, 0], train, duplicate_distance, **stream
        )
    return NearestTwo(distances, indices, twins)


def check_rule(
    threshold: float, confidence: float, at: np.ndarray, tolerance: float, chunk_size: int
) -> None:
    """Checks that the settings of `memorization` are in range."""
    require(0 < real_number("threshold", threshold) <= 1, "threshold", threshold, "lie in (0, 1]")
    fraction("confidence", confidence)
    whole_number("chunk_size", chunk_size, 1)
    distance = real_number("duplicate_distance", tolerance)
    require(distance >= 0, "duplicate_distance", tolerance, "be >= 0")
    require(at.ndim == 1, "thresholds", f"shape {at.shape}", "be one axis of numbers")
    require(bool(np.all((at > 0) & (at <= 1))), "thresholds", at, "lie in (0, 1]")


def _checked_sets(
    sets: dict[str, PyTree[ArrayLike | Rows]],
    train: PyTree[ArrayLike | Rows],
    embed: Embedding | None,
) -> tuple[PyTree[ArrayLike | Rows], dict[str, PyTree[ArrayLike | Rows]]]:
    """The training rows, and sets of rows by name, checked to fit them."""
    if not is_pytree_state(train):
        train = gathered("train", train) if hasattr(train, "shape") else numbers("train", train)
        return train, {name: _checked_set(name, rows, train) for name, rows in sets.items()}
    if embed is None:
        raise ValueError("embed must be given for rows that are pytrees, got None")
    expected: object = jax.tree.structure(train)
    batch_size("train", train)
    for name, rows in sets.items():
        got: object = jax.tree.structure(rows)
        require(got == expected, name, got, f"have the structure of train, {expected}")
        batch_size(name, rows)
        jax.tree.map(functools.partial(_checked_set, name), rows, train)
    return train, sets


def _checked_set(name: str, rows: ArrayLike, train: Rows) -> Array | np.ndarray:
    """`rows` in memory, checked to be real rows with the shape of `train`'s."""
    shape = np.shape(train)
    expected = "have at least two rows, the nearest and the second nearest"
    require(shape[:1] not in ((), (0,), (1,)), "train", shape, expected)
    checked_rows("train", train)
    if rows is train:
        return rows
    refuse_memmap(name, rows)
    require_known(name, rows)
    rows = rows_in_memory(name, rows)
    event, expected = rows.shape[1:], f"have rows like train's, {shape[1:]}"
    require(event == shape[1:], name, f"rows of shape {event}", expected)
    return rows


def judged(
    nearest: NearestTwo, threshold: float, thresholds: np.ndarray, confidence: float
) -> Memorization:
    """The memorisation of samples, from their two nearest training rows."""
    distances, indices, twins = nearest
    closest, second = distances.astype(np.float64).T
    with np.errstate(invalid="ignore"):
        ratios = np.where(second == 0, 1.0, closest / second)
    valid = int(np.sum(np.isfinite(ratios)))
    counts = [int(np.sum(ratios < limit)) for limit in (threshold, *thresholds)]
    shares = [count / valid if valid else float("nan") for count in counts]
    ends = [wilson(count, valid, confidence) for count in counts]
    lows, highs = np.array(ends).T
    return Memorization(
        shares[0],
        *ends[0],
        distances,
        indices,
        ratios,
        memorized=ratios < threshold,
        invalid=len(ratios) - valid,
        bootstrap=bootstrap_share(counts[0], valid, confidence),
        duplicated=twins,
        sweep=ThresholdSweep(thresholds, np.array(shares[1:]), lows[1:], highs[1:]),
    )
