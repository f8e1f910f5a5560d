"""The included models, by name."""

import re
from pathlib import Path

import numpy as np

from kinetic_jax._checks import require
from kinetic_jax._pretrained._pack import read_classifier, read_field
from kinetic_jax.networks import ImageClassifier, NetworkField

WEIGHTS = Path(__file__).parent / "weights"
# A clone of the repository has further checkpoints, for the claims.
CLONE = Path(__file__).parents[2] / "benchmarks" / "claims" / "weights"
# Names and file names of `python -m benchmarks train`.
MODELS = {"fashion-mnist": "general", "fashion-mnist-1024": "memorizing"}


def pretrained(name: str, *, step: int | None = None) -> NetworkField:
    """Loads a trained flow included in the package, without a download.

    - "fashion-mnist": trained on all 60,000 training images of Fashion-MNIST, with labels; `cond`
      is the class, 0 to 9, or `field.null_cond` for none;
    - "fashion-mnist-1024": trained on the first 1,024 of them without labels, long enough to copy
      some; `load_images("fashion-mnist-1024")` returns the images.

    Samples are images of shape (28, 28, 1) scaled to [−1, 1]; `field.scaling.invert` returns raw
    pixels, 0 to 255. `python -m benchmarks train fashion-mnist` trained both with the recipes in
    `benchmarks/claims/_recipes.py`.

    Args:
        name: one of the above.
        step: training step of a checkpoint; see `pretrained_steps`. Step 1,000 of
            "fashion-mnist-1024", before it copies, is included in the package; a clone of the
            repository has more.

    Returns:
        The field, with its scaling, its `event_shape` and its classes, if it has any.

    Raises:
        ValueError: if the model or checkpoint does not exist, or its file is damaged.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import cfg, noise, pretrained, sample
        >>> field = pretrained("fashion-mnist")
        >>> x0 = noise(jax.random.key(0), jnp.arange(2), field.event_shape)
        >>> guided = cfg(1.5, null_cond=field.null_cond)(field)
        >>> sample(guided, x0, jnp.array([0, 9]), num_steps=2).x1.shape
        (2, 28, 28, 1)
    """
    _require_name(name)
    if step is None:
        return read_field(WEIGHTS / f"{MODELS[name]}.npz")
    files = _checkpoints(name)
    expected = f"be one of {sorted(files)}" if files else "be None: this model has no checkpoints"
    if files and not CLONE.is_dir():
        expected += " (a clone of kinetic_jax's repository has more)"
    is_known = isinstance(step, int | np.integer) and step in files
    require(is_known, "step", repr(step), expected)
    return read_field(files[step])


def pretrained_steps(name: str) -> list[int]:
    """Training steps available to `pretrained(name, step=...)`, in increasing order.

    Args:
        name: as in `pretrained`.

    Returns:
        The steps; an empty list for a model without checkpoints.

    Raises:
        ValueError: if there is no such model.

    Example:
        >>> from kinetic_jax import pretrained_steps
        >>> pretrained_steps("fashion-mnist")
        []
    """
    _require_name(name)
    return sorted(_checkpoints(name))


def _checkpoints(name: str) -> dict[int, Path]:
    """Checkpoint files of a model by step, from the package and the clone."""
    pattern = re.compile(rf"{MODELS[name]}-step-(\d+)\.npz")
    files = [file for folder in (WEIGHTS, CLONE) if folder.is_dir() for file in folder.iterdir()]
    matches = ((pattern.fullmatch(file.name), file) for file in files)
    return {int(match[1]): file for match, file in matches if match}


def pretrained_classifier(name: str = "fashion-mnist") -> ImageClassifier:
    """Loads the included Fashion-MNIST classifier, whose features and margins measure samples.

    It was trained on all training images except the first 1,024, so that copies of these are as
    new to it as other samples.

    Args:
        name: "fashion-mnist".

    Returns:
        The classifier, of images of shape (28, 28, 1) scaled to [−1, 1].

    Raises:
        ValueError: if the classifier does not exist, or its file is damaged.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import pretrained_classifier
        >>> pretrained_classifier().features(jnp.zeros((3, 28, 28, 1))).shape
        (3, 128)
    """
    is_known = isinstance(name, str) and name == "fashion-mnist"
    require(is_known, "name", repr(name), "be 'fashion-mnist'")
    return read_classifier(WEIGHTS / "classifier.npz")


def _require_name(name: object) -> None:
    is_known = isinstance(name, str) and name in MODELS
    require(is_known, "name", repr(name), f"be one of {', '.join(map(repr, MODELS))}")
