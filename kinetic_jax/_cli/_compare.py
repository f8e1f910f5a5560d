"""`kinetic-jax compare`."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._cli._checkpoints import find_checkpoints
from kinetic_jax._cli._options import FOLDER, ROWS, answer, plot_option, warn
from kinetic_jax._cli._sample import read_labels
from kinetic_jax._files import write_whole
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax._json import without_nan
from kinetic_jax.comparison import compare
from kinetic_jax.networks import NetworkField

_POSITIVE = click.IntRange(min=1)


# fmt: off
@click.command("compare")
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...")
@click.option("--train", type=ROWS, help="The raw training data, for F_mem and efficiency.")
@click.option("--held-out", type=ROWS,
              help="Raw data that no model saw: the share of copies to expect of new images, and "
                   "the distance of samples.")
@click.option("--n", type=click.IntRange(min=2), default=1000, show_default=True,
              help="Number of samples of each model, all from one noise.")
@click.option("--num-steps", type=click.IntRange(min=2), default=100, show_default=True,
              help="Steps of Euler's method.")
@click.option("--labels", help="As in `sample`: 'all', classes such as 0,1,2, or a file.")
@click.option("--earliest", help="The checkpoint, from before copying, against which others snap "
                                 "(its step or name); the first by default.")
@click.option("--limit", type=float, default=0.01, show_default=True,
              help="The share of copies up to which a model is recommended.")
@click.option("--tolerance", type=float, default=0.01, show_default=True,
              help="The error allowed for the number of steps needed.")
@click.option("--confidence", type=float, default=0.95, show_default=True,
              help="Level of the intervals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Seed of the noise.")
@click.option("--batch-size", type=_POSITIVE, default=256, show_default=True,
              help="Samples computed together.")
@click.option("--out", type=FOLDER,
              help="Write compare.md, compare.csv and compare.json to this folder. It keeps what "
                   "is finished: an interrupted command goes on from there.")
@click.option("--raw", is_flag=True,
              help="Use the plain weights of a folder of fit, not their average.")
@plot_option("Draw the quantities against training step to this picture (.png).")
def command(
    checkpoints: tuple[str, ...], train: Path | None, held_out: Path | None, n: int,
    num_steps: int, labels: str | None, earliest: str | None, seed: int, out: Path | None,
    raw: bool, plot: Path | None, **options: Any,
) -> None:
    # fmt: on
    """Compare checkpoints of a training; name the last one before it copies (JSON on stdout).

    A CHECKPOINT is a folder of save_field, one of fit (all of its checkpoints), a folder of such
    folders, a checkpoint of the KTS authors' code, or an included model: fashion-mnist-1024 for all
    of its checkpoints, fashion-mnist-1024@1000 for one. A number at the end of each name is its
    training step; otherwise they are in the order given.

    Data are raw (pixels from 0 to 255, say): the field's own scaling converts them.
    """
    fields = find_checkpoints(checkpoints, ema=not raw)
    keys = list(fields)
    field = fields[keys[0]]
    first = next((key for key in keys if str(key) == earliest), None)
    require(earliest is None or first is not None, "earliest", earliest, f"be one of {keys}")
    advice: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if out is not None:
        advice = advice_on_interrupt(f"the same command goes on from what is in {out}")
    with advice:
        comparison = compare(
            fields,
            key=jax.random.key(seed),
            num_samples=n,
            cond=_conditions(labels, n, field),
            num_steps=num_steps,
            train=_scaled("train", train, field),
            held_out=_scaled("held_out", held_out, field),
            earliest=first,
            folder=out,
            **options,
        )
    if plot is not None:
        from kinetic_jax.plotting import comparison_figure, png

        write_whole(plot, png(comparison_figure(comparison)))
    result = comparison.as_json()
    if out is not None:
        write_whole(out / "compare.md", comparison.to_markdown().encode())
        write_whole(out / "compare.csv", comparison.to_csv().encode())
        write_whole(out / "compare.json", f"{json.dumps(without_nan(result), indent=1)}\n".encode())
    warn(comparison.reason)
    answer(result)


def _conditions(text: str | None, n: int, field: NetworkField) -> jax.Array | None:
    """The class of each sample."""
    labels = read_labels(text, n)
    if labels is None:
        return None
    if isinstance(labels, str):
        require(field.num_classes is not None, "labels", text, "be left out: there are no classes")
        labels = list(range(field.num_classes or 1))
    return jnp.asarray(np.resize(np.asarray(labels, np.int32), n))


def _scaled(name: str, path: Path | None, field: NetworkField) -> np.ndarray | None:
    """Raw data in the scale and the shape of the field."""
    if path is None:
        return None
    rows, shape = np.asarray(load_array(path)), field.event_shape
    size = math.prod(shape)
    fits = rows.ndim >= 1 and rows[:1].size == size
    require(fits, name, f"{rows.shape} in {path}", f"have rows of {size} numbers")
    return field.scaling.apply(rows.astype(np.float32)).reshape(len(rows), *shape)
