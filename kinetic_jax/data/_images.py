"""Image data of every experiment: scaled, labelled where there are labels, and split."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kinetic_jax._checks import require
from kinetic_jax.networks import Scaling

# How far resampling in float32 may leave the range of pixels.
_ROUNDING = 5e-4


class Images(NamedTuple):
    """Images in [−1, 1], the scale of the library's fields.

    Attributes:
        name: the set's name or path.
        images: those to train on, of shape (n, height, width, channels), float32.
        labels: the class of each, of shape (n,), numbered from 0 without gaps; None without
            labels.
        held_out: images of the same kind that nothing is trained on, of shape (m, height, width,
            channels); m may be 0.
        held_out_labels: the class of each, of shape (m,), or None.
        scaling: from the raw numbers to these: x = (raw − shift) / scale.
        classes: the name of each class, in the order of the labels (of a folder of class folders
            their names, else the raw labels as text); None without labels.
    """

    name: str
    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"] | None
    held_out: Float[np.ndarray, "m height width channels"]
    held_out_labels: Int[np.ndarray, " m"] | None
    scaling: Scaling
    classes: tuple[str, ...] | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None without labels."""
        return None if self.labels is None else int(self.labels.max()) + 1


def as_images(
    name: str,
    raw: np.ndarray,
    labels: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    held_out_labels: np.ndarray | None = None,
    *,
    largest: float | None = None,
    classes: Sequence[str] | None = None,
) -> Images:
    """Scales raw images, and checks that the parts fit each other.

    Args:
        name: the set's name or path, for errors as well.
        raw: shape (n, height, width) or (n, height, width, channels).
        labels: shape (n,) or (n, 1).
        held_out: shape (m, …), of the same kind.
        held_out_labels: shape (m,) or (m, 1).
        largest: the largest raw number, 0 being the smallest; by default that of the dtype for
            whole numbers, and for floats the end of their range, [0, 1] or [−1, 1].
        classes: the name of each raw label, 0 to the largest; by default the label as text.

    Raises:
        ValueError: if shapes, labels or numbers do not fit.
    """
    require(raw.ndim > 0 and raw.size > 0, name, f"shape {raw.shape}", "hold images")
    raw = _native(raw)
    scaling = _scaling(name, raw, largest)
    images = _scaled(name, raw, scaling)
    held_out = raw[:0] if held_out is None else _native(held_out)
    kinds = f"be of the others' dtype, {raw.dtype}"
    require(held_out.dtype == raw.dtype, f"{name}, held out,", held_out.dtype, kinds)
    other = _scaled(f"{name}, held out,", held_out, scaling)
    shapes = f"be of the shape of the others, {images.shape[1:]}"
    require(other.shape[1:] == images.shape[1:], f"{name}, held out,", other.shape[1:], shapes)
    own = _checked_labels(name, labels, len(images))
    others = _checked_labels(f"{name}, held out,", held_out_labels, len(other))
    named = None
    if own is not None:
        known = np.unique(own)  # from 0 and without gaps, as classes are counted here
        named = tuple(str(label) if classes is None else classes[label] for label in known)
        own = np.searchsorted(known, own).astype(np.int32)
        if others is not None:
            fits = bool(np.isin(others, known).all())
            require(fits, f"labels of {name}, held out,", "others", "be among those to train on")
            others = np.searchsorted(known, others).astype(np.int32)
    return Images(name, images, own, other, others, scaling, named)


def _native(array: np.ndarray) -> np.ndarray:
    """The array with its bytes in this machine's order, which those of idx files may not be in."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _scaling(name: str, raw: np.ndarray, largest: float | None) -> Scaling:
    if largest is None and raw.dtype.kind in "iu":
        narrow = raw.dtype in (np.uint8, np.uint16)  # of wider ones the range says nothing
        require(narrow, f"images of {name}", raw.dtype, "be uint8, uint16 or floating")
        largest = float(np.iinfo(raw.dtype).max)
    if largest is None:
        low, high = float(np.min(raw)), float(np.max(raw))
        within = low >= -1 - _ROUNDING and high <= 1 + _ROUNDING
        require(within, f"floating images of {name}", f"{low:g} to {high:g}", "lie in [−1, 1]")
        return Scaling() if low < -_ROUNDING else Scaling(0.5, 0.5)
    return Scaling(largest / 2, largest / 2)


def _scaled(name: str, raw: np.ndarray, scaling: Scaling) -> np.ndarray:
    with_channels = raw[..., None] if raw.ndim == 3 else raw
    expected = "have the shape (n, height, width) or (n, height, width, channels)"
    require(with_channels.ndim == 4, name, f"shape {raw.shape}", expected)
    images = np.asarray(scaling.apply(with_channels.astype(np.float32)), np.float32)
    bad = int(np.sum(~np.isfinite(images).all(axis=(1, 2, 3))))
    require(bad == 0, name, f"{bad} images that are not", "be finite")
    within = bool((np.abs(images) <= 1 + 2 * _ROUNDING).all())
    require(within, name, "numbers beyond", "lie in the range of the images to train on")
    return images.clip(-1, 1)


def _checked_labels(name: str, labels: np.ndarray | None, n: int) -> np.ndarray | None:
    if labels is None:
        return None
    column = labels[:, 0] if labels.shape == (n, 1) else labels  # as CIFAR's come with Keras
    are_classes = column.shape == (n,) and column.dtype.kind in "iu" and bool((column >= 0).all())
    expected = f"be one whole number >= 0 for each of {n} images"
    least = f", the smallest {column.min()}" if column.size and column.dtype.kind == "i" else ""
    got = f"{labels.dtype} of shape {labels.shape}{least}"
    require(are_classes, f"labels of {name}", got, expected)
    return column
