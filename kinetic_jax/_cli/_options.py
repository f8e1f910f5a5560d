"""What several commands share: options, the form of numbers, errors without tracebacks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._files import local_path
from kinetic_jax.streaming import DEFAULT_CHUNK_SIZE


class LocalPath(click.Path):
    """A path on this machine, with `~` expanded; URLs and "" are refused before any work."""

    def __init__(self, **options: Any):
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, checked."""
        try:
            return super().convert(local_path("it", value), param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


FOLDER = LocalPath(file_okay=False)
FILE = LocalPath(dir_okay=False)
ROWS = LocalPath()  # a file, FILE.npz:NAME or a folder


def _picture(context: Any, parameter: Any, path: Path | None) -> Path | None:
    """Refuses a picture that could not be written, before anything is computed."""
    del context, parameter
    if path is not None and path.suffix.lower() != ".png":
        raise click.BadParameter(f"{path} must end in .png")
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


def plot_option(words: str) -> Callable[..., Any]:
    """The option `--plot PNG`; `words` are its help."""
    return click.option("--plot", type=FILE, callback=_picture, help=words)


chunk_option = click.option(
    "--chunk",
    type=click.IntRange(min=1),
    default=DEFAULT_CHUNK_SIZE,
    show_default=True,
    help="Training rows looked at together.",
)


def load_samples(path: Path) -> np.ndarray:
    """The array in a file, in float32 unless it is in float64."""
    rows = np.asarray(load_array(path))
    return rows if rows.dtype == np.float64 else rows.astype(np.float32)


@contextmanager
def told() -> Iterator[None]:
    """Turns what the library raises for bad input into a line without a traceback."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
