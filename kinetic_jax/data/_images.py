"""Image data as every experiment takes them: scaled, labelled where there are labels, and split."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kinetic_jax._checks import require
from kinetic_jax.networks import Scaling


class Images(NamedTuple):
    """Images in [−1, 1], as the library's fields move them.

    Attributes:
        name: what they are called.
        images: those to train on, float32.
        labels: their classes in order, numbered from 0 without gaps, or None.
        held_out: others of the same kind that nothing is trained on; may be none, of shape (0, …).
        held_out_labels: their classes, or None.
        scaling: from the raw numbers to these: x = (raw − shift) / scale.
    """

    name: str
    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"] | None
    held_out: Float[np.ndarray, "m height width channels"]
    held_out_labels: Int[np.ndarray, " m"] | None
    scaling: Scaling

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int | None:
        """How many classes there are; None without labels."""
        return None if self.labels is None else int(self.labels.max()) + 1


def as_images(
    name: str,
    raw: np.ndarray,
    labels: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    held_out_labels: np.ndarray | None = None,
    *,
    largest: float | None = None,
) -> Images:
    """Scales raw images, and checks that the parts fit each other.

    Args:
        name: what they are called, in errors as well.
        raw: shape (n, height, width) or (n, height, width, channels).
        labels: shape (n,).
        held_out: shape (m, …), of the same kind.
        held_out_labels: shape (m,).
        largest: the largest raw number, 0 being the smallest; by default that of the dtype for
            whole numbers, and for floats what their range says: [0, 1] or [−1, 1].

    Raises:
        ValueError: if shapes, labels or numbers do not fit.
    """
    require(len(raw) > 0, name, f"shape {raw.shape}", "hold images")
    scaling = _scaling(name, raw, largest)
    images = _scaled(name, raw, scaling)
    held_out = np.zeros((0, *raw.shape[1:]), raw.dtype) if held_out is None else held_out
    kinds = f"be of the others' dtype, {raw.dtype}"
    require(held_out.dtype == raw.dtype, f"{name}, held out,", held_out.dtype, kinds)
    other = _scaled(f"{name}, held out,", held_out, scaling)
    words = f"be of the shape of the others, {images.shape[1:]}"
    require(other.shape[1:] == images.shape[1:], f"{name}, held out,", other.shape[1:], words)
    own = _checked_labels(name, labels, len(images))
    others = _checked_labels(f"{name}, held out,", held_out_labels, len(other))
    if own is not None:
        known = np.unique(own)  # from 0 and without gaps, as classes are counted here
        own = np.searchsorted(known, own).astype(np.int32)
        if others is not None:
            fits = bool(np.isin(others, known).all())
            require(fits, f"labels of {name}, held out,", "others", "be among those to train on")
            others = np.searchsorted(known, others).astype(np.int32)
    return Images(name, images, own, other, others, scaling)


def _scaling(name: str, raw: np.ndarray, largest: float | None) -> Scaling:
    if largest is None and raw.dtype.kind in "iu":
        narrow = raw.dtype in (np.uint8, np.uint16)  # of wider ones the range says nothing
        require(narrow, f"images of {name}", raw.dtype, "be uint8, uint16 or floating")
        largest = float(np.iinfo(raw.dtype).max)
    if largest is None:
        low, high = float(np.min(raw)), float(np.max(raw))
        good = low >= -1 and high <= 1
        require(good, f"floating images of {name}", f"{low:g} to {high:g}", "lie in [−1, 1]")
        return Scaling() if low < 0 else Scaling(0.5, 0.5)
    return Scaling(largest / 2, largest / 2)


def _scaled(name: str, raw: np.ndarray, scaling: Scaling) -> np.ndarray:
    with_channels = raw[..., None] if raw.ndim == 3 else raw
    words = "have the shape (n, height, width) or (n, height, width, channels)"
    require(with_channels.ndim == 4, name, f"shape {raw.shape}", words)
    images = np.asarray(scaling.apply(with_channels.astype(np.float32)), np.float32)
    bad = int(np.sum(~np.isfinite(images).all(axis=(1, 2, 3))))
    require(bad == 0, name, f"{bad} images that are not", "be finite")
    good = not images.size or (images.min() >= -1.001 and images.max() <= 1.001)
    require(bool(good), name, "numbers beyond", "lie in the range of the images to train on")
    return images


def _checked_labels(name: str, labels: np.ndarray | None, n: int) -> np.ndarray | None:
    if labels is None:
        return None
    words = f"be one whole number >= 0 for each of {n} images"
    whole = labels.shape == (n,) and labels.dtype.kind in "iu" and (n == 0 or labels.min() >= 0)
    require(bool(whole), f"labels of {name}", f"{labels.dtype} of shape {labels.shape}", words)
    return labels.astype(np.int32)
