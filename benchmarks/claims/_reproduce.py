"""Claims measured one after the other, each kept as soon as it is done."""

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from benchmarks.claims._page import render_page, results_table
from benchmarks.claims._registry import CLAIMS, config_of
from benchmarks.claims._subjects import Subjects
from kinetic_jax._checks import require
from kinetic_jax._digest import digest
from kinetic_jax._files import PathLike, local_path, write_whole
from kinetic_jax._json import without_nan
from kinetic_jax._progress import progress_bar
from kinetic_jax.plotting import png

# Raised whenever the same settings come to measure something else, here for all claims and below
# for one: what was kept is stale then.
MEASUREMENT = 3
CHANGES = {"detector": 1, "reject": 1, "select": 1, "tune": 1}
VERSIONED = ("kinetic_jax", "jax", "jaxlib", "flax", "diffrax", "numpy", "scipy")


def reproduce(
    names: Sequence[str],
    out: PathLike,
    subjects: Subjects,
    *,
    quick: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measures claims, and leaves results, figures and a report in `out`.

    A claim that is done is kept in a file of its own at once: the same call after a kill goes on
    with the claim it was in. One measured with other settings, data, models or another version of
    this package is measured again. Quick results go to a folder of their own in `out`.

    Args:
        names: of `CLAIMS`.
        out: a folder, made if it is not there.
        subjects: data and models; see `shipped_subjects`.
        quick: smaller settings, for a look.
        say: callback for messages.

    Returns:
        What `results.json` holds: of all claims in `out` that were measured with these settings.

    Raises:
        ValueError: for a name that is no claim's.
    """
    for name in names:
        require(name in CLAIMS, "claim", repr(name), f"be one of {', '.join(CLAIMS)}")
    out = local_path("out", out) / ("quick" if quick else "")
    (out / "figures").mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict[str, bytes]] = {}
    for name in names:
        config = config_of(name, quick=quick)
        about = {"config": config, "subject": _described(name, subjects)}
        file = out / f"{name}.json"
        if _kept(file, about):
            say(f"{name}: kept from an earlier run, {file}")
        else:
            say(f"{name}: {CLAIMS[name].title.lower()}")
            began = time.monotonic()
            outcome = without_nan(_measured(name, subjects, config, say))
            seconds = round(time.monotonic() - began, 1)
            record = {
                **about,
                "data": subjects.data.name,
                "title": CLAIMS[name].title,
                "seconds": seconds,
                **_circumstances(),
                "found": outcome,
            }
            write_whole(file, json.dumps(record, indent=1).encode())
        # Words and pictures are made of what is kept, so that they are those of today's code.
        outcome = json.loads(file.read_text())["found"]
        figures[name] = _drawn(name, outcome, out)
        say(f"  {CLAIMS[name].verdict(outcome)}")
    return _report(out, subjects, figures, quick=quick)


def _drawn(name: str, outcome: dict[str, Any], out: Path) -> dict[str, bytes]:
    pictures = {picture: png(figure) for picture, figure in CLAIMS[name].draw(outcome).items()}
    for picture, content in pictures.items():
        write_whole(out / "figures" / f"{picture}.png", content)
    return pictures


def _measured(
    name: str, subjects: Subjects, config: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    subjects = CLAIMS[name].prepare(subjects, config)
    total = CLAIMS[name].trajectories(config, subjects)
    done, reported = 0, time.monotonic()
    with progress_bar(name, total) as update:

        def progress(more: int) -> None:
            nonlocal done, reported
            done += more
            update(done, "trajectories")
            # Where no bar is drawn, as in a log, a line a minute.
            if not sys.stderr.isatty() and time.monotonic() - reported > 60:
                reported = time.monotonic()
                say(f"  {done:,} of {total:,} trajectories")

        return CLAIMS[name].measure(subjects, config, progress)


def _kept(file: Path, about: dict[str, Any]) -> bool:
    if not file.exists():
        return False
    try:
        record = json.loads(file.read_text())
    except ValueError:
        return False
    return all(record.get(key) == json.loads(json.dumps(value)) for key, value in about.items())


def _described(name: str, subjects: Subjects) -> dict[str, Any]:
    """Everything a claim depends on besides its settings: the data, the weights, the versions."""
    data = subjects.data
    others = CLAIMS[name].uses
    further = {"further": models_digest(getattr(subjects, others))} if others else {}
    parts = (data.images, data.labels, data.held_out, data.held_out_labels)
    return {
        "images": _short(part for part in parts if part is not None),
        "models": models_digest(main_models(subjects)),
        **further,
        "version": importlib.metadata.version("kinetic_jax"),
        "measurement": MEASUREMENT + CHANGES.get(name, 0),
    }


def main_models(subjects: Subjects) -> PyTree[Any]:
    """The models that every claim may use."""
    return subjects.general, *subjects.checkpoints.values(), subjects.memorizing, subjects.judge


def models_digest(models: PyTree[Any]) -> str:
    """A digest of the weights of some models."""
    leaves = (leaf for leaf in jax.tree.leaves(models) if hasattr(leaf, "dtype"))
    keys = jax.dtypes.extended  # a random key is no weight
    return _short(leaf for leaf in leaves if not jax.dtypes.issubdtype(leaf.dtype, keys))


def _short(arrays: Iterable[Any]) -> str:
    return digest(arrays)[:16]


def _circumstances() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {
        "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()})",
        "cores": os.cpu_count(),
        "versions": versions | {"python": platform.python_version()},
    }


def _report(
    out: Path,
    subjects: Subjects,
    figures: dict[str, dict[str, bytes]],
    *,
    quick: bool,
) -> dict[str, Any]:
    claims = {}
    for name in CLAIMS:
        file = out / f"{name}.json"
        about = {"config": config_of(name, quick=quick), "subject": _described(name, subjects)}
        if _kept(file, about):
            record = json.loads(file.read_text())
            claims[name] = record | {"verdict": CLAIMS[name].verdict(record["found"])}
            if name not in figures:  # kept from before: its pictures are drawn again as well
                figures[name] = _drawn(name, record["found"], out)
    results = {
        "data": subjects.data.name,
        "trained here": subjects.trained,
        "quick": quick,
        "seconds": round(sum(claim["seconds"] for claim in claims.values()), 1),
        **_circumstances(),
        "claims": claims,
    }
    write_whole(out / "results.json", json.dumps(results, indent=1).encode())
    write_whole(out / "table.md", results_table(results).encode())
    write_whole(out / "report.html", render_page(results, figures).encode())
    return results
