"""The subjects of the claims: images, models, and the classifier that judges samples."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from benchmarks.claims._judge import EPOCHS, accuracy, train_classifier
from benchmarks.claims._recipes import (
    GENERAL,
    MEMORIZING,
    Recipe,
    require_alike,
    shortened,
    train_recipe,
)
from benchmarks.claims._variants import (
    copying_variants,
    coupled_variants,
    mean_image,
    seeded_variants,
    variant,
    with_early,
)
from kinetic_jax._checks import require
from kinetic_jax._digest import digest
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._pretrained import (
    pretrained,
    pretrained_classifier,
    pretrained_steps,
    read_classifier,
    read_field,
    write_classifier,
)
from kinetic_jax.data import Images, load_images
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import FrechetReference, Memorization, memorization
from kinetic_jax.networks import ImageClassifier

LEAST_HELD_OUT = 10  # in a half of them
MOST_OTHERS = 4  # times as many images as are copied
BATCH = 1000  # samples in memory together


@dataclasses.dataclass(frozen=True)
class Subjects:
    """The data and the models of one set of claims.

    Attributes:
        data: all images; nothing is trained on those held out.
        general: the flow of all images, with labels.
        memorizing: the flow of the first few (1,024 of Fashion-MNIST), without labels.
        checkpoints: that flow along its training, by step.
        judge: the classifier.
        folder: where models are trained that do not come with the package.
        recipe: of `memorizing`.
        control: the same network trained on all images, by step; None before it is trained.
        centred: `general` trained on images less their mean, if it was.
        couplings: `general` trained with other couplings, by name.
        seeds: `general` and `memorizing` trained with other seeds, with the early checkpoint of
            the second one, by seed.
        copying: `memorizing` trained with other seeds, by seed, with its early checkpoint.
        labelled: `memorizing` trained with labels, with its early checkpoint, if it was.
        trained: True if the models are this run's own, not those of the package.
    """

    data: Images
    general: VelocityField
    memorizing: VelocityField
    checkpoints: dict[int, Any]
    judge: ImageClassifier
    folder: Path
    recipe: Recipe = MEMORIZING
    control: dict[int, Any] | None = None
    centred: VelocityField | None = None
    couplings: Mapping[str, VelocityField] = dataclasses.field(default_factory=dict)
    seeds: Mapping[str, tuple[VelocityField, VelocityField, VelocityField]] = dataclasses.field(
        default_factory=dict
    )
    copying: Mapping[str, tuple[VelocityField, VelocityField]] = dataclasses.field(
        default_factory=dict
    )
    labelled: tuple[VelocityField, VelocityField] | None = None
    trained: bool = False

    @property
    def few(self) -> np.ndarray:
        """The images that `memorizing` was trained on."""
        return self.data.images[: self.recipe.num_train]

    def nearest_step(self, share: float) -> int:
        """The step of the checkpoint nearest to a share of the training."""
        wanted = share * max(self.checkpoints)
        return min(self.checkpoints, key=lambda step: abs(step - wanted))

    def features(self, images: np.ndarray) -> np.ndarray:
        """The classifier's features, shape (n, d)."""
        return _in_batches(_features, self.judge, images)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The classifier's logits, shape (n, classes)."""
        return _in_batches(_logits, self.judge, images)

    @functools.cached_property
    def mean_image(self) -> np.ndarray:
        """The mean of the images."""
        return mean_image(self.data)

    @functools.cached_property
    def held_out_features(self) -> np.ndarray:
        """Features of the held-out images: what Fréchet distances are measured to."""
        return self.features(self.data.held_out)

    @functools.cached_property
    def frechet(self) -> FrechetReference:
        """The Fréchet distance of features from those of the held-out images."""
        return FrechetReference(self.held_out_features)

    @functools.cached_property
    def held_out_memorization(self) -> Memorization:
        """Memorisation of held-out images against the 1,024: the floor of F_mem."""
        return memorization(self.data.held_out, self.few)


