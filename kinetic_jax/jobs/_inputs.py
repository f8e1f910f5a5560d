"""Fields, labels and time grids from command-line arguments."""

import re
from pathlib import Path

import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._files import local_path, with_size
from kinetic_jax._pretrained import MODELS, pretrained
from kinetic_jax.networks import NetworkField
from kinetic_jax.training import load_field


def find_field(where: str, *, average: bool = True) -> NetworkField:
    """Loads a field from a folder of `save_field` or `fit`, or a pretrained model by name.

    Args:
        where: the folder or the name.
        average: use the moving average of the weights that `fit` wrote; False: the plain weights.

    Raises:
        ValueError: if neither exists, or the stored field is damaged.
    """
    folder = local_path("field", where)
    if folder.is_dir():
        try:
            return load_field(folder, ema=average)
        except FileNotFoundError as error:
            nearby = filter(_holds_a_field, (folder / "field", folder.parent))
            hint = "".join(f"; {folder} holds one" for folder in nearby)
            raise ValueError(
                f"field must be a folder of save_field or fit, got {where}: {error}{hint}"
            ) from error
    if where in MODELS:
        return pretrained(where)
    raise ValueError(
        f"field must be a folder of save_field or fit, or the name of a model ("
        f"{', '.join(MODELS)}), got {where!r}: there is no such folder"
    )


def _holds_a_field(folder: Path) -> bool:
    try:
        load_field(folder)
    except (OSError, ValueError):
        return False
    return True


def read_labels(text: str | None, n: int) -> str | list[int] | np.ndarray | None:
    """Parses labels for `JobSettings`: "all", comma-separated numbers, or a file of n labels.

    Args:
        text: the argument; a file is a .txt or a file of `load_array`.
        n: number of labels that a file must hold.

    Raises:
        ValueError: if it is none of these.
        FileNotFoundError: if the file does not exist.
    """
    if text is None or text == "all":
        return text
    if re.fullmatch(r"\d+(,\d+)*", text):
        return [int(number) for number in text.split(",")]
    labels = _read_numbers("labels", text, int)
    require(labels.shape == (n,), f"labels in {text}", f"shape {labels.shape}", f"be n = {n}")
    return np.array(labels)


def read_grid(text: str) -> str | np.ndarray:
    """Parses a time grid for `JobSettings`: "uniform", "cosine", or a file of times.

    Args:
        text: the argument; a file is a .txt or a file of `load_array`.

    Raises:
        ValueError: if the file is unreadable.
        FileNotFoundError: if the file does not exist.
    """
    return text if text in ("uniform", "cosine") else _read_numbers("grid", text, float)


def _read_numbers(name: str, text: str, dtype: type) -> np.ndarray:
    file = local_path(name, text)
    if file.suffix != ".txt" or not file.is_file():
        return load_array(file)
    try:
        return np.loadtxt(file, ndmin=1, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{with_size(file)} is unreadable: {error}") from error
