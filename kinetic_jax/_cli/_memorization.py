"""`kinetic-jax memorization`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._cli._options import (
    ROWS,
    answer,
    excess_as_json,
    load_samples,
    memorization_options,
    plot_option,
    rows_or_null,
    share_as_json,
)
from kinetic_jax._files import write_whole
from kinetic_jax.metrics import Memorization, memorization


@click.command("memorization")
@click.argument("samples", type=ROWS)
@click.argument("train", type=ROWS)
@click.option("--held-out", type=ROWS, help="Data the model never saw, scored for comparison.")
@click.option(
    "--completed",
    type=ROWS,
    help="SAMPLES completed by kinetic_jax.sampling.complete: their copies are no longer hidden "
    "under the noise that a gain left.",
)
@click.option(
    "--plain",
    type=ROWS,
    help="Samples of the same noise without the gain, to count those that keep their nearest row.",
)
@memorization_options
@plot_option("Write a histogram of the distance ratios to this picture (.png).")
def command(
    samples: Path,
    train: Path,
    held_out: Path | None,
    completed: Path | None,
    plain: Path | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """The share of samples that are copies of training rows, as JSON on standard output.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs and JPEGs, read
    in the natural order of their names (2 before 10).
    """
    reference = load_array(train)
    measured = memorization(
        load_samples(samples),
        reference,
        held_out=_load(held_out),
        completed=_load(completed),
        plain=_load(plain),
        **options,
    )
    if plot is not None:
        from kinetic_jax.plotting import png, ratio_histogram

        write_whole(plot, png(ratio_histogram(measured, options["threshold"])))
    result: dict[str, Any] = {"train": len(reference), "threshold": options["threshold"]}
    result["samples"] = _as_json(measured)
    if measured.held_out is not None:
        result["held_out"] = _as_json(measured.held_out)
        result["excess"] = excess_as_json(measured)
    if measured.completed is not None:
        result["completed"] = _as_json(measured.completed)
    for name, kept in (("kept", measured.kept), ("kept_copies", measured.kept_copies)):
        if kept is not None:
            result[name] = {"fraction": kept.fraction, "interval": [kept.low, kept.high]}
    answer(result)


def _load(path: Path | None) -> np.ndarray | None:
    return None if path is None else load_samples(path)


def _as_json(measured: Memorization) -> dict[str, Any]:
    valid = measured.valid
    return share_as_json(measured) | {
        "sweep": {
            "thresholds": measured.sweep.thresholds.round(9).tolist(),
            "fraction": measured.sweep.fraction.tolist(),
        },
        "number": len(valid),
        "not_finite": np.flatnonzero(~valid).tolist(),
        "ratios": measured.ratios.tolist(),
        "nearest": rows_or_null(measured.indices[:, 0], valid),
        "memorized": rows_or_null(measured.memorized, valid),
        "duplicated": measured.duplicated.tolist(),
    }