@eqx.filter_jit
def _features(judge: ImageClassifier, images: Any) -> Any:
    return judge.features(images)


@eqx.filter_jit
def _logits(judge: ImageClassifier, images: Any) -> Any:
    return judge(images)


def _in_batches(fn: Any, judge: ImageClassifier, images: np.ndarray) -> np.ndarray:
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([np.asarray(fn(judge, part)) for part in parts])


def shipped_subjects(folder: PathLike, data: PathLike | None = None) -> Subjects:
    """Fashion-MNIST and the models that come with the package."""
    folder = local_path("folder", folder)
    return with_shipped_models(load_images("fashion-mnist", data=data), folder)


def with_shipped_models(data: Images, folder: Path) -> Subjects:
    """Some images and the models that come with the package."""
    name = "fashion-mnist-1024"
    memorizing = pretrained(name)
    checkpoints = {step: pretrained(name, step=step) for step in pretrained_steps(name)}
    return Subjects(
        data,
        pretrained("fashion-mnist"),
        memorizing,
        checkpoints | {MEMORIZING.steps: memorizing},
        pretrained_classifier(),
        folder,
        centred=variant("general-centred"),
        couplings=coupled_variants(),
        seeds=seeded_variants(),
        copying=copying_variants(),
        labelled=with_early("memorizing-labels"),
    )


def with_control(subjects: Subjects, steps: int) -> Subjects:
    """With the network of `memorizing` trained on all images, up to some of its steps.

    Unchanged if there are few more images than those that are copied.
    """
    data, recipe = subjects.data, subjects.recipe
    if not _enough(data, recipe):
        return subjects
    marks = tuple(mark for mark in recipe.marks if mark <= steps)
    control = dataclasses.replace(recipe, num_train=None, marks=marks)
    # A folder of its own for every recipe and data: after a change it is trained again.
    own = digest([data.images, np.array(repr(control))])[:8]
    folder = subjects.folder / f"control-{own}"
    train_recipe(
        control, data.images, None, folder, "control", scaling=data.scaling, to_the_end=False
    )
    files = {mark: folder / f"control-step-{mark}.npz" for mark in marks}
    return dataclasses.replace(
        subjects, control={mark: read_field(file) for mark, file in files.items()}
    )


def _enough(data: Images, recipe: Recipe) -> bool:
    """True if most images are not among the copied ones."""
    return recipe.num_train is not None and len(data.images) >= MOST_OTHERS * recipe.num_train


def trained_subjects(
    data: Images,
    folder: PathLike,
    general: Recipe = GENERAL,
    memorizing: Recipe = MEMORIZING,
    *,
    epochs: int = EPOCHS,
    quick: bool = False,
) -> Subjects:
    """Models of other images, trained in `folder`, or read from it if they are there.

    `quick`: for a tenth of the steps.

    Raises:
        ValueError: if the images have no labels, or too few classes or images.
    """
    folder, data = local_path("folder", folder), with_held_out(data)
    memorizing = of_few(memorizing, data)
    if quick:
        general, memorizing, epochs = shortened(general), shortened(memorizing), epochs // 4
    train_models(data, folder, general, memorizing, epochs=epochs)
    along = {mark: read_field(folder / f"memorizing-step-{mark}.npz") for mark in memorizing.marks}
    memorized = read_field(folder / "memorizing.npz")
    return Subjects(
        data,
        read_field(folder / "general.npz"),
        memorized,
        along | {memorizing.steps: memorized},
        read_classifier(folder / "classifier.npz"),
        folder,
        memorizing,
        trained=True,
    )


def fitting(recipe: Recipe, event_shape: tuple[int, ...]) -> Recipe:
    """The recipe with patches that divide the images: of the recipe's side, or a smaller one."""
    if "patch_size" not in recipe.config:
        return recipe
    height, width, _ = event_shape
    sides = range(recipe.config["patch_size"], 0, -1)
    side = next(side for side in sides if height % side == width % side == 0)
    return dataclasses.replace(recipe, config=recipe.config | {"patch_size": side})


