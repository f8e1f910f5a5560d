"""Folders of PNG and JPEG pictures."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._files import with_size
from kinetic_jax._progress import progress_bar

_READ = re.compile(r"\.(png|jpe?g)$", re.IGNORECASE)
_UNREAD = re.compile(r"\.(avif|bmp|gif|heic|jfif|jp2|p[gp]m|tiff?|webp)$", re.IGNORECASE)


def visible(folder: Path) -> list[Path]:
    """A folder's content in natural order (2 before 10), without hidden files and folders."""

    def natural_order(path: Path) -> tuple[list[int | str], str]:
        parts = re.split(r"(\d+)", path.name)  # text and digits in turn
        return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name

    shown = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(shown, key=natural_order)


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder that holds no folders and no pictures of other formats."""
    paths = visible(folder)
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    pictures = [path for path in files if _READ.search(path.name)]
    others = [path for path in files if not _READ.search(path.name)]
    got = f"{listed(files)} beside {listed(folders)}" if files else listed(folders)
    require(not folders, f"folder {folder}", got, "hold pictures (PNG, JPEG) and no folders")
    unread = [path for path in others if _UNREAD.search(path.name)]
    expected = "hold pictures in the formats PNG and JPEG"
    require(bool(pictures) and not unread, f"folder {folder}", listed(unread or others), expected)
    warn_of_others(folder, others)
    return pictures


def is_picture(path: Path) -> bool:
    """Recognises pictures by their ending, including formats that are not read."""
    return bool(_READ.search(path.name) or _UNREAD.search(path.name))


def warn_of_others(where: Path, others: Sequence[Path] | Sequence[str]) -> None:
    """Warns with the names of the skipped parts of a folder or file."""
    if others:
        warnings.warn(f"left out of {where}: {listed(others)}", stacklevel=2)


def listed(paths: Sequence[Path] | Sequence[str]) -> str:
    """The first three names, and the number of others."""
    names = [path.name if isinstance(path, Path) else path for path in paths[:3]]
    if len(paths) > 3:
        return f"{', '.join(names)} and {len(paths) - 3:,} more"
    return ", ".join(names) or "none"


def read_pictures(files: Sequence[Path]) -> np.ndarray:
    """Pictures of one shape and dtype, as (n, height, width) or (n, height, width, channels)."""
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
        # Reading a pipe would block.
        require(file.is_file(), "it", "another kind", "be a regular file")
        # Other formats are unsafe: Pillow hands PostScript to Ghostscript, which runs it.
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            upright = ImageOps.exif_transpose(opened)
            # Palette numbers become colours; bits become 0 and 255.
            mode = {"P": "RGB", "CMYK": "RGB", "1": "L"}.get(upright.mode, upright.mode)
            return np.asarray(upright.convert(mode))
    except UnidentifiedImageError as error:
        raise ValueError(f"{with_size(file)} is unreadable: it is not a PNG or JPEG") from error
    except Exception as error:  # decoders raise various errors for damaged files
        raise ValueError(f"{with_size(file)} is unreadable: {error}") from error
