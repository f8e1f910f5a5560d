"""What the claims are measured on: images, models, and the classifier that judges samples."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from kinetic_jax.data import Images, load_images
from kinetic_jax.experiments._judge import train_classifier
from kinetic_jax.experiments._recipes import GENERAL, MEMORIZING, Recipe, train_recipe
from kinetic_jax.metrics import Memorization, memorization
from kinetic_jax.networks import ImageClassifier, NetworkField
from kinetic_jax.pretrained import (
    pretrained,
    pretrained_classifier,
    pretrained_steps,
    read_classifier,
    read_field,
    write_classifier,
    write_field,
)

FEW = 1024  # images of the model that copies
BATCH = 1000  # samples in memory together


@dataclasses.dataclass(frozen=True)
class Subjects:
    """The data and the models of one set of claims.

    Attributes:
        data: all images; nothing is trained on those held out.
        general: the flow of all images, with labels.
        memorizing: the flow of the first 1,024, without labels.
        checkpoints: that flow along its training, by step.
        judge: the classifier.
        trained: whether the models are this run's own, not those of the package.
    """

    data: Images
    general: NetworkField
    memorizing: NetworkField
    checkpoints: dict[int, NetworkField]
    judge: ImageClassifier
    trained: bool = False

    @property
    def few(self) -> np.ndarray:
        """The images that `memorizing` was trained on."""
        return self.data.images[:FEW]

    def features(self, images: np.ndarray) -> np.ndarray:
        """The classifier's features, shape (n, d)."""
        return _in_batches(_features, self.judge, images)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The classifier's logits, shape (n, classes)."""
        return _in_batches(_logits, self.judge, images)

    @functools.cached_property
    def held_out_features(self) -> np.ndarray:
        """Features of the held-out images: what Fréchet distances are measured to."""
        return self.features(self.data.held_out)

    @functools.cached_property
    def held_out_memorization(self) -> Memorization:
        """What held-out images score against the 1,024: the floor of F_mem."""
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


def shipped_subjects(data: str | Path | None = None) -> Subjects:
    """Fashion-MNIST and the models that come with the package."""
    name = "fashion-mnist-1024"
    memorizing = pretrained(name)
    checkpoints = {step: pretrained(name, step=step) for step in pretrained_steps(name)}
    return Subjects(
        load_images("fashion-mnist", data=data),
        pretrained("fashion-mnist"),
        memorizing,
        checkpoints | {MEMORIZING.steps: memorizing},
        pretrained_classifier(),
    )


def trained_subjects(
    data: Images, folder: Path, general: Recipe = GENERAL, memorizing: Recipe = MEMORIZING,
    *, epochs: int | None = None,
) -> Subjects:  # fmt: skip
    """Models of other images, trained in `folder`, or read from it if they are there.

    Raises:
        ValueError: if the images have no labels, or there are too few of them.
    """
    data = with_held_out(data)
    if data.labels is None:
        raise ValueError(f"{data.name} must have labels: the claims are about classes")
    folder.mkdir(parents=True, exist_ok=True)
    judge_file = folder / "classifier.npz"
    if not judge_file.exists():
        more = {} if epochs is None else {"epochs": epochs}
        write_classifier(judge_file, train_classifier(data, **more))
    fields = {}
    for name, recipe in (("general", general), ("memorizing", memorizing)):
        wanted = [folder / f"{name}.npz", *(folder / f"{name}-step-{m}.npz" for m in recipe.marks)]
        if not all(file.exists() for file in wanted):
            about = {"recipe": dataclasses.asdict(recipe)}
            final, marks = train_recipe(
                recipe, data.images, data.labels, folder / f"{name}-training"
            )
            for file, field in zip(wanted, [final, *marks.values()], strict=True):
                write_field(file, field, **about)
        fields[name] = [read_field(file) for file in wanted]
    memorized = fields["memorizing"]
    along = dict(zip(memorizing.marks, memorized[1:], strict=True))
    return Subjects(
        data, fields["general"][0], memorized[0], along | {memorizing.steps: memorized[0]},
        read_classifier(judge_file), trained=True,
    )  # fmt: skip


def with_held_out(data: Images, share: float = 1 / 6) -> Images:
    """`data` if it has held-out images; else with some of its own, drawn by a fixed seed."""
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
