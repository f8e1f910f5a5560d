"""The report of the claims, and what `docs/results.md` says of them."""

import re
from typing import Any

from benchmarks.claims._in_words import in_words
from benchmarks.claims._registry import CLAIMS
from kinetic_jax._page import render

START, END = "<!-- claims -->", "<!-- /claims -->"
OTHER_START, OTHER_END = "<!-- other images -->", "<!-- /other images -->"
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
ON_OTHER_IMAGES = "detector"  # the claim that the page has on other images as well


def results_table(results: dict[str, Any]) -> str:
    """Every claim's figures in Markdown, with their intervals, beside the published ones."""
    lines = [
        "| claim | figure | published | here, with 95% interval |",
        "| --- | --- | --- | --- |",
    ]
    for name, claim in results["claims"].items():
        for line in CLAIMS[name].table(claim["found"]):
            text = " | ".join(part.replace("|", "\\|") for part in line)
            lines.append(f"| `{name}` | {text} |")
    return "\n".join(lines) + "\n"


def into_page(page: str, results: dict[str, Any]) -> str:
    """The page with table and outcomes between its marks, and the command that makes them.

    Raises:
        ValueError: if it has no marks, or the results are not all of the models that ship.
    """
    require_marks(page)
    is_complete = list(results["claims"]) == list(CLAIMS)
    if results["quick"] or results["trained here"] or not is_complete:
        raise ValueError("the page's table is of all claims, at full settings, of shipped models")
    source = _source(results, "all", "results.json")
    table = results_table(results)
    return _between(
        page,
        (START, END),
        f"{source}\n\n{table}\nIn words:\n\n{in_words(results['claims'])}",
    )


def others_into_page(page: str, results: dict[str, Any]) -> str:
    """The page with a section on the detector of other images between its marks.

    Raises:
        ValueError: if it has no marks, or the results have not that claim at full settings, of
            models trained on other images.
    """
    require_marks(page, OTHER_START, OTHER_END)
    claim = results["claims"].get(ON_OTHER_IMAGES)
    if results["quick"] or not results["trained here"] or claim is None:
        raise ValueError(
            f"the page's section on other images is of {ON_OTHER_IMAGES}, at full settings, of "
            "models trained on them"
        )
    data = results["data"]
    results = results | {"claims": {ON_OTHER_IMAGES: claim}, "seconds": claim["seconds"]}
    source = _source(results, f"{ON_OTHER_IMAGES} --data {data}", f"{data}.json")
    outcome = CLAIMS[ON_OTHER_IMAGES].verdict(claim["found"])
    return _between(
        page,
        (OTHER_START, OTHER_END),
        f"## Copies of other images\n\n{source} Its models were trained on them by the same "
        f"command.\n\n{outcome}\n\n{results_table(results)}",
    )


def _source(results: dict[str, Any], options: str, record: str) -> str:
    """The command, its time, and where its numbers are."""
    minutes = results["seconds"] / 60
    return (
        f"Measured by `python -m benchmarks claims {options} --into docs/results.md`: "
        f"{minutes:.0f} minutes on {results['device']} with {results['cores']} cores, on "
        f"{results['data']}; settings, numbers, verdicts and the versions that each claim was "
        f"measured with are in [{record}](../benchmarks/results/claims/{record})."
    )


def _between(page: str, marks: tuple[str, str], content: str) -> str:
    start, end = marks
    before, rest = page.split(start, 1)
    return f"{before}{start}\n\n{content}\n{end}{rest.split(end, 1)[1]}"


def require_marks(page: str, start: str = START, end: str = END) -> None:
    """Refuses a page that has no place for the results.

    Raises:
        ValueError: if it has no marks.
    """
    if start not in page or end not in page.split(start, 1)[1]:
        raise ValueError(f"the page must have the marks {start} and {end}")


def render_page(results: dict[str, Any], figures: dict[str, dict[str, bytes]]) -> str:
    """One page with everything in it; figures by claim and name."""
    tables = {name: CLAIMS[name].table(one["found"]) for name, one in results["claims"].items()}
    sentences = {
        name: SENTENCE_END.split(one["verdict"]) for name, one in results["claims"].items()
    }
    return render(
        "benchmarks.claims",
        "claims.html.jinja",
        **results,
        pictures=figures,
        tables=tables,
        sentences=sentences,
        trained=results["trained here"],
    )
