"""Further models of the claims: other seeds, and centred data."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.claims._recipes import GENERAL, MEMORIZING, Recipe, train_recipe
from kinetic_jax._pretrained import read_field
from kinetic_jax.data import Images
from kinetic_jax.networks import NetworkField

WEIGHTS = Path(__file__).parent / "weights"
SEEDS = (1, 2)
COUPLED = {"general-ot": "minibatch OT", "general-reflow": "one reflow"}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A model that differs from one of the main two in one thing.

    Attributes:
        recipe: of its training.
        is_centred: whether the mean image is subtracted from the images, as the authors do.
    """

    recipe: Recipe
    is_centred: bool = False


# One checkpoint before the onset of copying, for baselines that compare with an earlier model.
_FEW = dataclasses.replace(MEMORIZING, marks=(1_000,))

VARIANTS: dict[str, Variant] = {
    "general-centred": Variant(GENERAL, is_centred=True),
    **{f"general-seed-{s}": Variant(dataclasses.replace(GENERAL, seed=s)) for s in SEEDS},
    **{f"memorizing-seed-{s}": Variant(dataclasses.replace(_FEW, seed=s)) for s in SEEDS},
}


def train_variant(
    name: str, data: Images, folder: Path, *, say: Callable[[str], None] = print
) -> list[Path]:
    """Trains a model of `VARIANTS` to files in `folder`; goes on after a kill.

    Args:
        name: of the model.
        data: labelled images.
        folder: made if it is not there; models in it are kept.
        say: callback for messages.
    """
    variant = VARIANTS[name]
    images = data.images
    if variant.is_centred:
        images = images - mean_image(data)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{name}: {variant.recipe.steps:,} steps")
    return train_recipe(variant.recipe, images, data.labels, folder, name, scaling=data.scaling)


def variant(name: str) -> NetworkField | None:
    """A model of `VARIANTS`, or None where it has not been trained."""
    file = WEIGHTS / f"{name}.npz"
    return read_field(file) if file.exists() else None


def coupled_variants() -> dict[str, NetworkField]:
    """The models of all images with other couplings that have been trained, by their words."""
    named = {words: variant(name) for name, words in COUPLED.items()}
    return {f"all images, {words}": field for words, field in named.items() if field is not None}


def seeded_variants() -> dict[str, tuple[NetworkField, NetworkField]]:
    """The two main models trained with other seeds, by seed, where both have been trained."""
    pairs = {}
    for seed in SEEDS:
        general, memorizing = (variant(f"{name}-seed-{seed}") for name in ("general", "memorizing"))
        if general is not None and memorizing is not None:
            pairs[f"{seed}"] = general, memorizing
    return pairs


def mean_image(data: Images) -> np.ndarray:
    """The mean of the images, shape (height, width, channels)."""
    return data.images.mean(axis=0, dtype=np.float64).astype(data.images.dtype)
