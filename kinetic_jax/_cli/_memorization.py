"""`kinetic-jax memorization`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._cli._options import (
    ROWS,
    chunk_option,
    confidence_option,
    load_samples,
    merge_option,
    plot_option,
    threshold_option,
)
from kinetic_jax._cli._output import answer
from kinetic_jax._files import write_whole
from kinetic_jax._json import as_number
from kinetic_jax.metrics import Memorization, memorization


@click.command("memorization")
@click.argument("samples", type=ROWS)
@click.argument("train", type=ROWS)
@click.option("--held-out", type=ROWS, help="Data the model never saw, scored for comparison.")
@threshold_option
@confidence_option
@merge_option
@click.option(
    "--duplicate-distance",
    type=float,
    default=0.0,
    show_default=True,
    help="Training rows no farther apart count as duplicates.",
)
@chunk_option
@plot_option("Write a histogram of the distance ratios to this picture (.png).")
def command(
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
    reference = load_array(train)
    measured = memorization(
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
        from kinetic_jax.plotting import png, ratio_histogram

        write_whole(plot, png(ratio_histogram(measured, threshold)))
    result: dict[str, Any] = {"train": len(reference), "threshold": threshold}
    result["samples"] = _as_json(measured)
    if measured.held_out is not None:
        result["held_out"] = _as_json(measured.held_out)
        excess, low, high = map(as_number, measured.excess)
        result["excess"] = {"fraction": excess, "interval": [low, high]}
    answer(result)


def _as_json(measured: Memorization) -> dict[str, Any]:
    valid = np.isfinite(measured.ratios)

    def where_valid(values: np.ndarray) -> list[Any]:
        return [x if is_valid else None for x, is_valid in zip(values.tolist(), valid, strict=True)]

    return {
        "fraction": as_number(measured.fraction),
        "interval": [as_number(measured.low), as_number(measured.high)],
        "bootstrap_interval": list(map(as_number, measured.bootstrap)),
        "sweep": {
            "thresholds": measured.sweep.thresholds.round(9).tolist(),
            "fraction": list(map(as_number, measured.sweep.fraction.tolist())),
        },
        "number": len(valid),
        "not_finite": np.flatnonzero(~valid).tolist(),
        "ratios": where_valid(measured.ratios),
        "nearest": where_valid(measured.indices[:, 0]),
        "memorized": where_valid(measured.memorized),
        "duplicated": measured.duplicated.tolist(),
    }
