"""`kinetic-jax copies`."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

from kinetic_jax._arrays import load_array
from kinetic_jax._checks import require
from kinetic_jax._cli._copies_samples import (
    Drawing,
    Scored,
    Wanted,
    checked,
    first_checkpoint,
    number_in,
    rows_of,
    scored,
    source_of,
)
from kinetic_jax._cli._options import (
    FILE,
    ROWS,
    answer,
    check_output,
    estimate_as_json,
    plot_option,
    rows_or_null,
    share_as_json,
    warn,
)
from kinetic_jax._cli._sample import find_field
from kinetic_jax._files import write_whole
from kinetic_jax._interrupt import advice_on_interrupt
from kinetic_jax.copies import STATISTICS, CopyDetector, CopyFeatures
from kinetic_jax.copies._checkpoints import share_snapped
from kinetic_jax.copies._features import features_digest, model_digest
from kinetic_jax.metrics import Memorization, memorization, roc_auc
from kinetic_jax.networks import NetworkField

SHOWN = 12  # samples in the picture
SNAP, CONFIDENCE = "snap", 0.95
LEAST, LEAST_OF_EACH = 10, 5  # samples, and copies and others, that a detector is fitted on
EVERY_OTHER = slice(0, None, 2)  # of the samples: those that it is fitted on, if labels are known


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
@click.option(
    "--samples",
    type=ROWS,
    help="A finished folder of `kinetic-jax sample`, or samples in the scale of the raw data: a "
    "file, FILE.npz:NAME or a folder of pictures.",
)
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
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the samples, if they are drawn here.",
)
@click.option("--detector", type=FILE, help="A file that --save wrote; else one is fitted here.")
@click.option("--transfer", is_flag=True, help="Use a detector that was fitted on another model.")
@click.option("--save", type=FILE, help="Write the detector to this file (.json).")
@click.option(
    "--train",
    type=ROWS,
    help="The raw training data: which samples are copies is then known. Without --detector, one "
    "is fitted on every other sample, and tested on the rest; if too few are copies or others, by "
    "--earlier alone.",
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
    on labels (--train) or without (--earlier). The latter needs a model that copies some samples
    and not all, and an earlier checkpoint that copies none. Samples that are not finite have no
    risk (null).
    """
    _check_options(detector, train, earlier, earliest, samples)
    if save is not None:
        check_output(save, ".json")
    with advice_on_interrupt("nothing was written; a job in a folder of `sample` stays"):
        model = find_field(field)
        before = None if earlier is None else find_field(earlier, name="--earlier")
        if plot is not None:
            _require_images(model)
        known = None if detector is None else CopyDetector.load(detector)
        if known is not None:
            _check_detector(known, model, before, is_transferred=transfer)
        drawing = Drawing(n, num_steps, seed)
        source = source_of(model, samples, drawing)
        few = f"be at least {LEAST} to fit a detector"
        require(known is not None or number_in(source) >= LEAST, "samples", number_in(source), few)
        rows = None if train is None else rows_of("--train", model, load_array(train))
        snapping = None
        if before is not None and earlier is not None:
            snapping = checked(before, first_checkpoint(earlier, earliest), source, drawing)
        own = scored(model, before, source, _wanted(known, rows))
        truth = None if rows is None else _truth(model, own.x1, rows)
        used = _fitted(own.features, truth) if known is None else known
        chosen = own.features.only(used.names)
        risk = used.score(chosen, is_other_model=transfer)
        if save is not None:
            used.save(save)
        result = _result(own, used, risk) | {"earlier_snaps": estimate_as_json(snapping)}
        if truth is not None:
            is_half = features_digest(chosen.rows(EVERY_OTHER)) == used.fitted_on
            result |= _against(truth, risk, is_half=is_half)
        answer(result)
        likely = int((risk > 0.5).sum())
        warn(f"{likely:,} of {len(risk):,} samples are copies rather than not, by this detector")
        if plot is not None:
            _draw(plot, model, own.x1, risk, rows, truth)


def _check_options(
    detector: Path | None,
    train: Path | None,
    earlier: str | None,
    earliest: str | None,
    samples: Path | None,
) -> None:
    if detector is None and train is None and earlier is None:
        raise click.UsageError(
            "give --earlier, --detector or --train: a detector needs one of them"
        )
    if earliest is not None and earlier is None:
        raise click.UsageError("--earliest checks --earlier: give that as well")
    context = click.get_current_context()
    if samples is not None and context.get_parameter_source("n") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--n is of samples that are drawn here: leave it out with --samples")


