"""Printing what a suite measured."""

import platform

import jax
from rich.console import Console
from rich.table import Table

from benchmarks._timing import Timing


def show(title: str, timings: dict[str, Timing], *, limit: str = "") -> None:
    """Prints one comparison; the first row is what the ratios are of."""
    table = Table(title=title, caption=limit or None, title_justify="left")
    table.add_column("")
    for name in ("first call s", "median ms", "fastest ms", "slowest ms", "ratio", "quartiles"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, t in timings.items():
        table.add_row(
            name,
            f"{t.first:.2f}",
            *(f"{1e3 * value:.1f}" for value in (t.median, t.low, t.high)),
            f"{t.ratio:.3f}",
            f"{t.ratio_low:.3f} to {t.ratio_high:.3f}",
        )
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)


def show_machine() -> None:
    """Prints what the figures were measured on."""
    device = jax.devices()[0]
    print(
        f"{device.device_kind} ({device.platform}, {jax.device_count()} device(s)), "
        f"jax {jax.__version__}, Python {platform.python_version()}"
    )
