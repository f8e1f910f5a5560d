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
    default=21,
    show_default=True,
    help="Interleaved rounds; medians over them are printed.",
)
@click.option("--quick", is_flag=True, help="Small sizes, to see that suites run.")
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
    rounds: int,
    quick: bool,
    out: Path,
    file: Path | None,
    page: Path | None,
) -> None:
    """Measures suites (all by default) and writes OUT/<device>-<date>.json.

    Prints figure, ceiling and ratio. Suites measured on the same day are kept in the same file.
    """
    if file is None:
        measure(suites, rounds, quick=quick, out=out)
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
