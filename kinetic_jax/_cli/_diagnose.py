"""`kinetic-jax diagnose`."""

from pathlib import Path

import click

from kinetic_jax._arrays import load_array, pack
from kinetic_jax._cli._options import (
    FILE,
    FOLDER,
    ROWS,
    chunk_option,
    confidence_option,
    merge_option,
    plot_option,
    threshold_option,
)
from kinetic_jax._cli._output import answer, warn
from kinetic_jax._files import write_whole
from kinetic_jax.jobs import diagnose_job, open_job


@click.command("diagnose")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--train", type=ROWS, required=True, help="The raw training data.")
@click.option("--held-out", type=ROWS, help="Raw data the model never saw, scored for comparison.")
@threshold_option
@confidence_option
@merge_option
@chunk_option
@plot_option("Write energies, and F_mem by fifth of energy, to this picture (.png).")
@click.option("--table", type=FILE, help="Write the numbers of every sample to this file (.npz).")
def command(
    folder: Path,
    train: Path,
    held_out: Path | None,
    threshold: float,
    confidence: float,
    merge_duplicates: bool,
    chunk: int,
    plot: Path | None,
    table: Path | None,
) -> None:
    """Relate the energies of a job's samples to memorization, as JSON on standard output.

    DIR is a finished folder of `kinetic-jax sample`. Its shards are checked and read one by one.
    Data are raw (pixels from 0 to 255, say): the field's own scaling converts the samples. Rows of
    another shape are accepted if they have the same number of values.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs and JPEGs.
    """
    if table is not None and (table.suffix != ".npz" or not table.parent.is_dir()):
        raise click.BadParameter(f"{table} must end in .npz, in an existing folder")
    diagnosis = diagnose_job(
        open_job(folder),
        load_array(train),
        held_out=None if held_out is None else load_array(held_out),
        threshold=threshold,
        confidence=confidence,
        merge_duplicates=merge_duplicates,
        chunk_size=chunk,
    )
    if plot is not None:
        from kinetic_jax.plotting import diagnosis_figure, png

        write_whole(plot, png(diagnosis_figure(diagnosis)))
    if table is not None:
        write_whole(table, pack(diagnosis.table))
    scale = diagnosis.summary["scale"]
    if not scale["alike"]:
        warn(
            "the samples' numbers have a standard deviation of {samples:.3g}, the training data's "
            "of {train:.3g}: are these the raw data that the field was trained on?".format(**scale)
        )
    answer(diagnosis.summary)
