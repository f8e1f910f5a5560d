"""Further models of the claims: other seeds, centred data, other couplings, labels."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._recipes import (
    GENERAL,
    MEMORIZING,
    Recipe,
    optimizer_of,
    require_alike,
    train_recipe,
)
from kinetic_jax._digest import digest
from kinetic_jax._pretrained import pretrained, read_field, write_field
from kinetic_jax.data import Images
from kinetic_jax.networks import NetworkField
from kinetic_jax.training import reflow

WEIGHTS = Path(__file__).parent / "weights"
SEEDS = (1, 2)
COUPLED = {"general-ot": "minibatch OT", "general-reflow": "one reflow"}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A model that differs from one of the main two in one thing.

    Attributes:
        recipe: of its training.
        is_centred: True if the mean image is subtracted from the images, as the authors do.
        coupling: of noise and images; see `fit`.
        num_pairs: of noise and samples of the included model, on which it is trained in place of
            images (reflow); 0 for images.
    """

    recipe: Recipe
    is_centred: bool = False
    coupling: str = "independent"
    num_pairs: int = 0


# One checkpoint before the onset of copying, for baselines that compare with an earlier model.
_FEW = dataclasses.replace(MEMORIZING, marks=(1_000,))

# From the weights of the model that it straightens, so for fewer steps.
_STRAIGHTENED = dataclasses.replace(GENERAL, steps=8_000, learning_rate=1e-3)

VARIANTS: dict[str, Variant] = {
    "general-centred": Variant(GENERAL, is_centred=True),
    "general-ot": Variant(GENERAL, coupling="minibatch_ot"),
    "general-reflow": Variant(_STRAIGHTENED, num_pairs=20_000),
    **{f"general-seed-{s}": Variant(dataclasses.replace(GENERAL, seed=s)) for s in SEEDS},
    # With labels, so that guidance and the statistics made of it are possible.
    "memorizing-labels": Variant(dataclasses.replace(_FEW, with_labels=True)),
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
    if variant.num_pairs:
        return [_straightened(variant, data, folder / f"{name}.npz")]
    return train_recipe(
        variant.recipe,
        images,
        data.labels,
        folder,
        name,
        scaling=data.scaling,
        coupling=variant.coupling,
    )


def _straightened(variant: Variant, data: Images, file: Path) -> Path:
    """Trains the included model of all images on pairs of noise and its own samples."""
    recipe, teacher = variant.recipe, pretrained("fashion-mnist")
    about = {
        "recipe": dataclasses.asdict(recipe),
        "num_pairs": variant.num_pairs,
        "made_of": digest([data.labels, *_weights(teacher)]),
    }
    if file.exists():
        require_alike(file, about)
        return file
    assert data.labels is not None, "the model takes labels"
    result = reflow(
        teacher,
        key=jax.random.key(recipe.seed),
        num_pairs=variant.num_pairs,
        cond=jnp.asarray(data.labels[: variant.num_pairs], jnp.int32),
        solver=diffrax.Heun(),
        sample_steps=25,
        num_steps=recipe.steps,
        optimizer=optimizer_of(recipe),
        batch_size=recipe.batch_size,
        cond_dropout=recipe.cond_dropout,
        ema=recipe.ema,
        checkpoint_dir=file.with_suffix(""),
        checkpoint_every=500,
    )
    trained = result.ema_field
    assert isinstance(trained, NetworkField), "reflow returns a field like its teacher"
    write_field(file, trained, step=recipe.steps, **about)
    return file


def _weights(field: NetworkField) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(field) if eqx.is_inexact_array(leaf)]


def variant(name: str) -> NetworkField | None:
    """A model of `VARIANTS`, or None where it has not been trained."""
    file = WEIGHTS / f"{name}.npz"
    return read_field(file) if file.exists() else None


def coupled_variants() -> dict[str, NetworkField]:
    """The models of all images with other couplings that have been trained, by name."""
    named = {label: variant(name) for name, label in COUPLED.items()}
    return {f"all images, {label}": field for label, field in named.items() if field is not None}


def seeded_variants() -> dict[str, tuple[NetworkField, NetworkField, NetworkField]]:
    """The two main models trained with other seeds, and the second one's early checkpoint, by seed.

    Where all of them have been trained.
    """
    trainings = {}
    for seed in SEEDS:
        general, copying = variant(f"general-seed-{seed}"), with_early(f"memorizing-seed-{seed}")
        if general is not None and copying is not None:
            trainings[f"{seed}"] = general, *copying
    return trainings


def copying_variants() -> dict[str, tuple[NetworkField, NetworkField]]:
    """The models of few images trained with other seeds, by seed, with their early checkpoints."""
    named = {f"{seed}": with_early(f"memorizing-seed-{seed}") for seed in SEEDS}
    return {seed: pair for seed, pair in named.items() if pair is not None}


def with_early(name: str) -> tuple[NetworkField, NetworkField] | None:
    """A model that copies and its checkpoint from before it did, where both are there."""
    later, early = variant(name), variant(f"{name}-step-{_FEW.marks[0]}")
    return None if later is None or early is None else (later, early)


def mean_image(data: Images) -> np.ndarray:
    """The mean of the images, shape (height, width, channels)."""
    return data.images.mean(axis=0, dtype=np.float64).astype(data.images.dtype)
