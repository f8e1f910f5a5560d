"""`load_images`: known sets by name, and others from files and folders."""

import re
import zipfile
from pathlib import Path

import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._files import PathLike, local_path, with_size
from kinetic_jax._pictures import (
    is_picture,
    listed,
    picture_files,
    read_pictures,
    visible,
    warn_of_others,
)
from kinetic_jax.data._fashion_mnist import fashion_mnist, first_1024
from kinetic_jax.data._images import Images, as_images

# Names of the arrays in a .npz, in the order of the arguments of `as_images`; the first that
# names the images decides.
_NAMES = (
    ("images", "labels", "held_out", "held_out_labels"),
    ("train", "train_labels", "held_out", "held_out_labels"),
    ("x_train", "y_train", "x_test", "y_test"),  # Keras
)
# Names of folders that hold a part of a data set, and no class.
_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "held_out")
_IDX = re.compile(r"-idx\d(-ubyte)?(\.gz)?$")  # how their names end
_HELD_OUT = ("t10k", "test", "held")  # how the names of idx files of held-out images begin


def load_images(name_or_path: PathLike, *, data: PathLike | None = None) -> Images:
    """Images by the name of a known set, or from files.

    Args:
        name_or_path: one of
            - "digits": scikit-learn's 1,797 digits of 8 × 8;
            - "fashion-mnist": 60,000 + 10,000 images of 28 × 28 in ten classes (Xiao et al., arXiv
              1708.07747), from the first place that has them: `data`, the folder in the environment
              variable KINETIC_JAX_DATA, that of Debian's package dataset-fashion-mnist, the user's
              cache; else they are downloaded there, with a progress bar;
            - "fashion-mnist-1024": the first 1,024 of those, which come with the package;
            - a folder of idx files, gzipped or raw, with the names that MNIST's have
              ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-…");
            - a folder of PNG and JPEG pictures of one shape, in the natural order of their names (2
              before 10), or of one such folder a class, numbered in that order. Hidden files are
              skipped; other files that are left out are named by a warning;
            - a `.npz` with "images" (or "train", "x_train") and, if it has them, "labels" of shape
              (n,) or (n, 1), "held_out", "held_out_labels" (Keras' "y_train", "x_test", "y_test"),
              or one array;
            - a `.npy`.
        data: a folder to look for a known set in first, itself or its folder "fashion-mnist".

    Returns:
        The images, scaled to [−1, 1]: whole numbers by the range of their dtype, floats by their
        range, [0, 1] or [−1, 1], which they may leave by rounding (5e-4).

    Raises:
        ValueError: naming the argument, if it is no path; naming the file, if it is damaged or no
            such images; naming the folder, if it mixes pictures and folders, or its folders are
            parts (train, test) and no classes; if a known set is not what was published, by its
            sha256.
        FileNotFoundError: if there is no such file, folder or set.

    Example:
        >>> from kinetic_jax import load_images
        >>> digits = load_images("digits")
        >>> digits.images.shape, digits.num_classes
        ((1797, 8, 8, 1), 10)
    """
    folder = None if data is None else local_path("data", data)
    known = {
        "digits": _digits,
        "fashion-mnist": lambda: fashion_mnist(folder),
        "fashion-mnist-1024": first_1024,
    }
    path = local_path("name_or_path", name_or_path)
    if str(path) in known:
        return known[str(path)]()
    if not path.exists():
        names = ", ".join(known)
        raise FileNotFoundError(f"there is no file, folder or known set {path} (known: {names})")
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".npz":
        return _from_npz(path)
    return as_images(str(path), np.asarray(load_array(path)))


def _digits() -> Images:
    from sklearn.datasets import load_digits  # of the extra `demo`

    bunch = load_digits()
    return as_images("digits", bunch.images, bunch.target, largest=16.0)


def _from_npz(path: Path) -> Images:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = list(file.files)
    except Exception as error:  # readers of damaged files raise whatever they meet
        why = error if zipfile.is_zipfile(path) else "it is no .npz, or a damaged one"
        raise ValueError(f"{with_size(path)} is unreadable: {why}") from error
    for names in _NAMES:
        if names[0] in held:
            warn_of_others(path, [name for name in held if name not in names])
            parts = [np.asarray(load_array(f"{path}:{n}")) if n in held else None for n in names]
            assert parts[0] is not None
            return as_images(str(path), parts[0], *parts[1:])
    return as_images(str(path), np.asarray(load_array(path)))


def _from_folder(folder: Path) -> Images:
    inside = visible(folder)
    files = [file for file in inside if _IDX.search(file.name) and file.is_file()]
    # A file rather than its gzip, which would need unpacking.
    idx = list({file.name.removesuffix(".gz"): file for file in reversed(files)}.values())[::-1]
    if idx:
        warn_of_others(folder, [path for path in inside if path not in files])
        return _from_idx(folder, idx)
    folders = [path for path in inside if path.is_dir()]
    beside = [path for path in inside if not path.is_dir()]
    if any(is_picture(path) for path in beside):
        return as_images(str(folder), load_array(folder))
    expected = "hold idx files, pictures (PNG, JPEG), or a folder of pictures for each class"
    require(bool(folders), f"folder {folder}", listed(beside), expected)
    return _from_classes(folder, folders, beside)


def _from_classes(folder: Path, folders: list[Path], beside: list[Path]) -> Images:
    splits = [path for path in folders if path.name.lower() in _SPLITS]
    if len(splits) >= 2 or len(splits) == len(folders):
        raise ValueError(
            f"folder {folder} must hold a folder for each class, got {listed(folders)}: load one "
            f"part by itself, {splits[0]} say"
        )
    warn_of_others(folder, beside)
    files = [picture_files(path) for path in folders]
    labels = np.repeat(np.arange(len(files)), [len(part) for part in files])
    images = read_pictures([file for part in files for file in part])
    return as_images(str(folder), images, labels, classes=[path.name for path in folders])


def _from_idx(folder: Path, files: list[Path]) -> Images:
    """Images and labels by their names: "<part>-images-idx…" and "<part>-labels-idx…"."""
    arrays: dict[str, dict[str, np.ndarray]] = {"train": {}, "held out": {}}
    for file in files:
        head = _IDX.sub("", file.name).lower()
        part = "held out" if head.startswith(_HELD_OUT) else "train"
        kind = "labels" if head.endswith("labels") else "images"
        expected = f"hold one file of {part} {kind}"
        require(kind not in arrays[part], f"folder {folder}", f"{file.name} as well", expected)
        arrays[part][kind] = np.asarray(load_array(file))
    require(
        "images" in arrays["train"],
        f"folder {folder}",
        [f.name for f in files],
        "hold idx images to train on (train-images-idx3-ubyte)",
    )
    parts = [arrays[part].get(kind) for part in arrays for kind in ("images", "labels")]
    assert parts[0] is not None
    return as_images(str(folder), parts[0], *parts[1:])
