"""`kinetic-jax copies`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._cli._options import (
    FILE,
    FOLDER,
    ROWS,
    answer,
    plot_option,
    rows_or_null,
    share_as_json,
)
from kinetic_jax._cli._sample import find_field
from kinetic_jax._files import write_whole
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax._pretrained import MODELS, pretrained, pretrained_steps
from kinetic_jax._progress import progress_bar
from kinetic_jax.copies import CopyDetector, CopyFeatures, check_earlier, copy_features
from kinetic_jax.jobs import Job, open_job
from kinetic_jax.metrics import Estimate, Memorization, memorization, roc_auc
from kinetic_jax.networks import NetworkField
from kinetic_jax.sampling import noise, sample

BATCH = 500
CHECKED = 500  # samples of the earlier checkpoint
BINS = 20  # of a profile with two steps or more in each
SHOWN = 12  # samples in the picture


class Scored(NamedTuple):
    """Samples with their features.

    Attributes:
        x1: the samples, in the field's scale.
        features: for the detector.
    """

    x1: np.ndarray
    features: CopyFeatures


class Drawing(NamedTuple):
    """How samples are drawn, if there is no job."""

    n: int
    num_steps: int
    seed: int


@click.command("copies")
@click.option("--field", required=True, help="The model: as for `kinetic-jax sample`.")
@click.option(
    "--earlier",
    help="A checkpoint of the model from before it copied (NAME@STEP for an included one): with it "
    "copies are recognised without labels and training data.",
)
@click.option(
    "--earliest",
    help="A checkpoint from before --earlier, which is refused if it copies itself, by its own "
    "snap; by default the first one of an included model.",
)
@click.option("--samples", type=FOLDER, help="A finished folder of `kinetic-jax sample`.")
@click.option(
    "--n",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Number of samples, if they are drawn here.",
)
@click.option(
    "--num-steps",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Euler steps, if they are drawn here.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all noise."
)
@click.option("--detector", type=FILE, help="A file that --save wrote; else one is fitted here.")
@click.option("--transfer", is_flag=True, help="Use a detector that was fitted on another model.")
@click.option("--save", type=FILE, help="Write the detector to this file (.json).")
@click.option(
    "--train",
    type=ROWS,
    help="The raw training data: which samples are copies is then known. Without --detector, one "
    "is fitted on every other sample, and tested on the rest.",
)
@plot_option("Write the riskiest samples to this picture (.png), above their nearest images.")
def command(
    field: str,
    earlier: str | None,
    earliest: str | None,
    samples: Path | None,
    n: int,
    num_steps: int,
    seed: int,
    detector: Path | None,
    transfer: bool,
    save: Path | None,
    train: Path | None,
    plot: Path | None,
) -> None:
    """The risk that each sample is a copy of a training row, as JSON on standard output.

    It is the probability by a detector: one from a file (--detector), or one that is fitted here,
    on labels (--train) or without (--earlier). Samples that are not finite have no risk (null).
    """
    if detector is None and train is None and earlier is None:
        raise click.UsageError("give --earlier, --detector or --train: a detector needs one of them")
    if earliest is not None and earlier is None:
        raise click.UsageError("--earliest checks --earlier: give that as well")
    with advice_on_interrupt("nothing was written; a job in a folder of `sample` stays"):
        model = find_field(field)
        before = None if earlier is None else find_field(earlier)
        known = None if detector is None else CopyDetector.load(detector)
        job, drawing = (
            None if samples is None else open_job(samples).check(),
            Drawing(n, num_steps, seed),
        )
        snapping = (
            None if before is None else _checked(before, _first(earlier, earliest), job, drawing)
        )
        scored = _scored(model, before, job, drawing)
        rows = None if train is None else load_array(train)
        truth = None if rows is None else _truth(model, scored.x1, rows)
        used = known if known is not None else _fitted(scored.features, truth)
        risk = used.score(scored.features, is_other_model=transfer)
        if save is not None:
            used.save(save)
        if plot is not None:
            _draw(plot, model, scored.x1, risk, rows, truth)
    is_known = np.isfinite(risk)
    order = np.argsort(-np.where(is_known, risk, -1), kind="stable")
    result: dict[str, Any] = {
        "samples": len(risk),
        "not_finite": np.flatnonzero(~is_known).tolist(),
        "detector": used.kind,
        "features": list(used.names),
        "earlier_snaps": None
        if snapping is None
        else {"fraction": snapping.value, "interval": [snapping.low, snapping.high]},
        "share": float(risk[is_known].mean()) if is_known.any() else None,
        "riskiest": order[: min(SHOWN, int(is_known.sum()))].tolist(),
        "risk": rows_or_null(risk, is_known),
    }
    if truth is not None:
        result |= _against(truth, risk, fitted=known is None)
    answer(result)


def _scored(
    model: NetworkField,
    earlier: NetworkField | None,
    job: Job | None,
    drawing: Drawing,
) -> Scored:
    """The samples of a job, or new ones, batch by batch."""
    key = jax.random.key(drawing.seed)
    options: dict[str, Any] = {"key": key, "earlier": earlier, "progress": False}
    number = drawing.n if job is None else job.n
    source = _drawn(model, drawing) if job is None else _of_job(job)
    x1, features = [], []
    with progress_bar("copies", number) as update:
        for part, cond in source:
            profile = part.profile
            bins = BINS if profile is not None and len(profile.ts) >= 2 * BINS else 0
            features.append(copy_features(model, part, cond=cond, bins=bins, **options))
            x1.append(np.asarray(part.x1))
            update(sum(map(len, x1)), "")
    return Scored(np.concatenate(x1), features[0].joined(features[1:]))


def _first(earlier: str | None, earliest: str | None) -> NetworkField | None:
    """The checkpoint that `earlier` is checked with: the given one, or an included model's first.

    None if there is none.
    """
    if earliest is not None:
        return find_field(earliest)
    name, _, step = str(earlier).partition("@")
    if name not in MODELS or Path(str(earlier)).exists():
        return None
    before = [other for other in pretrained_steps(name) if not step or other < int(step)]
    return pretrained(name, step=before[0]) if before else None


def _checked(
    earlier: NetworkField, earliest: NetworkField | None, job: Job | None, drawing: Drawing
) -> Estimate | None:
    """The share of samples of `earlier` that snap; raises if it copies. None if it is not known."""
    if earliest is None:
        return None
    cond = None if job is None else next(iter(job.shards())).label
    size = CHECKED if cond is None else min(CHECKED, len(cond))
    key = jax.random.key(drawing.seed)
    x0 = noise(key, jnp.arange(size), earlier.event_shape)
    cond = None if cond is None else cond[:size]
    run = sample(earlier, x0, cond, num_steps=drawing.num_steps)
    return check_earlier(earlier, earliest, run.x1, cond, key=key)


def _of_job(job: Job) -> Iterator[tuple[Any, Any]]:
    for shard in job.shards():
        yield shard, shard.label


def _drawn(model: NetworkField, drawing: Drawing) -> Iterator[tuple[Any, Any]]:
    require(model.num_classes is None, "--samples", None, "be given for a model with labels")
    for start in range(0, drawing.n, BATCH):
        rows = jnp.arange(start, min(start + BATCH, drawing.n))
        x0 = noise(jax.random.key(drawing.seed), rows, model.event_shape)
        yield sample(model, x0, num_steps=drawing.num_steps), None


def _truth(model: NetworkField, x1: np.ndarray, train: np.ndarray) -> Memorization:
    raw = np.asarray(model.scaling.invert(x1), np.float32)
    return memorization(raw.reshape(len(raw), -1), train.reshape(len(train), -1))


def _fitted(features: CopyFeatures, truth: Memorization | None) -> CopyDetector:
    """A detector of labels, if they are known, fitted on every other sample."""
    if truth is None:
        return CopyDetector.without_labels(features)
    half = slice(0, None, 2)
    return CopyDetector.fit(features.rows(half), truth.memorized[half])


def _against(truth: Memorization, risk: np.ndarray, *, fitted: bool) -> dict[str, Any]:
    """The copies that there are, and whether the risk ranks them first."""
    chosen = np.isfinite(risk) & truth.valid
    if fitted:  # on the others
        chosen[::2] = False
    is_copy = truth.memorized
    area = None
    if (is_copy & chosen).any() and (~is_copy & chosen).any():
        area = roc_auc(risk[is_copy & chosen], risk[~is_copy & chosen])
    return {
        "memorization": share_as_json(truth),
        "nearest": rows_or_null(truth.indices[:, 0], truth.valid),
        "auc": None if area is None else {"value": area.value, "interval": [area.low, area.high]},
        "tested_on": int(chosen.sum()),
    }


def _draw(
    file: Path,
    model: NetworkField,
    x1: np.ndarray,
    risk: np.ndarray,
    train: np.ndarray | None,
    truth: Memorization | None,
) -> None:
    from kinetic_jax.plotting import image_grid, png

    is_image = x1.ndim == 3 or (x1.ndim == 4 and x1.shape[3] in (1, 3))
    require(is_image, "--plot", f"samples of shape {x1.shape[1:]}", "be of images")
    known = np.flatnonzero(np.isfinite(risk))
    order = known[np.argsort(-risk[known], kind="stable")]
    middle = np.abs(risk[order] - 0.5).argsort(kind="stable")[:SHOWN]
    picks = {
        "riskiest": order[:SHOWN],
        "doubtful": order[np.sort(middle)],
        "least risky": order[::-1][:SHOWN],
    }
    nearest = framed = None
    if train is not None and truth is not None:
        rows = {name: truth.indices[places, 0] for name, places in picks.items()}
        nearest = {
            name: np.asarray(model.scaling.apply(np.asarray(train[numbers], np.float32))).reshape(
                len(numbers), *x1.shape[1:]
            )
            for name, numbers in rows.items()
        }
        framed = {name: truth.memorized[places] for name, places in picks.items()}
    labelled = {
        f"{name}\n{risk[places].min():.2f} to {risk[places].max():.2f}": places
        for name, places in picks.items()
    }
    renamed = dict(zip(picks, labelled, strict=True))

    def by_label(parts: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
        return None if parts is None else {renamed[name]: part for name, part in parts.items()}

    figure = image_grid(
        {label: x1[places] for label, places in labelled.items()},
        nearest=by_label(nearest),
        framed=by_label(framed),
        columns=SHOWN,
    )
    write_whole(file, png(figure))
