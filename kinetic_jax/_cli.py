"""Commands: thin wrappers that read options and print what the library found."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kinetic_jax import __version__
from kinetic_jax.experiments._demo import run_demo
from kinetic_jax.experiments._settings import demo_settings

TABLE_WIDTH = 112  # columns that the table needs; a narrower terminal wraps its lines


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
    """Train a flow on real digits, and see how its samples move, with and without shaping."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    try:
        results = run_demo(
            out, demo_settings(quick=quick, seed=seed), quick=quick, say=console.print
        )
    except KeyboardInterrupt:
        raise click.ClickException(
            f"interrupted; the same command goes on from {out / 'training'}"
        ) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    console.print(_demo_table(results))
    for sentence in results["verdict"]:
        console.print(f"- {sentence}", highlight=False)
    console.print(f"\nreport: {out / 'report.html'}\nnumbers: {out / 'results.json'}")


def _demo_table(results: dict[str, Any]) -> Table:
    table = Table(title="same noise in every row")
    table.add_column("", no_wrap=True)
    for name in ("E", "launch", "landing", "excess", "F_mem % (95%)", "held-out %", "Fréchet",
                 "confidence %"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for row in results["rows"]:
        energy, (low, high) = row["energy"], row["f_mem_interval"]
        bad = f" ({row['bad_samples']} bad)" if row["bad_samples"] else ""
        table.add_row(
            row["name"] + bad,
            *(f"{energy[part]:.1f}" for part in ("total", "launch", "landing")),
            f"{energy['excess']:.2f}",
            f"{100 * row['f_mem']:.1f} ({100 * low:.1f} to {100 * high:.1f})",
            f"{100 * row['f_mem_held_out']:.1f}",
            f"{row['frechet']:.2f}",
            f"{100 * row['confidence']:.1f}",
        )
    return table
