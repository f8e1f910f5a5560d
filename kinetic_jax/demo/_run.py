"""`run_demo`: training, sampling, and the files of the report."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from kinetic_jax._arrays import pack
from kinetic_jax._files import PathLike, local_path, write_whole
from kinetic_jax._progress import progress_bar
from kinetic_jax.demo._digits import PIXELS, Digits, split_digits
from kinetic_jax.demo._report import draw, render_report
from kinetic_jax.demo._results import Results, markdown_table
from kinetic_jax.demo._rows import DemoSettings, RowPlan, plan_rows, sample_row
from kinetic_jax.demo._statistics import Judge, Measured, by_fifth, compare, measure
from kinetic_jax.demo._verdict import verdict
from kinetic_jax.networks import NetworkField, network_field
from kinetic_jax.sampling import complete, noise
from kinetic_jax.training import fit, save_field

VERSIONED = ("kinetic_jax", "jax", "flax", "diffrax", "optax", "numpy", "scikit-learn")


def run_demo(
    out: PathLike, settings: DemoSettings, *, quick: bool, say: Callable[[str], None] = print
) -> Results:
    """Runs the demo and writes its files to `out`.

    Interrupted training resumes from `out`. Existing files are replaced atomically.

    Args:
        out: the folder, created if needed.
        settings: see `demo_settings`.
        quick: marks the quick settings in the report.
        say: callback for messages.

    Returns:
        The contents of `results.json`
    """
    out = local_path("out", out)
    out.mkdir(parents=True, exist_ok=True)
    digits = split_digits(settings.num_train, settings.seed)
    say(f"training a flow on {settings.num_train} digits, {settings.training_steps} steps")
    field, resumed_at = train_field(digits, settings, out)
    if resumed_at:
        say(f"{resumed_at} of them were taken by an earlier run, kept in {out / 'training'}")
    save_field(out / "field", field)
    # Raw images, for `kinetic-jax diagnose`.
    raw = {"train": digits.train.images, "held_out": digits.held_out.images}
    raw = {name: field.scaling.invert(images) for name, images in raw.items()}
    write_whole(out / "digits.npz", pack(raw))
    say("training the classifier that judges the samples")
    judge = Judge(digits, settings.seed)
    plans = plan_rows(settings)
    say(f"sampling {len(plans)} rows of {settings.num_samples} trajectories")
    rows = _sample_rows(plans, field, judge, settings)
    results = _results(rows, judge, settings, quick)
    content = json.dumps(dataclasses.asdict(results), indent=2)
    write_whole(out / "results.json", content.encode())
    write_whole(out / "table.md", markdown_table(results).encode())
    pictures = draw(plans, rows, results, digits.train.images)
    (out / "figures").mkdir(exist_ok=True)
    for name, png in pictures.items():
        write_whole(out / "figures" / f"{name}.png", png)
    write_whole(out / "report.html", render_report(results, pictures).encode())
    return results


def train_field(digits: Digits, settings: DemoSettings, out: Path) -> tuple[NetworkField, int]:
    """The trained flow, and the number of training steps taken by an earlier run in `out`."""
    key, key_init, _ = _keys(settings)
    field = network_field(
        "mlp", (8, 8), key=key_init, scaling=PIXELS, width=settings.width, depth=settings.depth
    )
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.training_steps)
    # A folder per configuration, so that other settings do not resume this training.
    config = json.dumps([dataclasses.asdict(settings), field.spec.to_json()], sort_keys=True)
    name = hashlib.sha256(config.encode()).hexdigest()[:12]
    result = fit(
        field,
        digits.train.images,
        key=key,
        num_steps=settings.training_steps,
        optimizer=optax.adam(schedule),
        batch_size=settings.batch_size,
        checkpoint_dir=out / "training" / name,
        checkpoint_every=max(settings.training_steps // 4, 1),
    )
    return result.ema_field, result.resumed_at


def _keys(settings: DemoSettings) -> Array:
    """The keys of training, of the initial weights and of the noise."""
    return jax.random.split(jax.random.key(settings.seed), 3)


def _sample_rows(
    plans: list[RowPlan], field: NetworkField, judge: Judge, settings: DemoSettings
) -> list[Measured]:
    # The same noise for all rows, so that they differ only in the shaping.
    *_, key = _keys(settings)
    x0 = noise(key, jnp.arange(settings.num_samples), field.event_shape)
    rows: list[Measured] = []
    with progress_bar("sampling", len(plans)) as update:
        for plan in plans:
            run = sample_row(plan, field, x0, settings)
            ends = np.asarray(complete(plan.transform(field), run))
            plain = rows[0].run.x1 if rows else run.x1
            rows.append(measure(plan.name, run, ends, np.asarray(plain), judge))
            update(len(rows), plan.name)
    return rows


def _results(rows: list[Measured], judge: Judge, settings: DemoSettings, quick: bool) -> Results:
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    results = Results(
        settings=settings,
        quick=quick,
        versions=versions | {"python": platform.python_version()},
        device=f"{jax.devices()[0].device_kind} ({jax.default_backend()})",
        classifier=judge.scores,
        held_out=judge.held_out,
        rows=[compare(row, rows[0], judge) for row in rows],
        fifths={part: by_fifth(rows[0], part, judge) for part in ("total", "excess")},
        verdict=[],
    )
    return dataclasses.replace(results, verdict=verdict(results))
