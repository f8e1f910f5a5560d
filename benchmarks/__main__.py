"""Runs benchmark suites: `python -m benchmarks [SUITE ...]`."""

import click

from benchmarks import network, overhead
from benchmarks._show import show_machine

SUITES = {"overhead": overhead.run, "network": network.run}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suites", nargs=-1, type=click.Choice(list(SUITES)))
@click.option("--rounds", type=click.IntRange(min=1), default=21, show_default=True,
              help="Interleaved rounds; medians over them are printed.")  # fmt: skip
def main(suites: tuple[str, ...], rounds: int) -> None:
    """Measures suites (all by default) and prints figure, baseline and ratio."""
    show_machine()
    for suite in suites or tuple(SUITES):
        SUITES[suite](rounds)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
