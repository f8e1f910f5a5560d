"""Fields and labels as a command line names them."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._files import local_path, with_size
from kinetic_jax._pretrained import MODELS, pretrained
from kinetic_jax.networks import NetworkField
from kinetic_jax.training import load_field


def find_field(where: str, *, average: bool = True) -> NetworkField:
    """The field in a folder that `save_field` or `fit` left, or the model of that name.

    Args:
        where: the folder or the name.
        average: of a folder of `fit`, the moving average of the weights; else the plain ones.

    Raises:
        ValueError: if there is neither, or the folder's field is damaged.
    """
    folder = local_path("field", where)
    if folder.is_dir():
        try:
            return load_field(folder, average=average)
        except FileNotFoundError as error:
            near = filter(_holds_a_field, (folder / "field", folder.parent))
            hint = "".join(f"; {folder} holds one" for folder in near)
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


def read_labels(text: str | None, n: int) -> Any:
    """Labels for `JobSettings`: "all", whole numbers with commas between, or a file of n labels.

    Args:
        text: as given; a file is .txt, or as `load_array` reads it.
        n: how many a file must hold.

    Raises:
        ValueError: if it is none of them.
        FileNotFoundError: if there is no such file.
    """
    if text is None or text == "all":
        return text
    if re.fullmatch(r"\d+(,\d+)*", text):
        return [int(number) for number in text.split(",")]
    labels = _read_numbers("labels", text, int)
    require(labels.shape == (n,), f"labels in {text}", f"shape {labels.shape}", f"be n = {n}")
    return np.array(labels)


def read_grid(text: str) -> str | np.ndarray:
    """A grid for `JobSettings`: "uniform", "cosine", or the times in a file.

    Args:
        text: as given; a file is .txt, or as `load_array` reads it.

    Raises:
        ValueError: if the file is unreadable.
        FileNotFoundError: if there is no such file.
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
