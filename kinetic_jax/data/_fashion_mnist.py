"""Fashion-MNIST: search on this machine, checksums and download."""

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._files import PathLike, local_path, with_size
from kinetic_jax._progress import progress_bar
from kinetic_jax.data._images import Images, as_images

ENVIRONMENT = "KINETIC_JAX_DATA"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Checksums of the unpacked files: gzip output depends on the packer.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FILES = tuple(SHA256)
SUBSET = Path(__file__).parent / "fashion-mnist-1024"
SUBSET_SHA256 = {
    "train-images-idx3-ubyte": "0e5523bb6061d7d741aeff94c592a243d4a54c1db600534113c92ed495ffec89",
    "train-labels-idx1-ubyte": "c95ebe6874be4ebfd3bddd3c5bc9ad5e574aa9d5d8f805e29b0e1dd1077c61d8",
}


def fashion_mnist(data: Path | None = None) -> Images:
    """The 60,000 training and 10,000 held-out images, verified by sha256; see `load_images`."""
    files = _local_files(data) or [_download(name) for name in FILES]
    arrays = [_checked(file, SHA256[name]) for file, name in zip(files, FILES, strict=True)]
    return as_images("fashion-mnist", *arrays, classes=CLASSES)


def first_1024() -> Images:
    """The first 1,024 training images, included in the package."""
    arrays = [_checked(SUBSET / f"{name}.gz", sha256) for name, sha256 in SUBSET_SHA256.items()]
    return as_images("fashion-mnist-1024", *arrays, classes=CLASSES)


def _local_files(data: Path | None) -> list[Path] | None:
    """The files on this machine, or None; a folder named by the user must contain them."""
    variable = os.environ.get(ENVIRONMENT)
    environment = local_path(f"${ENVIRONMENT}", variable) if variable else None
    for folder, argument in ((data, "data"), (environment, f"${ENVIRONMENT}")):
        if folder is not None:
            files = _files_in(folder) or _files_in(folder / "fashion-mnist")
            if files is None:
                raise FileNotFoundError(
                    f"{argument} must be a folder with the files of Fashion-MNIST ({FILES[0]}, …, "
                    f"gzipped or not), or with a folder fashion-mnist that has them, got {folder}"
                )
            return files
    return _files_in(DEBIAN)


def _files_in(folder: Path) -> list[Path] | None:
    """The four files in a folder, or None if one is missing."""
    forms = [(folder / f"{name}.gz", folder / name) for name in FILES]
    present = [[file for file in pair if file.is_file()] for pair in forms]
    return [files[0] for files in present] if all(present) else None


def holds_fashion_mnist(folder: PathLike) -> bool:
    """Recognises the files of Fashion-MNIST in a folder by the checksums of their labels.

    MNIST and other data sets use the same file names.

    Raises:
        ValueError: if `folder` is not a path on this machine.
    """
    path = local_path("folder", folder)
    for candidate in (path, path / "fashion-mnist"):
        for file, name in zip(_files_in(candidate) or (), FILES, strict=False):
            if "labels" in name:
                with suppress(ValueError):
                    _checked(file, SHA256[name])
                    return True
    return False


def _checked(file: Path, sha256: str) -> np.ndarray:
    array = np.asarray(load_array(file))
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    checksum = hashlib.sha256(header + array.tobytes()).hexdigest()
    got = checksum if array.dtype == np.uint8 else str(array.dtype)
    if got != sha256:
        raise ValueError(
            f"{with_size(file)} is not the published file of Fashion-MNIST: its sha256, unpacked, "
            f"must be {sha256}, got {got}"
        )
    return array


def _download(name: str) -> Path:
    """The path of the file in the user's cache, downloaded if needed."""
    import pooch  # of the extra `demo`

    try:
        return Path(
            pooch.retrieve(
                f"{ADDRESS}{name}.gz",
                known_hash=None,  # `_checked` verifies the unpacked content
                fname=f"{name}.gz",
                path=pooch.os_cache("kinetic_jax") / "fashion-mnist",
                progressbar=_Bar(name),
            )
        )
    except Exception as error:  # from the network, a proxy or the disk
        raise ConnectionError(
            f"Fashion-MNIST is in no known folder, and {name}.gz could not be downloaded from "
            f"{ADDRESS}: {error}. Give a folder that has it, by data= or ${ENVIRONMENT}"
        ) from error


class _Bar:
    """Adapter of the progress bar to Pooch, which sets `total` later."""

    def __init__(self, name: str):
        self.name, self.done, self.total = name, 0, 0
        self._stack = ExitStack()
        self._update: Callable[[int, str], None] | None = None

    def update(self, size: int) -> None:
        if self._update is None:
            bar = progress_bar(f"downloading {self.name}", self.total)
            self._update = self._stack.enter_context(bar)
        self.done += size
        self._update(self.done, "bytes")

    def reset(self) -> None:
        self.done = 0  # Pooch fills the bar a second time at the end

    def close(self) -> None:
        self._stack.close()
