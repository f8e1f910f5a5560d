"""Shared by commands: argument types, options, loading of samples and output."""

import contextlib
import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._cli._group import missing
from kinetic_jax._files import local_path
from kinetic_jax._json import without_nan
from kinetic_jax._streaming import DEFAULT_CHUNK_SIZE
from kinetic_jax.metrics import Correlation, Estimate, Memorization, RocAuc


class LocalPath(click.Path):
    """A local path with `~` expanded; URLs and "" are refused."""

    def __init__(self, **options: Any):
        super().__init__(path_type=Path, **options)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        try:
            return super().convert(local_path("it", value), param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


FOLDER = LocalPath(file_okay=False)
FILE = LocalPath(dir_okay=False)
ROWS = LocalPath()  # a file, FILE.npz:NAME or a folder


def check_output(path: Path, suffix: str) -> None:
    """Refuses a file that cannot be written, before any computation."""
    if path.suffix.lower() != suffix:
        raise click.BadParameter(f"{path} must end in {suffix}")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")


def _check_picture(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Path | None:
    """Refuses a picture that cannot be drawn or written, before any computation."""
    del context, parameter
    if path is None:
        return None
    check_output(path, ".png")
    if importlib.util.find_spec("matplotlib") is None:
        raise missing("matplotlib")
    return path


def plot_option(text: str) -> Callable[..., Any]:
    """The option `--plot PNG` with the help `text`."""
    return click.option("--plot", type=FILE, callback=_check_picture, help=text)


chunk_option = click.option(
    "--chunk-size",
    type=click.IntRange(min=1),
    default=DEFAULT_CHUNK_SIZE,
    show_default=True,
    help="Training rows processed together.",
)
_MEMORIZATION = (
    click.option(
        "--threshold",
        type=float,
        default=1 / 3,
        show_default="1/3",
        help="A sample with a smaller ratio of the distances to the nearest and the second nearest "
        "row is a copy.",
    ),
    click.option(
        "--confidence", type=float, default=0.95, show_default=True, help="Level of the intervals."
    ),
    click.option(
        "--merge-duplicates",
        is_flag=True,
        help="Skip duplicates of the nearest row in the search for the second nearest.",
    ),
    click.option(
        "--duplicate-distance",
        type=float,
        default=0.0,
        show_default=True,
        help="Training rows no farther apart count as duplicates.",
    ),
    chunk_option,
)


def memorization_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that are arguments of `memorization` and of `diagnose_job`, by their names."""
    for option in reversed(_MEMORIZATION):
        command = option(command)
    return command


def load_samples(path: Path) -> np.ndarray:
    """Loads an array as float64 or float32."""
    rows = np.asarray(load_array(path))
    return rows if rows.dtype == np.float64 else rows.astype(np.float32)


def rows_or_null(rows: np.ndarray, valid: np.ndarray) -> list[Any]:
    """`rows` for JSON, with null for those that are not valid."""
    return [row if ok else None for row, ok in zip(rows.tolist(), valid, strict=True)]


def estimate_as_json(estimate: Estimate | Correlation | RocAuc | None) -> dict[str, Any] | None:
    """A value with its interval."""
    if estimate is None:
        return None
    return {"value": estimate.value, "interval": [estimate.low, estimate.high]}


def share_as_json(memorization: Memorization) -> dict[str, Any]:
    """F_mem with its intervals."""
    return {
        "fraction": memorization.fraction,
        "interval": [memorization.low, memorization.high],
        "bootstrap_interval": list(memorization.bootstrap),
    }


def excess_as_json(memorization: Memorization) -> dict[str, Any]:
    """F_mem over that of the held-out data."""
    fraction, *interval = memorization.excess
    return {"fraction": fraction, "interval": interval}


def say(text: str) -> None:
    """Prints a progress line; a closed pipe or a full disk does not stop the work."""
    try:
        click.echo(text)
    except OSError as error:
        _note_lost(error.strerror or str(error))


@functools.cache  # once per process
def _note_lost(reason: str) -> None:
    warn(f"standard output is lost ({reason}); the work goes on")


def warn(text: str) -> None:
    """Prints a line on standard error, ignoring failures."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def answer(result: dict[str, Any]) -> None:
    """Prints the result of a command as JSON, with null for NaN.

    Raises:
        click.ClickException: if the output cannot be written.
    """
    try:
        click.echo(json.dumps(without_nan(result)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"cannot write to standard output: {reason}") from error
