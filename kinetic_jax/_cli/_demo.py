"""`kinetic-jax demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kinetic_jax._cli._options import FOLDER, say
from kinetic_jax._interrupt import advice_on_interrupt

if TYPE_CHECKING:
    from kinetic_jax.demo._results import Results
else:  # for runtime type checks
    Results = Any

TABLE_WIDTH = 128  # columns; a narrower terminal wraps the lines


@click.command("demo")
@click.option(
    "--out",
    type=FOLDER,
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the report, the numbers and the trained field.",
)
@click.option("--quick", is_flag=True, help="A smaller experiment, in under a minute.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def command(out: Path, quick: bool, seed: int) -> None:
    """Train a flow on real digits; see how its samples move.

    The energy, copies and quality of its samples are compared with and without shaping.
    About three minutes on two CPU cores.
    """
    from kinetic_jax.demo._rows import demo_settings
    from kinetic_jax.demo._run import run_demo

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"cannot write to {out}: {error}", param_hint="--out") from error
    with advice_on_interrupt(f"the same command goes on from {out / 'training'}"):
        results = run_demo(out, demo_settings(quick=quick, seed=seed), quick=quick, say=say)
    say(_table(results))
    for sentence in results.verdict:
        say(f"- {sentence}")
    say(f"\nreport: {out / 'report.html'}\nnumbers: {out / 'results.json'}")


def _table(results: Results) -> str:
    from rich.console import Console
    from rich.table import Table

    from kinetic_jax.demo._results import FLOOR_NOTE, HEADER, table_cells

    title = "every row from the same noise"
    table = Table(title=title, caption=FLOOR_NOTE, caption_justify="right")
    for position, name in enumerate(HEADER):
        table.add_column(name, justify="right" if position else "left", no_wrap=True)
    *rows, floor = table_cells(results)
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*floor)
    console = Console(markup=False)
    console.width = max(console.width, TABLE_WIDTH)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
