"""Scaled images with optional labels and a held-out set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kinetic_jax._checks import numbers, require
from kinetic_jax._pytree import short_repr
from kinetic_jax.networks import Scaling

_ROUNDING = 5e-4  # tolerance for values outside the range, from resampling in float32


class Images(NamedTuple):
    """Images scaled to [−1, 1].

    Attributes:
        name: name or path of the data set.
        images: training images, shape (n, height, width, channels), float32.
        labels: classes of the training images, shape (n,), numbered from 0 without gaps; None
            without labels.
        held_out: held-out images, shape (m, height, width, channels); m may be 0.
        held_out_labels: classes of the held-out images, shape (m,), or None.
        scaling: scaling of the raw values: x = (raw − shift) / scale.
        classes: names of the classes in the order of the labels: the names of class folders, or
            the raw labels as text; None without labels.
    """

    name: str
    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"] | None
    held_out: Float[np.ndarray, "m height width channels"]
    held_out_labels: Int[np.ndarray, " m"] | None
    scaling: Scaling
    classes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return short_repr(self)

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
    """Scales raw images, (n, height, width) or (n, height, width, channels), and checks all parts.

    Args:
        name: name or path of the data set, also used in errors.
        raw: the training images.
        labels: shape (n,) or (n, 1).
        held_out: held-out images with the dtype and event shape of `raw`.
        held_out_labels: shape (m,) or (m, 1).
        largest: the largest raw value, 0 being the smallest; by default that of an integer dtype,
            or the end of the range of floats, [0, 1] or [−1, 1].
        classes: names of the raw labels from 0; by default the labels as text.
    """
    require(raw.ndim > 0 and raw.size > 0, name, f"shape {raw.shape}", "hold images")
    raw = numbers(name, raw)
    scaling = _scaling(name, raw, largest)
    images = _scaled(name, raw, scaling)
    held_out_name = f"{name}, held out,"
    held_out = raw[:0] if held_out is None else numbers(held_out_name, held_out)
    expected = f"be of the others' dtype, {raw.dtype}"
    require(held_out.dtype == raw.dtype, held_out_name, held_out.dtype, expected)
    held_out = _scaled(held_out_name, held_out, scaling)
    shape, expected = held_out.shape[1:], f"be of the shape of the others, {images.shape[1:]}"
    require(shape == images.shape[1:], held_out_name, shape, expected)
    labels = _checked_labels(name, labels, len(images))
    held_out_labels = _checked_labels(held_out_name, held_out_labels, len(held_out))
    names = None
    if labels is not None:
        present = np.unique(labels)  # renumbered from 0 without gaps
        names = tuple(str(label) if classes is None else classes[label] for label in present)
        labels = np.searchsorted(present, labels).astype(np.int32)
        if held_out_labels is not None:
            is_known = bool(np.isin(held_out_labels, present).all())
            expected = "be among those to train on"
            require(is_known, f"labels of {held_out_name}", "others", expected)
            held_out_labels = np.searchsorted(present, held_out_labels).astype(np.int32)
    return Images(name, images, labels, held_out, held_out_labels, scaling, names)


def _scaling(name: str, raw: np.ndarray, largest: float | None) -> Scaling:
    if largest is None and raw.dtype.kind in "iu":
        is_narrow = raw.dtype in (np.uint8, np.uint16)  # wider types rarely use their range
        require(is_narrow, f"images of {name}", raw.dtype, "be uint8, uint16 or floating")
        largest = float(np.iinfo(raw.dtype).max)
    if largest is None:
        low, high = float(np.min(raw)), float(np.max(raw))
        in_range = low >= -1 - _ROUNDING and high <= 1 + _ROUNDING
        require(in_range, f"floating images of {name}", f"{low:g} to {high:g}", "lie in [−1, 1]")
        return Scaling() if low < -_ROUNDING else Scaling(0.5, 0.5)
    return Scaling(largest / 2, largest / 2)


def _scaled(name: str, raw: np.ndarray, scaling: Scaling) -> np.ndarray:
    with_channels = raw[..., None] if raw.ndim == 3 else raw
    expected = "have the shape (n, height, width) or (n, height, width, channels)"
    require(with_channels.ndim == 4, name, f"shape {raw.shape}", expected)
    images = np.asarray(scaling.apply(with_channels.astype(np.float32)), np.float32)
    num_not_finite = int(np.sum(~np.isfinite(images).all(axis=(1, 2, 3))))
    require(num_not_finite == 0, name, f"{num_not_finite} images that are not", "be finite")
    in_range = bool((np.abs(images) <= 1 + 2 * _ROUNDING).all())
    require(in_range, name, "numbers beyond", "lie in the range of the images to train on")
    return images.clip(-1, 1)


def _checked_labels(name: str, labels: np.ndarray | None, n: int) -> np.ndarray | None:
    if labels is None:
        return None
    column = labels[:, 0] if labels.shape == (n, 1) else labels  # like CIFAR in Keras
    are_classes = column.shape == (n,) and column.dtype.kind in "iu" and bool((column >= 0).all())
    expected = f"be one whole number >= 0 for each of {n} images"
    least = f", the smallest {column.min()}" if column.size and column.dtype.kind == "i" else ""
    got = f"{labels.dtype} of shape {labels.shape}{least}"
    require(are_classes, f"labels of {name}", got, expected)
    return column