def of_few(recipe: Recipe, data: Images) -> Recipe:
    """The recipe with at most a quarter of the images, so that most are not among the copied."""
    if recipe.num_train is None:
        return recipe
    most = max(1, len(data.images) // MOST_OTHERS)
    return dataclasses.replace(recipe, num_train=min(recipe.num_train, most))


def train_models(
    data: Images,
    folder: PathLike,
    general: Recipe = GENERAL,
    memorizing: Recipe = MEMORIZING,
    *,
    epochs: int = EPOCHS,
    say: Callable[[str], None] = lambda message: None,
) -> None:
    """Trains classifier, `general` and `memorizing` to files in `folder`; goes on after a kill.

    The classifier does not see the images that `memorizing` copies, at most a quarter of all.

    Args:
        data: images with labels, and some held out.
        folder: made if it is not there; models in it are kept.
        general: recipe of the flow of all images.
        memorizing: recipe of the flow of few.
        epochs: of the classifier.
        say: callback for messages on how long each took.

    Raises:
        ValueError: if the images have no labels, or the folder has models of other images or
            recipes.
    """
    folder = local_path("folder", folder)
    if data.labels is None:
        raise ValueError(f"{data.name} must have labels: the claims are about classes")
    require((data.num_classes or 0) >= 2, f"{data.name}", data.num_classes, "have two classes")
    least, number = 2 * LEAST_HELD_OUT, len(data.held_out)
    require(number >= least, f"{data.name}", f"{number} held out", f"have {least} images held out")
    general, memorizing = fitting(general, data.event_shape), of_few(memorizing, data)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    file = folder / "classifier.npz"
    judging = _for_judge(data, memorizing)
    about = {"made_of": digest([judging.images, judging.labels]), "epochs": epochs}
    if file.exists():
        require_alike(file, about)
    else:
        classifier = train_classifier(judging, epochs=epochs)
        others = data.held_out_labels
        right = None if others is None else accuracy(classifier, data.held_out, others)
        write_classifier(file, classifier, accuracy=right, **about)
        suffix = "" if right is None else f", right on {100 * right:.2f}% held out"
        say(f"classifier: {time.monotonic() - began:.0f} s{suffix}")
    for name, recipe in (("general", general), ("memorizing", memorizing)):
        began = time.monotonic()
        train_recipe(recipe, data.images, data.labels, folder, name, scaling=data.scaling)
        say(f"{name}: {time.monotonic() - began:.0f} s")


def _for_judge(data: Images, recipe: Recipe) -> Images:
    """`data` without the images that are copied, where that leaves most of them.

    A classifier that has seen them is more confident of a copy than of another sample of its class.
    """
    if data.labels is None or not _enough(data, recipe):
        return data
    rest = slice(recipe.num_train, None)
    return data._replace(images=data.images[rest], labels=data.labels[rest])


def with_held_out(data: Images, share: float = 1 / 6) -> Images:
    """`data` if it has held-out images; else with some of its own, drawn by a fixed seed.

    Images of which the first ones, which are to be copied, lack a class are mixed.
    """
    labels, few = data.labels, of_few(MEMORIZING, data).num_train
    if labels is not None and len(np.unique(labels[:few])) < len(np.unique(labels)):
        order = np.random.default_rng(1).permutation(len(labels))
        data = data._replace(images=data.images[order], labels=labels[order])
    if len(data.held_out):
        return data
    order = np.random.default_rng(0).permutation(len(data.images))
    kept, out = np.split(order, [len(order) - int(share * len(order))])
    labels = data.labels
    return data._replace(
        images=data.images[kept],
        labels=None if labels is None else labels[kept],
        held_out=data.images[out],
        held_out_labels=None if labels is None else labels[out],
    )
