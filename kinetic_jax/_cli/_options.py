"""What several commands share: kinds of arguments, options, samples from files."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._cli._errors import missing
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
    """Refuses a picture that could not be drawn or written, before anything is computed."""
    del context, parameter
    if path is None:
        return None
    if path.suffix.lower() != ".png":
        raise click.BadParameter(f"{path} must end in .png")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    if importlib.util.find_spec("matplotlib") is None:
        raise missing("matplotlib")
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
threshold_option = click.option(
    "--threshold",
    type=float,
    default=1 / 3,
    show_default="1/3",
    help="Ratio of the distances to the nearest and the second nearest row, below which a sample "
    "is a copy.",
)
confidence_option = click.option(
    "--confidence", type=float, default=0.95, show_default=True, help="Level of the intervals."
)
merge_option = click.option(
    "--merge-duplicates",
    is_flag=True,
    help="The second nearest row must be no duplicate of the nearest.",
)


def load_samples(path: Path) -> np.ndarray:
    """The array in a file, in float32 unless it is in float64."""
    rows = np.asarray(load_array(path))
    return rows if rows.dtype == np.float64 else rows.astype(np.float32)
