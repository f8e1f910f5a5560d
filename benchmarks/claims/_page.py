"""The report of the claims, and the table of them in `docs/results.md`."""

from typing import Any

from benchmarks.claims._registry import CLAIMS
from kinetic_jax._page import render

START, END = "<!-- claims -->", "<!-- /claims -->"


def results_table(results: dict[str, Any]) -> str:
    """Every claim's figures in Markdown, with their intervals, beside the published ones."""
    lines = [
        "| claim | figure | published | here, with 95% interval |",
        "| --- | --- | --- | --- |",
    ]
    for name, claim in results["claims"].items():
        for line in CLAIMS[name].table(claim["found"]):
            words = " | ".join(part.replace("|", "\\|") for part in line)
            lines.append(f"| `{name}` | {words} |")
    return "\n".join(lines) + "\n"


def into_page(page: str, results: dict[str, Any]) -> str:
    """The page with the table between its marks, and the command that makes it.

    Raises:
        ValueError: if it has no marks, or the results are not all of the models that ship.
    """
    require_marks(page)
    whole = list(results["claims"]) == list(CLAIMS)
    if results["quick"] or results["trained here"] or not whole:
        raise ValueError("the page's table is of all claims, at full settings, of shipped models")
    before, rest = page.split(START, 1)
    after = rest.split(END, 1)[1]
    minutes = results["seconds"] / 60
    words = (
        "Measured by `python -m benchmarks claims all --into docs/results.md`: "
        f"{minutes:.0f} minutes on {results['device']} with {results['cores']} cores, on "
        f"{results['data']}; settings, numbers, verdicts and the versions that each claim was "
        "measured with are in [results.json](../benchmarks/results/claims/results.json)."
    )
    return f"{before}{START}\n\n{words}\n\n{results_table(results)}\n{END}{after}"


def require_marks(page: str) -> None:
    """Refuses a page that has no place for the table.

    Raises:
        ValueError: if it has no marks.
    """
    if START not in page or END not in page.split(START, 1)[1]:
        raise ValueError(f"the page must have the marks {START} and {END}")


def render_page(results: dict[str, Any], figures: dict[str, dict[str, bytes]]) -> str:
    """One page with everything in it; figures by claim and name."""
    tables = {name: CLAIMS[name].table(one["found"]) for name, one in results["claims"].items()}
    return render(
        "benchmarks.claims",
        "claims.html.jinja",
        **results,
        pictures=figures,
        tables=tables,
        trained=results["trained here"],
    )
