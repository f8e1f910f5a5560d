"""Printing what a suite measured."""

from typing import Any

from rich.console import Console
from rich.table import Table

MILLISECONDS = 1e3


def show(record: dict[str, Any]) -> None:
    """Prints one record, and of each limit whether it holds."""
    table = Table(title=f"{record['title']} ({record['dtype']})", title_justify="left")
    lines = _time_lines(record) if record["unit"] == "s" else _figure_lines(record)
    table.add_column("")
    for name in lines[0][1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line)
    console = Console(markup=False)
    console.width = max(console.width, 120)
    console.print(table)
    for claim in record["claims"]:
        console.print(verdict(claim, record["unit"]), highlight=False)


def verdict(claim: dict[str, Any], unit: str) -> str:
    """A claim in words: PASS, or over the limit."""
    ratio = claim["against"] is not None
    found = (
        f"{claim['ratio']:.4g} of {claim['against']}" if ratio else number(claim["figure"], unit)
    )
    words = f"{claim['of']}: {found}"
    if claim["at_most"] is None:
        return words
    limit = f"{claim['at_most']:g}" if ratio else number(claim["at_most"], unit)
    return f"{'PASS' if claim['holds'] else 'over the limit'}: {words} (limit {limit})"


def number(value: float, unit: str) -> str:
    """A figure with its unit, as people write it."""
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{MILLISECONDS * value:.3g} ms"
    text = f"{value:,.0f}" if value == round(value) or value >= 1000 else f"{value:.3g}"
    return f"{text} {unit}"


def _time_lines(record: dict[str, Any]) -> list[list[str]]:
    firsts = all("first_call" in row for row in record["rows"].values())
    lines = [
        [
            "",
            *(["first call s", "compiling s"] if firsts else []),
            "median ms",
            "fastest ms",
            "slowest ms",
            "ratio",
            "quartiles",
        ],
    ]
    for name, row in record["rows"].items():
        low, high = row["ratio_quartiles"]
        first = [f"{row[part]:.2f}" for part in ("first_call", "compiling")] if firsts else []
        spread = row["figure"], min(row["rounds"]), max(row["rounds"])
        milliseconds = [f"{MILLISECONDS * value:.1f}" for value in spread]
        lines.append(
            [name, *first, *milliseconds, f"{row['ratio']:.3f}", f"{low:.3f} to {high:.3f}"]
        )
    return lines


def _figure_lines(record: dict[str, Any]) -> list[list[str]]:
    lines = [["", record["unit"], "ratio"]]
    for name, row in record["rows"].items():
        ratio = f"{row['ratio']:.3f}" if "ratio" in row else ""
        lines.append([name, number(row["figure"], "").strip(), ratio])
    return lines
