"""Prints records."""

from rich.console import Console
from rich.table import Table

from benchmarks.speed._results import Judged, Record

MILLISECONDS = 1e3


def show(record: Record) -> None:
    """Prints one record and its claims."""
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


def verdict(claim: Judged, unit: str) -> str:
    """A claim in words: PASS, or over the limit."""
    is_ratio = claim["against"] is not None
    value = number(claim["figure"], unit)
    if is_ratio:
        value = f"{claim['ratio']:.4g} of {claim['against']}"
    comparison = f"{claim['of']}: {value}"
    if claim["at_most"] is None:
        return comparison
    limit = f"{claim['at_most']:g}" if is_ratio else number(claim["at_most"], unit)
    return f"{'PASS' if claim['holds'] else 'over the limit'}: {comparison} (limit {limit})"


def number(value: float, unit: str) -> str:
    """A figure with its unit, rounded for reading."""
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{MILLISECONDS * value:.3g} ms"
    text = f"{value:,.0f}" if value == round(value) or value >= 1000 else f"{value:.3g}"
    return f"{text} {unit}"


def _time_lines(record: Record) -> list[list[str]]:
    has_first = all("first_call" in row for row in record["rows"].values())
    columns = ["median ms", "fastest ms", "slowest ms", "ratio", "quartiles"]
    lines = [["", *(["first call s", "compiling s"] if has_first else []), *columns]]
    for name, row in record["rows"].items():
        low, high = row["ratio_quartiles"]
        first = [f"{row['first_call']:.2f}", f"{row['compiling']:.2f}"] if has_first else []
        spread = row["figure"], min(row["rounds"]), max(row["rounds"])
        milliseconds = [f"{MILLISECONDS * value:.1f}" for value in spread]
        lines.append(
            [name, *first, *milliseconds, f"{row['ratio']:.3f}", f"{low:.3f} to {high:.3f}"]
        )
    return lines


def _figure_lines(record: Record) -> list[list[str]]:
    lines = [["", record["unit"], "ratio"]]
    for name, row in record["rows"].items():
        ratio = f"{row['ratio']:.3f}" if "ratio" in row else ""
        lines.append([name, number(row["figure"], "").strip(), ratio])
    return lines
