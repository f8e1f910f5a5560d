"""Results as Markdown tables, and their place in `docs/performance.md`."""

import datetime
import os
import re
from pathlib import Path
from typing import Any

from benchmarks.speed._machine import in_words
from benchmarks.speed._show import number

HEADER = ("suite", "case", "of", "figure", "ceiling or peer", "ratio (quartiles)", "limit")
REGION = re.compile(
    r"<!-- benchmarks: (?P<file>\S+) -->\n(?P<tables>.*?)<!-- end of benchmarks -->\n", re.DOTALL
)
PAGE = """\
{limits}
<details>
<summary>All figures, with ceilings, peers and limits</summary>

{table}
</details>
"""


def tables(results: dict[str, Any]) -> str:
    """The table of limits, and the long one folded away under it."""
    return PAGE.format(limits=limits_table(results), table=markdown_table(results))


def limits_table(results: dict[str, Any]) -> str:
    """The limits set beforehand that hold, suite by suite."""
    lines = [
        "| suite | limits that hold | farthest from its limit | figure | limit |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for suite, measured in results["suites"].items():
        limited = [
            (record["title"], claim)
            for record in measured["records"]
            for claim in record["claims"]
            if claim["at_most"] is not None
        ]
        if not limited:
            continue
        holding = sum(claim["holds"] for _, claim in limited)
        title, claim = max(limited, key=lambda one: _beyond(one[1]))
        against = "" if claim["against"] is None else f" against {claim['against']}"
        figure = f"{_judged(claim):.4g} | {claim['at_most']:g} |"
        words = f"{title}: {claim['of']}{against}"
        lines.append(f"| {suite} | {holding} of {len(limited)} | {words} | {figure}")
    return "\n".join(lines) + "\n"


def _judged(claim: dict[str, Any]) -> float:
    """The number that a limit is for: the ratio to a peer, or the figure itself."""
    return claim["figure"] if claim["against"] is None else claim["ratio"]


def _beyond(claim: dict[str, Any]) -> float:
    """That number as a share of its limit; a limit of 0 leaves the figure itself."""
    return _judged(claim) / claim["at_most"] if claim["at_most"] else _judged(claim)


def markdown_table(results: dict[str, Any]) -> str:
    """Every claim of a file of results as a line, and what it was measured on below."""
    lines = [list(HEADER), ["---", "---", "---", "---:", "---", "---:", "---:"]]
    for suite, measured in results["suites"].items():
        for record in measured["records"]:
            dtype = "" if record["dtype"] == "float32" else f", {record['dtype']}"
            case = [suite, record["title"] + dtype]
            for claim in record["claims"]:
                lines.append([*case, *_cells(record, claim)])
                case = ["", ""]  # said once
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"{table}\n{_notes(results)}"


def into_page(page: Path, results: Path, written: str) -> None:
    """Puts tables into the marked region of a page, which names the file they come from.

    Raises:
        ValueError: if the page has no such region, or several.
    """
    text, name = page.read_text(), Path(os.path.relpath(results, page.parent)).as_posix()
    region = f"<!-- benchmarks: {name} -->\n{written}<!-- end of benchmarks -->\n"
    text, places = REGION.subn(lambda _: region, text)
    if places != 1:
        raise ValueError(f"page must have one region {REGION.pattern!r}, {page} has {places}")
    page.write_text(text)


def _cells(record: dict[str, Any], claim: dict[str, Any]) -> list[str]:
    unit, ratio, limit = record["unit"], "", ""
    peer = claim["against"]
    if peer is not None:
        ratio = f"{claim['ratio']:.4g}"
        if "ratio_quartiles" in claim:
            ratio += " ({:.4g} to {:.4g})".format(*claim["ratio_quartiles"])
        peer = f"{peer}: {number(record['rows'][peer]['figure'], unit)}"
    if claim["at_most"] is not None:
        limit = f"{claim['at_most']:g}, {'holds' if claim['holds'] else '**exceeded**'}"
    return [claim["of"], number(claim["figure"], unit), peer or "", ratio, limit]


def _notes(results: dict[str, Any]) -> str:
    """Dates and machines of the suites."""
    notes: dict[str, list[str]] = {}
    for suite, measured in results["suites"].items():
        day = datetime.datetime.fromisoformat(measured["measured"]).date().isoformat()
        words = f"{day}, {in_words(measured['machine'])}, {measured['rounds']} rounds"
        notes.setdefault(words, []).append(suite)
    lines = (f"{', '.join(suites)}: {words}.\n" for words, suites in notes.items())
    return "Medians of interleaved rounds. " + "\n".join(lines)
