"""Time and class embeddings."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kinetic_jax._checks import require


def sinusoids(
    t: Float[Array, " batch"], dim: int, max_frequency: float
) -> Float[Array, "batch {dim}"]:
    """Sines and cosines of t at dim/2 angular frequencies down to 1/10,000 of `max_frequency`.

    As in Vaswani et al., Attention is all you need, arXiv 1706.03762, section 3.5.
    """
    half = dim // 2
    frequencies = jnp.exp(jnp.arange(half, dtype=t.dtype) * (-math.log(1e4) / (half - 1)))
    angles = max_frequency * t[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Embedding(nnx.Module):
    """Embeds time and class, of shape (batch,) each, as vectors of shape (batch, features).

    Class `num_classes` is the null class: "no label", which `cfg` and label dropout use.

    Args:
        dim: number of sinusoids, even and at least 4.
        features: width of the result.
        num_classes: number of classes, or None for a network without labels.
        max_frequency: angular frequency of the fastest sinusoid, per unit of time. The usual
            1,000 suits a thousand time steps; for solvers with steps of 1/100, lower values give
            a smoother field.
        time_bins: number of times, evenly from 0 to 1, to which the time is rounded down, as in
            the KTS authors' network; None disables it.
        exact_gelu: compute GELU by the error function, as PyTorch does, not by tanh.
        dtype: the dtype to compute in; parameters stay float32.
        rngs: random number generators for the initial weights.
    """

    def __init__(
        self,
        dim: int,
        features: int,
        num_classes: int | None,
        *,
        max_frequency: float = 1000.0,
        time_bins: int | None = None,
        exact_gelu: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        require(dim >= 4 and dim % 2 == 0, "dim", dim, "be even and >= 4")
        if time_bins is not None:
            require(time_bins >= 2, "time_bins", time_bins, "be a whole number >= 2, or None")
        self.dim = dim
        self.num_classes = num_classes
        self.max_frequency = max_frequency
        self.time_bins = time_bins
        self.exact_gelu = exact_gelu
        self.inner = nnx.Linear(dim, features, dtype=dtype, rngs=rngs)
        self.outer = nnx.Linear(features, features, dtype=dtype, rngs=rngs)
        if num_classes is not None:
            self.classes = nnx.Embed(num_classes + 1, features, dtype=dtype, rngs=rngs)

    def __call__(
        self, t: Float[Array, " batch"], label: Int[Array, " batch"] | None
    ) -> Float[Array, "batch features"]:
        """The embedding; without a label, the null class is used."""
        if self.time_bins is not None:
            last = self.time_bins - 1
            t = jnp.clip(jnp.floor(t * last), 0, last) / last
        h = self.inner(sinusoids(t, self.dim, self.max_frequency))
        embedding = self.outer(jax.nn.gelu(h, approximate=not self.exact_gelu))
        if self.num_classes is None:
            require(label is None, "cond", "a label", "be None for a network without classes")
            return embedding
        if label is None:
            label = jnp.full(t.shape, self.num_classes, jnp.int32)
        require(
            jnp.issubdtype(label.dtype, jnp.integer) and label.shape[1:] == (),
            "cond",
            f"{label.dtype} of shape {label.shape[1:]}",
            f"be one integer label from 0 to {self.num_classes} (the null class) per sample",
        )
        # Flax reads −1 as the last row, the null class. Here negative labels give NaN like any
        # label out of range, which `sample` reports in its status and `fit` in its loss.
        label = jnp.where(label < 0, self.num_classes + 1, label)
        return embedding + self.classes(label)