def _check_detector(
    known: CopyDetector,
    model: NetworkField,
    earlier: NetworkField | None,
    *,
    is_transferred: bool,
) -> None:
    """Refuses models that a detector from a file does not fit, naming the options."""
    needing = [name for name in known.names if name in STATISTICS]
    needing = [name for name in needing if "earlier" in STATISTICS[name].needs]
    if needing and earlier is None:
        raise click.UsageError(f"the detector uses {', '.join(needing)}: give --earlier")
    if is_transferred:
        return
    for option, name, field in (("--field", "model", model), ("--earlier", "earlier", earlier)):
        is_own = field is None or known.settings.get(name) == model_digest(field)
        if not (is_own or (name == "earlier" and not needing)):
            raise click.UsageError(
                f"the detector was fitted with another {option}: give that one, or --transfer to "
                "use the detector all the same"
            )


def _wanted(known: CopyDetector | None, train: np.ndarray | None) -> Wanted:
    """The features of a detector from a file; all with labels; without, snap alone."""
    if known is not None:
        statistics = tuple(name for name in known.names if name in STATISTICS)
        return Wanted(statistics, known.settings.get("bins", 0))
    return Wanted((SNAP,), 0) if train is None else Wanted()


def _require_images(model: NetworkField) -> None:
    shape = model.event_shape
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    require(is_image, "--plot", f"samples of shape {shape}", "be of images")


def _result(scored: Scored, used: CopyDetector, risk: np.ndarray) -> dict[str, Any]:
    """The risks, and which are the greatest."""
    is_known = np.isfinite(risk)
    order = np.argsort(-np.where(is_known, risk, -1), kind="stable")
    snaps = None
    if SNAP in scored.features.names and is_known.sum() >= 2:
        snaps = share_snapped(scored.features.column(SNAP)[is_known], CONFIDENCE)
    return {
        "samples": len(risk),
        "not_finite": np.flatnonzero(~is_known).tolist(),
        "detector": used.kind,
        "features": list(used.names),
        "mean_risk": float(risk[is_known].mean()) if is_known.any() else None,
        "snaps": estimate_as_json(snaps),
        "riskiest": order[: min(SHOWN, int(is_known.sum()))].tolist(),
        "risk": rows_or_null(risk, is_known),
    }


def _truth(model: NetworkField, x1: np.ndarray, train: np.ndarray) -> Memorization:
    raw = np.asarray(model.scaling.invert(x1), np.float32)
    return memorization(raw.reshape(len(raw), -1), train)


def _fitted(features: CopyFeatures, truth: Memorization | None) -> CopyDetector:
    """A detector of labels, if enough are known, fitted on every other sample; else of snap."""
    if truth is None:
        return CopyDetector.without_labels(features)
    half, labels = features.rows(EVERY_OTHER), truth.memorized[EVERY_OTHER]
    is_known = np.isfinite(half.values).all(axis=1)
    counts = [int((labels == kind)[is_known].sum()) for kind in (True, False)]
    if min(counts) >= LEAST_OF_EACH:
        return CopyDetector.fit(half, labels)
    if SNAP in features.names:
        return CopyDetector.without_labels(features.only([SNAP]))
    number, copies = len(truth.memorized), int(truth.memorized.sum())
    raise ValueError(
        f"{copies} of {number} samples are copies of training rows: a detector is fitted on half "
        f"of the samples, and needs {LEAST_OF_EACH} copies and {LEAST_OF_EACH} others among them"
    )


def _against(truth: Memorization, risk: np.ndarray, *, is_half: bool) -> dict[str, Any]:
    """The copies that there are, and whether the risk ranks them first."""
    chosen = np.isfinite(risk) & truth.valid
    if is_half:  # the detector was fitted on these
        chosen[EVERY_OTHER] = False
    is_copy = truth.memorized
    area = None
    if (is_copy & chosen).any() and (~is_copy & chosen).any():
        area = roc_auc(risk[is_copy & chosen], risk[~is_copy & chosen])
    return {
        "memorization": share_as_json(truth),
        "nearest": rows_or_null(truth.indices[:, 0], truth.valid),
        "auc": estimate_as_json(area),
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
    from kinetic_jax.plotting import png, riskiest

    if train is None or truth is None:
        write_whole(file, png(riskiest(x1, risk)))
        return
    raw = np.asarray(train[truth.indices[:, 0]], np.float32).reshape(x1.shape)
    nearest = model.scaling.apply(raw)
    write_whole(file, png(riskiest(x1, risk, nearest=nearest, memorized=truth.memorized)))
