"""`kinetic-jax diagnose`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array, pack
from kinetic_jax._cli._options import (
    FILE,
    FOLDER,
    ROWS,
    answer,
    estimate_as_json,
    excess_as_json,
    memorization_options,
    plot_option,
    share_as_json,
    warn,
)
from kinetic_jax._files import write_whole
from kinetic_jax.jobs import Diagnosis, Groups, diagnose_job, open_job
from kinetic_jax.metrics import Memorization
from kinetic_jax.metrics._energy_groups import group_rows


@click.command("diagnose")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--train", type=ROWS, required=True, help="The raw training data.")
@click.option("--held-out", type=ROWS, help="Raw data the model never saw, scored for comparison.")
@memorization_options
@plot_option("Write energies, and F_mem by fifth of energy, to this picture (.png).")
@click.option("--table", type=FILE, help="Write the numbers of every sample to this file (.npz).")
def command(
    folder: Path,
    train: Path,
    held_out: Path | None,
    plot: Path | None,
    table: Path | None,
    **options: Any,
) -> None:
    """Relate the energies of a job's samples to memorization, as JSON on standard output.

    DIR is a finished folder of `kinetic-jax sample`. Its shards are checked and read one by one.
    Data are raw (pixels from 0 to 255, say): the field's own scaling converts the samples. Rows of
    another shape are accepted if they have the same number of values.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs and JPEGs.
    """
    if table is not None and (table.suffix != ".npz" or not table.parent.is_dir()):
        raise click.BadParameter(f"{table} must end in .npz, in an existing folder")
    unseen = None if held_out is None else load_array(held_out)
    diagnosis = diagnose_job(open_job(folder), load_array(train), held_out=unseen, **options)
    if plot is not None:
        from kinetic_jax.plotting import diagnosis_figure, png

        write_whole(plot, png(diagnosis_figure(diagnosis)))
    if table is not None:
        write_whole(table, pack(arrays_of(diagnosis)))
    scales = diagnosis.scales
    if not scales.alike:
        warn(
            f"the samples' numbers have a standard deviation of {scales.samples:.3g}, the training "
            f"data's of {scales.train:.3g}: are these the raw data that the field was trained on?"
        )
    answer(as_json(diagnosis))


def arrays_of(diagnosis: Diagnosis) -> dict[str, np.ndarray]:
    """The numbers of every sample, by the names in the table."""
    label = {} if diagnosis.label is None else {"label": diagnosis.label}
    memorization = diagnosis.memorization
    return {
        "index": diagnosis.index,
        **label,
        "status": diagnosis.status,
        **vars(diagnosis.energy),
        "nearest": memorization.distances[:, 0],
        "second": memorization.distances[:, 1],
        "nearest_row": memorization.indices[:, 0],
        "ratio": memorization.ratios,
        "memorized": memorization.memorized,
    }


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The statistics, with the keys of the command's output."""
    result: dict[str, Any] = {
        "folder": str(diagnosis.job.folder),
        "n": diagnosis.job.n,
        "train": diagnosis.num_train,
        "threshold": diagnosis.threshold,
        "confidence": diagnosis.confidence,
        "bad_samples": diagnosis.failures._asdict(),
        "energy": {name: part._asdict() for name, part in vars(diagnosis.spreads).items()},
        "nearest_distance": diagnosis.nearest_distance._asdict(),
        "memorization": _share(diagnosis.memorization),
    }
    if diagnosis.memorization.held_out is not None:
        result["held_out"] = _share(diagnosis.memorization.held_out)
        result["over_held_out"] = excess_as_json(diagnosis.memorization)
    return result | {
        "fifths": {name: _rows(groups) for name, groups in diagnosis.fifths._asdict().items()},
        "spearman_with_nearest_distance": {
            name: estimate_as_json(correlation)
            for name, correlation in vars(diagnosis.correlations).items()
        },
        "scale": diagnosis.scales._asdict(),
    }


def _share(memorization: Memorization) -> dict[str, Any]:
    number, duplicated = memorization.valid.sum(), memorization.duplicated.sum()
    return share_as_json(memorization) | {"number": int(number), "duplicated": int(duplicated)}


def _rows(groups: Groups) -> list[dict[str, Any]]:
    return group_rows({"f_mem": groups.memorized, "nearest_distance": groups.nearest})
