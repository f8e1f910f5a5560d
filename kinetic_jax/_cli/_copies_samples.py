"""The samples of `kinetic-jax copies`: of a job, of a file, or drawn; and their features."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._cli._sample import find_field
from kinetic_jax._pretrained import MODELS, pretrained, pretrained_steps
from kinetic_jax._progress import progress_bar
from kinetic_jax.copies import CopyFeatures, check_earlier, copy_features
from kinetic_jax.copies._features import Samples
from kinetic_jax.jobs import Job, open_job
from kinetic_jax.jobs._description import DESCRIPTION
from kinetic_jax.metrics import Estimate
from kinetic_jax.networks import NetworkField
from kinetic_jax.sampling import KineticProfile, noise, sample

BATCH = 200
BINS = 20  # of a profile with two steps or more in each
CHECKED = 500  # samples of the earlier checkpoint
KEY = 0  # of the noise of the statistics: always the same, so that a saved detector fits


class Scored(NamedTuple):
    """Samples with their features.

    Attributes:
        x1: the samples, in the field's scale.
        features: for the detector.
    """

    x1: np.ndarray
    features: CopyFeatures


class Drawing(NamedTuple):
    """Settings of samples that are drawn here."""

    n: int
    num_steps: int
    seed: int


class Given(NamedTuple):
    """Samples, perhaps with the profile of their paths."""

    x1: Any
    status: Any
    profile: KineticProfile | None = None


class Wanted(NamedTuple):
    """The features that are computed; None for all that there are."""

    statistics: tuple[str, ...] | None = None
    bins: int | None = None


Source = Job | Given | Drawing


def source_of(model: NetworkField, folder: Path | None, drawing: Drawing) -> Source:
    """A finished job, samples in files, or those to be drawn.

    Raises:
        ValueError: if the samples are not of the model, or it needs labels to be sampled.
    """
    if folder is None:
        expected = "be given for a model with labels: those that `kinetic-jax sample` wrote"
        require(model.num_classes is None, "--samples", None, expected)
        return drawing
    if (folder / DESCRIPTION).exists():
        return open_job(folder).check().check_field(model)
    expected = "be a folder of `kinetic-jax sample`, as the model has labels"
    require(model.num_classes is None, "--samples", folder, expected)
    raw = rows_of("--samples", model, load_array(folder))
    x1 = np.asarray(model.scaling.apply(raw.astype(np.float32)))
    return Given(x1.reshape(len(x1), *model.event_shape), np.zeros(len(x1), np.int32))


def number_in(source: Source) -> int:
    """The number of samples."""
    return len(source.x1) if isinstance(source, Given) else source.n


def rows_of(name: str, model: NetworkField, array: np.ndarray) -> np.ndarray:
    """Raw data as rows of the size of a sample."""
    size, shape = int(np.prod(model.event_shape)), array.shape
    fits = array.ndim >= 2 and int(np.prod(shape[1:])) == size
    require(fits, name, f"shape {shape}", f"have {size} numbers in each row, as a sample has")
    return array.reshape(len(array), size)


def scored(
    model: NetworkField, earlier: NetworkField | None, source: Source, wanted: Wanted
) -> Scored:
    """The samples and their features, batch by batch."""
    x1, features, number = [], [], number_in(source)
    with progress_bar("copies", number) as update:
        for part, cond in _batches(model, source):
            profile = part.profile
            bins = BINS if profile is not None and len(profile.ts) >= 2 * BINS else 0
            own = copy_features(
                model,
                part,
                key=jax.random.key(KEY),
                earlier=earlier,
                cond=cond,
                statistics=wanted.statistics,
                bins=bins if wanted.bins is None else wanted.bins,
                batch_size=BATCH,
                progress=False,
            )
            features.append(own)
            x1.append(np.asarray(part.x1))
            update(sum(map(len, x1)), "")
    return Scored(np.concatenate(x1), features[0].joined(features[1:]))


def _batches(model: NetworkField, source: Source) -> Iterator[tuple[Samples, Any]]:
    if isinstance(source, Job):
        for shard in source.shards():
            yield shard, shard.label
        return
    number = number_in(source)
    for start in range(0, number, BATCH):
        rows = slice(start, min(start + BATCH, number))
        if isinstance(source, Given):
            yield Given(source.x1[rows], source.status[rows]), None
        else:
            yield _drawn(model, source, rows), None


def _drawn(model: NetworkField, drawing: Drawing, rows: slice) -> Given:
    """Drawn samples; the last batch is filled up, so that nothing is compiled for its size."""
    index = jnp.arange(rows.start, rows.start + min(BATCH, drawing.n))
    x0 = noise(jax.random.key(drawing.seed), index, model.event_shape)
    run, size = sample(model, x0, num_steps=drawing.num_steps), rows.stop - rows.start
    assert run.profile is not None, "the grid is fixed"
    profile = run.profile
    own = KineticProfile(profile.ts, profile.speed2[:size], profile.bend2[:size])
    return Given(run.x1[:size], run.status[:size], own)


def first_checkpoint(earlier: str, earliest: str | None) -> NetworkField | None:
    """The checkpoint that `earlier` is checked with: the given one, or an included model's first.

    None if there is none.
    """
    if earliest is not None:
        return find_field(earliest, name="--earliest")
    name, _, step = earlier.partition("@")
    if name not in MODELS or Path(earlier).exists():
        return None
    before = [other for other in pretrained_steps(name) if not step or other < int(step)]
    return pretrained(name, step=before[0]) if before else None


def checked(
    earlier: NetworkField, earliest: NetworkField | None, source: Source, drawing: Drawing
) -> Estimate | None:
    """The share of samples of `earlier` that snap; raises if it copies. None if it is not known."""
    if earliest is None:
        return None
    cond = next(iter(source.shards())).label if isinstance(source, Job) else None
    size = CHECKED if cond is None else min(CHECKED, len(cond))
    x0 = noise(jax.random.key(drawing.seed), jnp.arange(size), earlier.event_shape)
    cond = None if cond is None else cond[:size]
    run = sample(earlier, x0, cond, num_steps=drawing.num_steps)
    return check_earlier(earlier, earliest, run.x1, cond, key=jax.random.key(KEY))
