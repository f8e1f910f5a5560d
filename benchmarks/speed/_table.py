"""Results as Markdown tables in `docs/performance.md`."""

import datetime
import os
import re
from pathlib import Path

from benchmarks.speed._machine import summary
from benchmarks.speed._results import Judged, Record, Results
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


def tables(results: Results) -> str:
    """The table of limits, with the table of all claims folded away under it."""
    return PAGE.format(limits=limits_table(results), table=markdown_table(results))


def limits_table(results: Results) -> str:
    """For each suite the number of limits that hold, and the claim farthest from its limit."""
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
        holding = sum(bool(claim["holds"]) for _, claim in limited)
        title, claim = max(limited, key=lambda pair: _beyond(pair[1]))
        against = "" if claim["against"] is None else f" against {claim['against']}"
        farthest = f"{title}: {claim['of']}{against}"
        figure = f"{_judged_value(claim):.4g} | {claim['at_most']:g} |"
        lines.append(f"| {suite} | {holding} of {len(limited)} | {farthest} | {figure}")
    return "\n".join(lines) + "\n"


def _judged_value(claim: Judged) -> float:
    """The ratio to a peer, or the figure itself, whichever the limit is for."""
    return claim["figure"] if claim["against"] is None else claim["ratio"]


def _beyond(claim: Judged) -> float:
    """The judged value as a share of its limit, or itself if the limit is 0."""
    return _judged_value(claim) / (claim["at_most"] or 1)


def markdown_table(results: Results) -> str:
    """A line for each claim, with dates and machines below."""
    lines = [list(HEADER), ["---", "---", "---", "---:", "---", "---:", "---:"]]
    for suite, measured in results["suites"].items():
        for record in measured["records"]:
            dtype = "" if record["dtype"] == "float32" else f", {record['dtype']}"
            case = [suite, record["title"] + dtype]
            for claim in record["claims"]:
                lines.append([*case, *_cells(record, claim)])
                case = ["", ""]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"{table}\n{_notes(results)}"


def into_page(page: Path, results: Path, markdown: str) -> None:
    """Writes tables into the marked region of a page, which names the file they come from.

    Raises:
        ValueError: if the page has no such region, or several.
    """
    text, name = page.read_text(), Path(os.path.relpath(results, page.parent)).as_posix()
    region = f"<!-- benchmarks: {name} -->\n{markdown}<!-- end of benchmarks -->\n"
    text, places = REGION.subn(lambda _: region, text)
    if places != 1:
        raise ValueError(f"page must have one region {REGION.pattern!r}, {page} has {places}")
    page.write_text(text)


def _cells(record: Record, claim: Judged) -> list[str]:
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


def _notes(results: Results) -> str:
    """Dates and machines of the suites, and what was left out."""
    notes: dict[str, list[str]] = {}
    left_out = []
    for suite, measured in results["suites"].items():
        if "left_out" in measured:
            left_out.append(f"Left out of {suite}: {measured['left_out']}.\n")
        if not measured["records"]:
            continue
        day = datetime.datetime.fromisoformat(measured["measured"]).date().isoformat()
        note = f"{day}, {summary(measured['machine'])}, {measured['rounds']} rounds"
        notes.setdefault(note, []).append(suite)
    lines = [f"{', '.join(suites)}: {note}.\n" for note, suites in notes.items()] + left_out
    return "Medians of interleaved rounds. " + "\n".join(lines)
