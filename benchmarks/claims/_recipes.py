"""Training recipes of the claims' models: those that ship, and those on other data."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kinetic_jax._digest import digest
from kinetic_jax._pretrained import read_about, write_field
from kinetic_jax.networks import Scaling, network_field
from kinetic_jax.training import fit


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The recipe of one model; it is stored beside the model.

    Attributes:
        network: its name; see `network_field`.
        config: the network's settings.
        num_train: number of images, the first ones; None for all.
        with_labels: True if it receives the class.
        steps: steps of Adam, with a warm-up and a cosine schedule.
        marks: steps after which the field is kept as well, increasing.
        batch_size: rows per step.
        learning_rate: at the top of the schedule.
        cond_dropout: share of samples that see no label, for guidance.
        ema: decay of the average of the weights.
        seed: of the initial weights, batches, times and noise.
    """

    network: str
    config: dict[str, Any]
    num_train: int | None
    with_labels: bool
    steps: int
    marks: tuple[int, ...] = ()
    batch_size: int = 128
    learning_rate: float = 2e-3
    cond_dropout: float = 0.1
    ema: float = 0.999
    seed: int = 0


def shortened(recipe: Recipe, times: int = 10) -> Recipe:
    """The same with fewer steps, for a look: a tenth of each."""
    marks = tuple(max(1, mark // times) for mark in recipe.marks)
    return dataclasses.replace(recipe, steps=max(1, recipe.steps // times), marks=marks)


# All images, with labels: too many of them for its weights to memorise.
GENERAL = Recipe(
    network="mixer",
    config={"patch_size": 4, "width": 96, "depth": 3},
    num_train=None,
    with_labels=True,
    steps=15_000,
)

# Few images, without labels, for long: each weight sees every image thousands of times, and the
# fields at the marks show how copying comes about.
MEMORIZING = Recipe(
    network="mlp",
    config={"width": 384, "depth": 3, "skip": True},
    num_train=1024,
    with_labels=False,
    steps=60_000,
    marks=(250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000),
    learning_rate=1e-3,
)


def train_recipe(
    recipe: Recipe,
    images: np.ndarray,
    labels: np.ndarray | None,
    folder: Path,
    name: str,
    *,
    scaling: Scaling,
    coupling: str = "independent",
    to_the_end: bool = True,
) -> list[Path]:
    """Trains a model and writes it, and its checkpoints, to files; those that are there are kept.

    Killed, the same call goes on from the last of the checkpoints in `folder/NAME-training-…`.

    Args:
        recipe: of the training.
        images: shape (n, height, width, channels), in [−1, 1].
        labels: shape (n,), whole numbers from 0; used if the recipe wants them.
        folder: where the files go.
        name: of the model: NAME.npz, and NAME-step-N.npz for each mark N.
        scaling: from raw images to these; kept with the field.
        coupling: of noise and images; see `fit`.
        to_the_end: or to the last mark alone.

    Returns:
        The files: the trained field (the average of its weights), and the fields at the marks.
    """
    about = {
        "recipe": dataclasses.asdict(recipe),
        "made_of": digest([images, *([] if labels is None else [labels])]),
    }
    if coupling != "independent":
        about |= {"coupling": coupling}
    files = {mark: folder / f"{name}-step-{mark}.npz" for mark in recipe.marks}
    final = folder / f"{name}.npz"
    rows = slice(recipe.num_train)
    cond, num_classes = None, None
    if recipe.with_labels and labels is not None:
        cond, num_classes = jnp.asarray(labels[rows], jnp.int32), int(np.max(labels)) + 1
    keys = jax.random.split(jax.random.key(recipe.seed), 2)
    field = network_field(
        recipe.network,
        images.shape[1:],
        key=keys[0],
        num_classes=num_classes,
        scaling=scaling,
        **recipe.config,
    )
    # One of its own for every recipe and data: a training goes on as it began, or from the start.
    own = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:8]
    optimizer, training = optimizer_of(recipe), folder / f"{name}-training-{own}"
    if to_the_end:
        files |= {recipe.steps: final}
    for stop, file in files.items():
        if file.exists():
            require_alike(file, about)
            continue
        result = fit(
            field,
            jnp.asarray(images[rows]),
            key=keys[1],
            num_steps=stop,
            optimizer=optimizer,
            batch_size=recipe.batch_size,
            cond=cond,
            cond_dropout=0.0 if cond is None else recipe.cond_dropout,
            coupling=coupling,
            ema=recipe.ema,
            checkpoint_dir=training,
            checkpoint_every=500,
        )
        write_field(file, result.ema_field, step=stop, **about)
    return list(files.values())


def require_alike(file: Path, about: dict[str, Any]) -> None:
    """Refuses a model that is there but was trained otherwise than `about` says.

    Raises:
        ValueError: naming the file.
    """
    stored = read_about(file)
    for name, value in json.loads(json.dumps(about)).items():
        if stored.get(name) != value:
            what = "other images" if name == "made_of" else f"another {name}"
            raise ValueError(f"{file} is a model of {what}: choose another folder or take it away")


def optimizer_of(recipe: Recipe) -> optax.GradientTransformation:
    """Adam with the recipe's schedule, on clipped gradients."""
    warm = max(1, min(500, recipe.steps // 10))
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, warm, recipe.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
