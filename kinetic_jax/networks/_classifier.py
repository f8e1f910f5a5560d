"""A small image classifier, whose features and margins measure the quality of samples."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from kinetic_jax._checks import require_key, whole_number, whole_numbers


class ImageClassifier(eqx.Module):
    """A normalised MLP on a batch of flattened images: `classifier(images)` are the logits.

    Args:
        event_shape: (height, width, channels) of one image.
        num_classes: number of classes.
        widths: widths of the hidden layers, the last of which yields the features.
        key: a JAX random key for the initial weights.

    Raises:
        ValueError: if a size is not a whole number in range, or `key` not a random key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax.networks import ImageClassifier
        >>> model = ImageClassifier((8, 8, 1), 10, widths=(32, 16), key=jax.random.key(0))
        >>> images = jnp.zeros((5, 8, 8, 1))
        >>> model(images).shape, model.features(images).shape, model.margin(images).shape
        ((5, 10), (5, 16), (5,))
    """

    weights: list[Float[Array, "inputs outputs"]]
    biases: list[Float[Array, " outputs"]]

    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_classes: int,
        *,
        widths: tuple[int, ...] = (1024, 512, 128),
        key: PRNGKeyArray,
    ):
        num_classes = whole_number("num_classes", num_classes, 2)
        hidden = whole_numbers("widths", widths)
        sizes = (math.prod(whole_numbers("event_shape", event_shape)), *hidden, num_classes)
        require_key("key", key)
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
        self.weights = [jax.random.normal(k, (a, b)) * math.sqrt(2 / a) for k, a, b in pairs]
        self.biases = [jnp.zeros(size) for size in sizes[1:]]

    def features(
        self,
        images: Float[ArrayLike, "n height width channels"],
        *,
        dropout: float = 0.0,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "n features"]:
        """The last hidden layer; with a key, `dropout` is the share of units dropped per layer."""
        h = jnp.asarray(images)
        h = h.reshape(h.shape[0], -1)
        pairs = zip(self.weights[:-1], self.biases[:-1], strict=True)
        for layer, (weight, bias) in enumerate(pairs):
            h = jax.nn.relu(_normalized(h @ weight + bias[None]))
            if key is not None and dropout > 0:
                is_kept = jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - dropout, h.shape)
                h = jnp.where(is_kept, h / (1 - dropout), jnp.zeros_like(h))
        return h

    def __call__(
        self, images: Float[ArrayLike, "n height width channels"]
    ) -> Float[Array, "n classes"]:
        """The logits."""
        return self.logits_of(self.features(images))

    def logits_of(self, features: Float[Array, "n features"]) -> Float[Array, "n classes"]:
        """The logits from the result of `features`."""
        return features @ self.weights[-1] + self.biases[-1][None]

    def margin(
        self,
        images: Float[ArrayLike, "n height width channels"],
        labels: Int[Array, " n"] | None = None,
    ) -> Float[Array, " n"]:
        """The logit of a class (by default the likeliest) minus the largest other one."""
        logits = self(images)
        if labels is None:
            largest = jax.lax.top_k(logits, 2)[0]
            return largest[:, 0] - largest[:, 1]
        is_label = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
        others = jnp.where(is_label, -jnp.inf, logits)
        return jnp.sum(jnp.where(is_label, logits, 0.0), axis=1) - jnp.max(others, axis=1)


def _normalized(h: Array) -> Array:
    centred = h - jnp.mean(h, axis=1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=1, keepdims=True) + 1e-5)
