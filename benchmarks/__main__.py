"""Runs benchmark suites: `python -m benchmarks [SUITE ...]`."""

import importlib

import click

from benchmarks._show import show_machine

# Imported when run: some need peers that others do not (the extra `bench`).
SUITES = ("overhead", "network", "unet", "empirical", "neighbors")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suites", nargs=-1, type=click.Choice(SUITES))
@click.option("--rounds", type=click.IntRange(min=1), default=21, show_default=True,
              help="Interleaved rounds; medians over them are printed.")  # fmt: skip
def main(suites: tuple[str, ...], rounds: int) -> None:
    """Measures suites (all by default) and prints figure, baseline and ratio."""
    show_machine()
    for suite in suites or SUITES:
        importlib.import_module(f"benchmarks.{suite}").run(rounds)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
