"""Runs benchmark suites: `python -m benchmarks [SUITE ...]`."""

import datetime
import importlib
from pathlib import Path

import click

from benchmarks._machine import in_words, machine
from benchmarks._record import Recorder
from benchmarks._results import RESULTS, read_results, results_file, write_suite
from benchmarks._table import into_readme, markdown_table
from kinetic_jax._cli._options import FOLDER, LocalPath

# Imported when run: some need peers that others do not (the extra `bench`).
SUITES = (
    "overhead", "closures", "memory", "network", "unet", "sweep", "scaling", "empirical",
    "neighbors", "peers", "imports",
)  # fmt: skip
PEERS = ("faiss", "torch", "flow_matching", "torchcfm", "torchdyn", "ott")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suites", nargs=-1, type=click.Choice(SUITES))
@click.option("--rounds", type=click.IntRange(min=1), default=21, show_default=True,
              help="Interleaved rounds; medians over them are printed.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Small sizes: whether suites run, not what they cost.")
@click.option("--out", type=FOLDER, default=RESULTS,
              help="Folder of the results; benchmarks/results by default.")  # fmt: skip
@click.option("--table", "file", type=LocalPath(exists=True, dir_okay=False),
              help="Measures nothing: prints a file of results as a Markdown table.")  # fmt: skip
@click.option("--into", "readme", type=LocalPath(exists=True, dir_okay=False),
              help="With --table: puts it into the marked region of this README.")  # fmt: skip
def main(
    suites: tuple[str, ...], rounds: int, quick: bool, out: Path, file: Path | None,
    readme: Path | None,
) -> None:  # fmt: skip
    """Measures suites (all by default), and writes OUT/<device>-<date>.json.

    Prints figure, ceiling and ratio. Suites measured on the same day are kept in the same file.
    """
    if file is None:
        measure(suites, rounds, quick=quick, out=out)
        return
    table = markdown_table(read_results(file))
    click.echo(table, nl=False)
    if readme is not None:
        into_readme(readme, file, readme.parent, table)


def measure(suites: tuple[str, ...], rounds: int, *, quick: bool, out: Path) -> Path:
    """Runs suites, and returns the file of their results."""
    described = machine()
    click.echo(in_words(described))
    path = results_file(out, described, datetime.date.today(), quick=quick)
    for suite in suites or SUITES:
        recorder = Recorder(rounds, quick=quick)
        try:
            importlib.import_module(f"benchmarks.{suite}").run(recorder)
        except ModuleNotFoundError as missing:
            if missing.name not in PEERS:
                raise
            message = f'{suite} needs {missing.name}: pip install -e ".[bench]"'
            if suites:
                raise click.ClickException(message) from missing
            click.echo(f"left out: {message}")
            continue
        now = datetime.datetime.now()
        write_suite(path, suite, recorder.records, machine=described, rounds=rounds, at=now)
    click.echo(f"results: {path}")
    return path


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
