"""`kinetic-jax neighbors`."""

from pathlib import Path

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._cli._options import (
    ROWS,
    answer,
    chunk_option,
    load_samples,
    plot_option,
    rows_or_null,
)
from kinetic_jax._files import write_whole
from kinetic_jax.metrics import nearest_neighbors


@click.command("neighbors")
@click.argument("samples", type=ROWS)
@click.argument("train", type=ROWS)
@click.option(
    "--k", type=click.IntRange(min=1), default=2, show_default=True, help="Number of neighbours."
)
@chunk_option
@plot_option("Write a histogram of the distances to this picture (.png).")
def command(samples: Path, train: Path, k: int, chunk_size: int, plot: Path | None) -> None:
    """The k training rows nearest to each sample, as JSON on standard output.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs and JPEGs, read
    in the natural order of their names (2 before 10).
    """
    queries, reference = load_samples(samples), load_array(train)
    distances, indices = map(
        np.asarray, nearest_neighbors(queries, reference, k, chunk_size=chunk_size)
    )
    finite = np.isfinite(distances).all(axis=1)
    if plot is not None:
        from kinetic_jax.plotting import distance_histogram, png

        write_whole(plot, png(distance_histogram(distances[finite])))

    answer(
        {
            "samples": len(queries),
            "train": len(reference),
            "not_finite": np.flatnonzero(~finite).tolist(),
            "distances": rows_or_null(distances, finite),
            "indices": rows_or_null(indices, finite),
        }
    )
