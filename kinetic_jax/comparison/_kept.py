"""Finished reports in a folder, from which an interrupted comparison resumes."""

import dataclasses
import hashlib
import json
from pathlib import Path

import jax

from kinetic_jax import __version__
from kinetic_jax._digest import digest
from kinetic_jax._files import write_whole
from kinetic_jax._schema import from_description
from kinetic_jax.comparison._measure import Data, Settings
from kinetic_jax.comparison._report import ModelReport
from kinetic_jax.fields import VelocityField
from kinetic_jax.training._checkpoint import describe_field

FORMAT = 1


def kept_file(
    folder: Path,
    field: VelocityField,
    earliest: VelocityField | None,
    settings: Settings,
    data: Data,
) -> Path | None:
    """The file of a report, named by a digest of everything that the report depends on.

    None for fields that are not determined by their arrays: all but those of `network_field`.
    """
    models = [field] if earliest is None else [field, earliest]
    descriptions = [describe_field(model) for model in models]
    if None in descriptions:
        return None
    arrays = [settings.key, data.train, data.held_out, *jax.tree.leaves(settings.cond)]
    about = {
        "format": FORMAT,
        "version": __version__,
        "models": descriptions,
        "weights": [digest(jax.tree.leaves(model)) for model in models],
        "data": [None if array is None else digest([array]) for array in arrays],
        "settings": {
            name: repr(value)
            for name, value in settings._asdict().items()
            if name not in ("key", "cond", "batch_size")
        },
    }
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"model-{name}.json"


def read_report(file: Path | None, name: str, step: int | None) -> ModelReport | None:
    """The report in a file, under a name; None if there is none, or it is damaged."""
    if file is None or not file.is_file():
        return None
    try:
        report = from_description(ModelReport, json.loads(file.read_text()), "report")
    except ValueError:  # not written by this package, or truncated: the model is measured again
        return None
    return dataclasses.replace(report, name=name, step=step)


def keep_report(file: Path | None, report: ModelReport) -> None:
    """Writes a report atomically."""
    if file is not None:
        content = json.dumps(dataclasses.asdict(report), indent=1)
        write_whole(file, f"{content}\n".encode())
