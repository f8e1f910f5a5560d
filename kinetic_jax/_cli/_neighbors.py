"""`kinetic-jax neighbors` and `kinetic-jax memorization`: what samples in files are near to."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._cli._options import ROWS, chunk_option, load_samples, plot_option, told
from kinetic_jax._files import write_whole
from kinetic_jax._json import as_number
from kinetic_jax.experiments._figures import distance_histogram, ratio_histogram
from kinetic_jax.metrics import Memorization, memorization, nearest_neighbors


@click.command()
@click.argument("samples", type=ROWS)
@click.argument("train", type=ROWS)
@click.option("--k", type=click.IntRange(min=1), default=2, show_default=True,
              help="How many neighbours.")  # fmt: skip
@chunk_option
@plot_option("Write a histogram of the distances to this picture (.png).")
def neighbors(samples: Path, train: Path, k: int, chunk: int, plot: Path | None) -> None:
    """The k training rows nearest to each sample, as JSON on standard output.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs and JPEGs, read
    in the natural order of their names (2 before 10).
    """
    with told():
        queries, reference = load_samples(samples), load_array(train)
        distances, indices = nearest_neighbors(queries, reference, k, chunk_size=chunk)
        finite = np.isfinite(np.asarray(distances)).all(axis=1)
        if plot is not None:
            write_whole(plot, distance_histogram(np.asarray(distances)[finite]))
    answer = {
        "samples": len(queries),
        "train": len(reference),
        "not_finite": np.flatnonzero(~finite).tolist(),
        "distances": [
            row if ok else None for row, ok in zip(distances.tolist(), finite, strict=True)
        ],
        "indices": [row if ok else None for row, ok in zip(indices.tolist(), finite, strict=True)],
    }
    click.echo(json.dumps(answer))


@click.command("memorization")
@click.argument("samples", type=ROWS)
@click.argument("train", type=ROWS)
@click.option(
    "--held-out", type=ROWS, help="Data the model never saw: what they score is the floor."
)
@click.option("--threshold", type=float, default=1 / 3, show_default="1/3",
              help="Of the distances' ratio, nearest over second nearest.")  # fmt: skip
@click.option("--confidence", type=float, default=0.95, show_default=True,
              help="Of the intervals.")  # fmt: skip
@click.option("--merge-duplicates", is_flag=True,
              help="The second nearest row must be no duplicate of the nearest.")  # fmt: skip
@click.option("--duplicate-distance", type=float, default=0.0, show_default=True,
              help="Training rows no farther apart are told as duplicates.")  # fmt: skip
@chunk_option
@plot_option("Write a histogram of the distance ratios to this picture (.png).")
def memorization_command(
    samples: Path,
    train: Path,
    held_out: Path | None,
    threshold: float,
    confidence: float,
    merge_duplicates: bool,
    duplicate_distance: float,
    chunk: int,
    plot: Path | None,
) -> None:
    """The share of samples that are copies of training rows, as JSON on standard output.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs and JPEGs, read
    in the natural order of their names (2 before 10).
    """
    with told():
        reference = load_array(train)
        found = memorization(
            load_samples(samples),
            reference,
            threshold=threshold,
            confidence=confidence,
            held_out=None if held_out is None else load_samples(held_out),
            merge_duplicates=merge_duplicates,
            duplicate_distance=duplicate_distance,
            chunk_size=chunk,
        )
        if plot is not None:
            write_whole(plot, ratio_histogram(found, threshold))
    answer: dict[str, Any] = {"train": len(reference), "threshold": threshold}
    answer["samples"] = _as_json(found)
    if found.held_out is not None:
        answer["held_out"] = _as_json(found.held_out)
        excess, low, high = map(as_number, found.excess)
        answer["excess"] = {"fraction": excess, "interval": [low, high]}
    click.echo(json.dumps(answer))


def _as_json(found: Memorization) -> dict[str, Any]:
    valid = np.isfinite(found.ratios)
    return {
        "fraction": as_number(found.fraction),
        "interval": [as_number(found.low), as_number(found.high)],
        "bootstrap_interval": list(map(as_number, found.bootstrap)),
        "sweep": {
            "thresholds": found.sweep.thresholds.round(9).tolist(),
            "fraction": list(map(as_number, found.sweep.fraction.tolist())),
        },
        "number": len(valid),
        "not_finite": np.flatnonzero(~valid).tolist(),
        "ratios": _where(valid, found.ratios.tolist()),
        "nearest": _where(valid, found.indices[:, 0].tolist()),
        "memorized": _where(valid, found.memorized.tolist()),
        "duplicated": found.duplicated.tolist(),
    }


def _where(good: np.ndarray, values: list[Any]) -> list[Any]:
    """`values`, with None (JSON has no NaN) where they are not good."""
    return [value if ok else None for value, ok in zip(values, good, strict=True)]
