"""`python -m benchmarks speed`."""

import datetime
import importlib
from pathlib import Path

import click

from benchmarks.speed._machine import machine, summary
from benchmarks.speed._record import Recorder
from benchmarks.speed._results import RESULTS, read_results, results_file, write_suite
from benchmarks.speed._table import into_page, tables
from kinetic_jax._cli._options import FOLDER, LocalPath

# Modules imported when run: some need peers of the extra `bench`.
SUITES = (
    "overhead",
    "closures",
    "memory",
    "network",
    "unet",
    "sweep",
    "copies",
    "density",
    "scaling",
    "empirical",
    "neighbors",
    "peers",
    "imports",
)
PEERS = ("faiss", "torch", "flow_matching", "torchcfm", "torchdyn", "ott")


@click.command("speed")
@click.argument("suites", nargs=-1, type=click.Choice(SUITES))
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="Interleaved rounds, whose medians are printed; 21, or 5 with --preset.",
)
@click.option("--quick", is_flag=True, help="Small sizes, to see that suites run.")
@click.option(
    "--preset",
    type=click.Choice(["accelerator"]),
    help="In place of suites: sizes that fill a GPU or TPU, within --budget.",
)
@click.option(
    "--scale",
    type=click.Choice(["full", "small"]),
    default="full",
    show_default=True,
    help="With --preset: small sizes show on a CPU that it runs.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=330,
    show_default=True,
    help="With --preset: seconds after which nothing more is begun.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="NAME",
    help="With --preset: one part; may be given again.",
)
@click.option(
    "--out",
    type=FOLDER,
    default=RESULTS,
    help="Folder of the results; benchmarks/results by default.",
)
@click.option(
    "--table",
    "file",
    type=LocalPath(exists=True, dir_okay=False),
    help="Print a file of results as Markdown tables instead of measuring.",
)
@click.option(
    "--into",
    "page",
    type=LocalPath(exists=True, dir_okay=False),
    help="With --table: write them into the marked region of this page.",
)
def command(
    suites: tuple[str, ...],
    rounds: int | None,
    quick: bool,
    preset: str | None,
    scale: str,
    budget: float,
    parts: tuple[str, ...],
    out: Path,
    file: Path | None,
    page: Path | None,
) -> None:
    """Measures suites (all by default) and writes OUT/<device>-<date>.json.

    Prints figure, ceiling and ratio. Suites measured on the same day are kept in the same file.
    """
    if preset is not None:
        if suites or file:
            raise click.UsageError("--preset takes neither suites nor --table")
        small = quick or scale == "small"
        accelerator(parts, rounds or (2 if small else 5), small=small, budget=budget, out=out)
        return
    if parts:
        raise click.UsageError("--part needs --preset")
    if file is None:
        measure(suites, rounds or 21, quick=quick, out=out)
        return
    markdown = tables(read_results(file))
    click.echo(markdown, nl=False)
    if page is not None:
        into_page(page, file, markdown)


def measure(suites: tuple[str, ...], rounds: int, *, quick: bool, out: Path) -> Path:
    """Runs suites and returns the file of their results."""
    this_machine = machine()
    click.echo(summary(this_machine))
    path = results_file(out, this_machine, datetime.date.today(), quick=quick)
    for suite in suites or SUITES:
        recorder = Recorder(rounds, quick=quick)
        try:
            importlib.import_module(f"benchmarks.speed.{suite}").run(recorder)
        except ModuleNotFoundError as missing:
            if missing.name not in PEERS:
                raise
            message = f'{suite} needs {missing.name}: pip install -e ".[bench]"'
            if suites:
                raise click.ClickException(message) from missing
            click.echo(f"left out: {message}")
            continue
        now = datetime.datetime.now()
        write_suite(path, suite, recorder.records, machine=this_machine, rounds=rounds, at=now)
    click.echo(f"results: {path}")
    return path


def accelerator(
    names: tuple[str, ...], rounds: int, *, small: bool, budget: float, out: Path
) -> Path:
    """Runs the parts of the preset of these names, all by default; returns the file of results."""
    from benchmarks.speed.accelerator._parts import PARTS
    from benchmarks.speed.accelerator._preset import run_parts

    known = [part.name for part in PARTS]
    if unknown := set(names) - set(known):
        raise click.UsageError(f"--part must be one of {', '.join(known)}, got {min(unknown)!r}")
    parts = [part for part in PARTS if not names or part.name in names]
    return run_parts(parts, out, small=small, budget=budget, rounds=rounds)
