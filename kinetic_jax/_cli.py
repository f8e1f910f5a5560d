"""Commands: thin wrappers that read options and print what the library found."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from kinetic_jax import __version__
from kinetic_jax._arrays import load_array
from kinetic_jax._files import write_whole
from kinetic_jax.experiments._demo import run_demo
from kinetic_jax.experiments._figures import distance_histogram, ratio_histogram
from kinetic_jax.experiments._settings import demo_settings
from kinetic_jax.experiments._table import FLOOR_NOTE, HEADER, cells, held_out_cells
from kinetic_jax.metrics import Memorization, memorization, nearest_neighbors
from kinetic_jax.streaming import DEFAULT_CHUNK_SIZE

TABLE_WIDTH = 128  # columns that the table needs; a narrower terminal wraps its lines


def _picture(context: Any, parameter: Any, path: Path | None) -> Path | None:
    """Refuses a picture that could not be written, before anything is computed."""
    del context, parameter
    if path is not None and path.suffix.lower() != ".png":
        raise click.BadParameter(f"{path} must end in .png")
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


def _plot(words: str) -> Callable[..., Any]:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("--plot", type=kind, callback=_picture, help=words)


_chunk = click.option(
    "--chunk",
    type=click.IntRange(min=1),
    default=DEFAULT_CHUNK_SIZE,
    show_default=True,
    help="Training rows looked at together.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Measure and shape how flow-matching models move."""


@cli.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the report, the numbers and the trained field.",
)
@click.option("--quick", is_flag=True, help="A smaller experiment, in under a minute.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def demo(out: Path, quick: bool, seed: int) -> None:
    """Train a flow on real digits; see how its samples move.

    The energy, copies and quality of its samples are compared with and without shaping.
    About three minutes on two CPU cores.
    """
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"cannot write to {out}: {error}", param_hint="--out") from error
    try:
        results = run_demo(
            out, demo_settings(quick=quick, seed=seed), quick=quick, say=console.print
        )
    except KeyboardInterrupt:
        raise click.ClickException(
            f"interrupted; the same command goes on from {out / 'training'}"
        ) from None
    except (OSError, ValueError, FloatingPointError) as error:
        raise click.ClickException(str(error)) from error
    console.print(_demo_table(results))
    for sentence in results["verdict"]:
        console.print(f"- {sentence}", highlight=False, soft_wrap=True)
    console.print(f"\nreport: {out / 'report.html'}\nnumbers: {out / 'results.json'}")


@cli.command()
@click.argument("samples")
@click.argument("train")
@click.option("--k", type=click.IntRange(min=1), default=2, show_default=True,
              help="How many neighbours.")  # fmt: skip
@_chunk
@_plot("Write a histogram of the distances to this picture (.png).")
def neighbors(samples: str, train: str, k: int, chunk: int, plot: Path | None) -> None:
    """The k training rows nearest to each sample, as JSON on standard output.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs, read in the
    order of their names as text.
    """
    with _told():
        queries, reference = _samples(samples), load_array(train)
        distances, indices = nearest_neighbors(queries, reference, k, chunk_size=chunk)
        finite = np.isfinite(np.asarray(distances)).all(axis=1)
        if plot is not None:
            write_whole(plot, distance_histogram(np.asarray(distances)[finite]))
    told = {
        "samples": len(queries),
        "train": len(reference),
        "not_finite": np.flatnonzero(~finite).tolist(),
        "distances": [
            row if ok else None for row, ok in zip(distances.tolist(), finite, strict=True)
        ],
        "indices": [row if ok else None for row, ok in zip(indices.tolist(), finite, strict=True)],
    }
    click.echo(json.dumps(told))


@cli.command("memorization")
@click.argument("samples")
@click.argument("train")
@click.option("--held-out", help="Data the model never saw: what they score is the floor.")
@click.option("--threshold", type=float, default=1 / 3, show_default="1/3",
              help="Of the distances' ratio, nearest over second nearest.")  # fmt: skip
@click.option("--confidence", type=float, default=0.95, show_default=True,
              help="Of the intervals.")  # fmt: skip
@click.option("--merge-duplicates", is_flag=True,
              help="The second nearest row must be no duplicate of the nearest.")  # fmt: skip
@click.option("--duplicate-distance", type=float, default=0.0, show_default=True,
              help="Training rows no farther apart are told as duplicates.")  # fmt: skip
@_chunk
@_plot("Write a histogram of the distance ratios to this picture (.png).")
def memorization_command(
    samples: str,
    train: str,
    held_out: str | None,
    threshold: float,
    confidence: float,
    merge_duplicates: bool,
    duplicate_distance: float,
    chunk: int,
    plot: Path | None,
) -> None:
    """The share of samples that are copies of training rows, as JSON on standard output.

    Files are .npy, .npz (FILE.npz:NAME), idx (gzipped or raw), or folders of PNGs, read in the
    order of their names as text.
    """
    with _told():
        reference = load_array(train)
        found = memorization(
            _samples(samples),
            reference,
            threshold=threshold,
            confidence=confidence,
            held_out=None if held_out is None else _samples(held_out),
            merge_duplicates=merge_duplicates,
            duplicate_distance=duplicate_distance,
            chunk_size=chunk,
        )
        if plot is not None:
            write_whole(plot, ratio_histogram(found, threshold))
    told: dict[str, Any] = {"train": len(reference), "threshold": threshold}
    told["samples"] = _as_json(found)
    if found.held_out is not None:
        told["held_out"] = _as_json(found.held_out)
        excess, low, high = map(_number, found.excess)
        told["excess"] = {"fraction": excess, "interval": [low, high]}
    click.echo(json.dumps(told))


def _samples(path: str) -> np.ndarray:
    rows = np.asarray(load_array(path))
    return rows if rows.dtype == np.float64 else rows.astype(np.float32)


def _as_json(found: Memorization) -> dict[str, Any]:
    valid = np.isfinite(found.ratios)
    return {
        "fraction": _number(found.fraction),
        "interval": [_number(found.low), _number(found.high)],
        "bootstrap_interval": list(map(_number, found.bootstrap)),
        "sweep": {
            "thresholds": found.sweep.thresholds.round(9).tolist(),
            "fraction": list(map(_number, found.sweep.fraction.tolist())),
        },
        "number": len(valid),
        "not_finite": np.flatnonzero(~valid).tolist(),
        "ratios": _where(valid, found.ratios.tolist()),
        "nearest": _where(valid, found.indices[:, 0].tolist()),
        "memorized": _where(valid, found.memorized.tolist()),
        "duplicated": found.duplicated.tolist(),
    }


def _number(value: float) -> float | None:
    """`value`, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def _where(good: np.ndarray, values: list[Any]) -> list[Any]:
    """`values`, with None (JSON has no NaN) where they are not good."""
    return [value if ok else None for value, ok in zip(values, good, strict=True)]


@contextmanager
def _told() -> Iterator[None]:
    """Turns what the library raises for bad input into a line without a traceback."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def _demo_table(results: dict[str, Any]) -> Table:
    title = "every row from the same noise"
    table = Table(title=title, caption=FLOOR_NOTE, caption_justify="right")
    for position, name in enumerate(HEADER):
        table.add_column(name, justify="right" if position else "left", no_wrap=True)
    for row in results["rows"]:
        table.add_row(*cells(row))
    table.add_section()
    table.add_row(*held_out_cells(results["held_out"]))
    return table
