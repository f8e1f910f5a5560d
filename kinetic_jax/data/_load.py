"""Data sets by name, or from files and folders."""

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

# Names of the arrays in a .npz, in the order of the arguments of `as_images`.
_NAMES = (
    ("images", "labels", "held_out", "held_out_labels"),
    ("train", "train_labels", "held_out", "held_out_labels"),
    ("x_train", "y_train", "x_test", "y_test"),  # Keras
)
# Folder names of splits, which are not classes.
_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "held_out")
_IDX = re.compile(r"-idx\d(-ubyte)?(\.gz)?$")  # suffix of file names
_HELD_OUT = ("t10k", "test", "held")  # prefixes of idx files of held-out images


def load_images(name_or_path: PathLike, *, data: PathLike | None = None) -> Images:
    """Loads a data set by name, or images from files.

    Args:
        name_or_path: one of

            - "digits": the 1,797 digits of scikit-learn, 8 × 8;
            - "fashion-mnist": 60,000 + 10,000 images of 28 × 28 in ten classes (Xiao et al., arXiv
              1708.07747). They are searched in `data`, the folder named by the environment variable
              KINETIC_JAX_DATA, the folder of Debian's package dataset-fashion-mnist and the user's
              cache, and otherwise downloaded to the cache with a progress bar;
            - "fashion-mnist-1024": the first 1,024 training images, included in the package;
            - a folder of idx files, gzipped or raw, with the names of MNIST
              ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-…");
            - a folder of PNG and JPEG pictures of one shape, in the natural order of their names (2
              before 10), or with one such folder per class, numbered in that order. Hidden files
              are skipped; a warning names other skipped files;
            - a `.npz` with "images" (or "train", "x_train") and optionally "labels" of shape (n,)
              or (n, 1), "held_out", "held_out_labels" (in Keras "y_train", "x_test", "y_test"), or
              with a single array;
            - a `.npy`.
        data: a folder to search first for a known set, directly or in its folder "fashion-mnist".

    Returns:
        The images, scaled to [−1, 1]: integers by the range of their dtype, floats by their range,
        [0, 1] or [−1, 1] with a tolerance of 5e-4.

    Raises:
        ValueError: naming the argument, if it is not a path; naming the file, if it is damaged or
            holds no images; naming the folder, if it mixes pictures and folders, or its folders are
            splits (train, test) instead of classes; if the sha256 of a known set differs from the
            published one.
        FileNotFoundError: if there is no such file, folder or set, or if `data` or the environment
            names a folder without the set.
        ConnectionError: if the set is not on this machine and cannot be downloaded.

    Example:
        >>> from kinetic_jax.data import load_images
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
            stored = list(file.files)
    except Exception as error:  # readers raise various errors for damaged files
        reason = error if zipfile.is_zipfile(path) else "it is not an .npz file, or a damaged one"
        raise ValueError(f"{with_size(path)} is unreadable: {reason}") from error
    for names in _NAMES:
        if names[0] in stored:
            warn_of_others(path, [name for name in stored if name not in names])
            arrays = {n: np.asarray(load_array(f"{path}:{n}")) for n in names if n in stored}
            return as_images(str(path), arrays[names[0]], *map(arrays.get, names[1:]))
    return as_images(str(path), np.asarray(load_array(path)))


def _from_folder(folder: Path) -> Images:
    paths = visible(folder)
    files = [file for file in paths if _IDX.search(file.name) and file.is_file()]
    # Unpacked files take precedence over gzipped ones.
    idx = list({file.name.removesuffix(".gz"): file for file in reversed(files)}.values())[::-1]
    if idx:
        warn_of_others(folder, [path for path in paths if path not in files])
        return _from_idx(folder, idx)
    folders = [path for path in paths if path.is_dir()]
    other_files = [path for path in paths if not path.is_dir()]
    if any(is_picture(path) for path in other_files):
        return as_images(str(folder), load_array(folder))
    expected = "hold idx files, pictures (PNG, JPEG), or a folder of pictures for each class"
    require(bool(folders), f"folder {folder}", listed(other_files), expected)
    return _from_classes(folder, folders, other_files)


def _from_classes(folder: Path, folders: list[Path], other_files: list[Path]) -> Images:
    splits = [path for path in folders if path.name.lower() in _SPLITS]
    if len(splits) >= 2 or len(splits) == len(folders):
        raise ValueError(
            f"folder {folder} must hold a folder for each class, got {listed(folders)}: load one "
            f"part by itself, {splits[0]} say"
        )
    warn_of_others(folder, other_files)
    files = [picture_files(path) for path in folders]
    labels = np.repeat(np.arange(len(files)), [len(part) for part in files])
    images = read_pictures([file for part in files for file in part])
    return as_images(str(folder), images, labels, classes=[path.name for path in folders])


def _from_idx(folder: Path, files: list[Path]) -> Images:
    """Loads "<part>-images-idx…" and "<part>-labels-idx…"."""
    arrays: dict[str, dict[str, np.ndarray]] = {"train": {}, "held out": {}}
    for file in files:
        head = _IDX.sub("", file.name).lower()
        part = "held out" if head.startswith(_HELD_OUT) else "train"
        kind = "labels" if head.endswith("labels") else "images"
        expected = f"hold one file of {part} {kind}"
        require(kind not in arrays[part], f"folder {folder}", f"{file.name} as well", expected)
        arrays[part][kind] = np.asarray(load_array(file))
    train, held_out = arrays["train"], arrays["held out"]
    expected = "hold idx images to train on (train-images-idx3-ubyte)"
    require("images" in train, f"folder {folder}", [file.name for file in files], expected)
    others = train.get("labels"), held_out.get("images"), held_out.get("labels")
    return as_images(str(folder), train["images"], *others)
