"""Results as a Markdown table, and its place in the README."""

import datetime
import re
from pathlib import Path
from typing import Any

from benchmarks._machine import in_words
from benchmarks._show import number

HEADER = ("suite", "case", "of", "figure", "ceiling or peer", "ratio (quartiles)", "limit")
REGION = re.compile(
    r"<!-- benchmarks: (?P<file>\S+) -->\n(?P<table>.*?)<!-- end of benchmarks -->\n", re.DOTALL
)


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


def into_readme(readme: Path, results: Path, root: Path, table: str) -> None:
    """Puts a table into the marked region of a README, which names the file it comes from."""
    text, name = readme.read_text(), results.resolve().relative_to(root.resolve()).as_posix()
    region = f"<!-- benchmarks: {name} -->\n{table}<!-- end of benchmarks -->\n"
    text, places = REGION.subn(lambda _: region, text)
    if places != 1:
        raise ValueError(f"readme must have one region {REGION.pattern!r}, {readme} has {places}")
    readme.write_text(text)


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
    """Which suites were measured when, and on what."""
    notes: dict[str, list[str]] = {}
    for suite, measured in results["suites"].items():
        day = datetime.datetime.fromisoformat(measured["measured"]).date().isoformat()
        words = f"{day}, {in_words(measured['machine'])}, {measured['rounds']} rounds"
        notes.setdefault(words, []).append(suite)
    lines = (f"{', '.join(suites)}: {words}.\n" for words, suites in notes.items())
    return "Medians of interleaved rounds. " + "\n".join(lines)
