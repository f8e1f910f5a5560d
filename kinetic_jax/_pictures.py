"""Folders of PNG and JPEG pictures."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._files import with_size
from kinetic_jax._progress import progress_bar

_ENDINGS = (".png", ".jpg", ".jpeg")
_OTHER_PICTURES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".jfif",
    ".jp2",
    ".ppm",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
)


def visible(folder: Path) -> list[Path]:
    """A folder's content in natural order (2 before 10), without hidden files and folders."""
    inside = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(inside, key=_natural)


def _natural(path: Path) -> tuple[list[Any], str]:
    parts = re.split(r"(\d+)", path.name)  # text and digits in turn
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a flat folder, in natural order.

    Raises:
        ValueError: if there are none, or folders or pictures of other formats beside them.
    """
    inside = visible(folder)
    folders = [path for path in inside if path.is_dir()]
    beside = [path for path in inside if not path.is_dir()]
    pictures = [path for path in beside if path.suffix.lower() in _ENDINGS]
    others = [path for path in beside if path.suffix.lower() not in _ENDINGS]
    got = f"{listed(beside)} beside {listed(folders)}" if beside else listed(folders)
    require(not folders, f"folder {folder}", got, "hold pictures (PNG, JPEG) and no folders")
    unread = [path for path in others if is_picture(path)]
    expected = "hold pictures in the formats PNG and JPEG"
    require(bool(pictures) and not unread, f"folder {folder}", listed(unread or others), expected)
    warn_of_others(folder, others)
    return pictures


def is_picture(path: Path) -> bool:
    """Recognises pictures by their ending, also those of formats that are not read."""
    return path.suffix.lower() in (*_ENDINGS, *_OTHER_PICTURES)


def warn_of_others(where: Path, others: Sequence[Path] | Sequence[str]) -> None:
    """Names what is left out of a folder's or file's content."""
    if others:
        warnings.warn(f"left out of {where}: {listed(others)}", stacklevel=2)


def listed(content: Sequence[Path] | Sequence[str]) -> str:
    """The first names, and how many there are if they are more."""
    names = [path.name if isinstance(path, Path) else path for path in content[:3]]
    if len(content) > 3:
        return f"{', '.join(names)} and {len(content) - 3:,} more"
    return ", ".join(names) or "none"


def read_pictures(files: Sequence[Path]) -> np.ndarray:
    """Pictures of one shape and depth, stacked: (n, height, width) or (n, height, width, channels).

    Raises:
        ValueError: naming the file, if it is damaged or differs from the first.
    """
    images: list[np.ndarray] = []
    with progress_bar(f"reading {files[0].parent.name}", len(files)) as update:
        for file in files:
            image = _read(file)
            first = images[0] if images else image
            expected = f"have the shape of {files[0].name}, {first.shape}"
            require(image.shape == first.shape, str(file), f"shape {image.shape}", expected)
            expected = f"have the depth of {files[0].name}, {first.dtype}"
            require(image.dtype == first.dtype, str(file), image.dtype, expected)
            images.append(image)
            update(len(images), "")
    return np.stack(images)


def _read(file: Path) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError  # in the extra `demo`

    try:
        require(file.is_file(), "it", "another kind", "be a regular file")  # a pipe would block
        # Pillow would guess other formats: it hands PostScript to Ghostscript, which runs it.
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            upright = ImageOps.exif_transpose(opened)
            # The colours of a palette, not their numbers; 0 and 255 for bits.
            mode = {"P": "RGB", "CMYK": "RGB", "1": "L"}.get(upright.mode, upright.mode)
            return np.asarray(upright.convert(mode))
    except UnidentifiedImageError as error:
        raise ValueError(f"{with_size(file)} is unreadable: it is no PNG or JPEG") from error
    except Exception as error:  # decoders of damaged files raise various kinds
        raise ValueError(f"{with_size(file)} is unreadable: {error}") from error
