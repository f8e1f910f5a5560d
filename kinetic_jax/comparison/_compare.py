"""`compare`: checkpoints of a training side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffrax
from jaxtyping import ArrayLike, Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import require, short
from kinetic_jax._files import PathLike
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax.comparison._comparison import Comparison
from kinetic_jax.comparison._inputs import (
    Name,
    checked_data,
    checked_folder,
    checked_settings,
    in_order,
    refuse_copying_earliest,
)
from kinetic_jax.comparison._kept import keep_report, kept_file, read_report
from kinetic_jax.comparison._measure import Data, Settings, measured
from kinetic_jax.comparison._recommend import recommendation
from kinetic_jax.comparison._report import ModelReport
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics._features import Embedding


def compare(
    fields: Mapping[Name, VelocityField],
    *,
    key: PRNGKeyArray,
    num_samples: int = 1000,
    cond: PyTree[Any] | None = None,
    event_shape: tuple[int, ...] | None = None,
    num_steps: int = 100,
    solver: diffrax.AbstractSolver | None = None,
    train: Float[ArrayLike, "rows *event"] | None = None,
    held_out: Float[ArrayLike, "others *event"] | None = None,
    embed: Embedding | None = None,
    fewer: Sequence[int] | None = None,
    tolerance: float = 0.01,
    earliest: Name | None = None,
    limit: float = 0.01,
    confidence: float = 0.95,
    batch_size: int = 256,
    folder: PathLike | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Compares checkpoints of one training, and names the last one before it copies.

    All models sample from the same noise, `noise(key, arange(num_samples), event_shape)`, by the
    same steps, so that differences are the models' own.

    **By the data**, with `train`: a model counts as copying until shown otherwise. It is shown not
    to copy if the upper end of the Wilson interval of its F_mem is at most `limit`, or, with
    `held_out`, if the upper end of the Newcombe interval of its excess over the held-out rows'
    share is. The second test is for data of which even new rows exceed `limit`. The recommended
    model is the last before the first that counts as copying. So at the given confidence its
    F_mem is at most `limit`, or at most `limit` above the held-out rows'. If the model after it is
    not clearly above them either, `reason` says that samples or held-out rows are too few.

    **Without them**, by `kinetic_jax.copies.snap` against the earliest model, the log ratio of the
    squared errors with which the two guess a re-noised sample back. It rises with mere improvement
    too, but for all samples alike, and more for copies. A sample *snaps* if

        `snap > min(ln 4, median + ln 2)`,

    that is, if the model's guess is less than half as far from it as the earliest's, or if its
    squared error is less than half of what the median sample's improvement would leave. A model
    copies if the share of samples that snap is clearly above `limit`: the lower end of its interval
    is. This share warns of copies, it does not count them. The rule was chosen on one training,
    that of the included model "fashion-mnist-1024", and is no more than a rule of thumb: an
    earliest model that is hardly trained makes it warn too early, and one shortly before copying
    too late. Take one whose samples are rough but of the right kind.

    Args:
        fields: the models by training step, a whole number (they are put in order), or by name, in
            the order of training; at least two. A model is looked up when it is measured, and may
            be loaded then.
        key: a JAX random key, of the noise.
        num_samples: number of samples of each model; enough to show a share below `limit`: 381 for
            1% at a confidence of 0.95.
        cond: conditions of the samples; each leaf has one row per sample, or a single row for all.
        event_shape: shape of one sample; by default the first model's own, or that of the training
            data.
        num_steps: steps of a uniform grid.
        solver: as in `sample`; Euler's method by default.
        train: the training data in the scale of the fields, shape (rows, *event).
        held_out: data that no model saw, in the same scale and shape.
        embed: maps rows (n, *event) to features (n, d), for the distance to the held-out data. By
            default rows are their own features; of pixels they say little (they prefer blur).
        fewer: numbers of steps whose samples are compared with those of `num_steps`; by default
            those of 5, 10, 20 and 50 that are below it. If the largest misses the tolerance, more
            steps are needed; their number is not measured.
        tolerance: the error allowed for `steps_needed`, that of `FewSteps`.
        earliest: the model, from before copying, against which others snap; the first by default.
        limit: the share of copies up to which a model is recommended, in (0, 1).
        confidence: level of the intervals, in (0, 1).
        batch_size: samples computed together.
        folder: folder for the reports of finished models, from which the same call resumes if it
            was interrupted. Only models by `network_field` are kept (`load_field` and `pretrained`
            return such). Not together with `embed`.
        progress: whether to draw a progress bar; None: on a terminal only.

    Returns:
        The reports of all models in order, the recommended one, and the reason.

    Raises:
        ValueError: if there are fewer than two models, or too few samples to show a share below
            `limit`; keys are neither all steps nor all names; shapes of models and data differ;
            `earliest` is not a key of `fields`, or is a model that copies already, by its own snap
            against the first one; a setting is out of range.

    Example:
        One model knows the mean and variance of four points, the other knows them by heart:

        >>> import jax, jax.numpy as jnp
        >>> import kinetic_jax as kj
        >>> points = 4.0 * jax.random.normal(jax.random.key(0), (4, 2))
        >>> models = {100: kj.GaussianField(points.mean(0), 3.0), 900: kj.EmpiricalField(points)}
        >>> both = kj.compare(models, key=jax.random.key(1), num_samples=400, num_steps=20,
        ...                   fewer=(5,), train=points, limit=0.5)
        >>> both.recommended, both.by_data, both.by_snap
        ('100', '100', '100')
        >>> both[900].f_mem.value
        1.0

    References:
        Liu, Gong and Liu, Flow straight and fast, arXiv 2209.03003 (straightness S).
    """
    models = in_order(fields)
    settings = checked_settings(
        *(fields[models[0]], key, num_samples, cond, event_shape, train, num_steps, solver),
        *(fewer, tolerance, limit, confidence, batch_size),
    )
    first = models[0] if earliest is None else earliest
    is_known = isinstance(first, int | str) and first in models
    require(is_known, "earliest", short(earliest), f"be one of {models}")
    place = checked_folder(folder, embed)
    check_progress(progress)
    data = checked_data(train, held_out, embed, settings)
    if first != models[0]:
        refuse_copying_earliest(fields, models[0], first, settings, limit)
    reports = _reports(fields, models, first, settings, data, place, progress)
    verdict = recommendation(
        *(reports, str(first), limit, settings.confidence),
        held_out=data.held_out_share,
        has_features=embed is not None,
    )
    return Comparison(
        models=tuple(reports),
        earliest=str(first),
        num_steps=settings.num_steps,
        tolerance=settings.tolerance,
        limit=limit,
        confidence=settings.confidence,
        held_out=data.held_out_share,
        **verdict._asdict(),
    )


def _reports(
    fields: Mapping[Name, VelocityField],
    models: list[Name],
    first: Name,
    settings: Settings,
    data: Data,
    folder: Path | None,
    progress: bool | None,
) -> list[ModelReport]:
    """The reports of all models, read from the folder where they are there already."""
    earliest, reports = fields[first], []
    each = settings.num_samples * (1 + len(settings.fewer))
    with progress_bar("samples", each * len(models), show=progress) as show:
        for number, model in enumerate(models):
            name, step = str(model), model if isinstance(model, int) else None
            done = number * each

            def update(count: int, name: str = name) -> None:
                nonlocal done
                done += count
                show(done, name)

            field = fields[model]
            other = earliest if number > models.index(first) else None
            file = None if folder is None else kept_file(folder, field, other, settings, data)
            report = read_report(file, name, step)
            if report is None:
                report = measured(name, step, field, other, settings, data, update)
                keep_report(file, report)
            reports.append(report)
            show((number + 1) * each, name)
    return reports
