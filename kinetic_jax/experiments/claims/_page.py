"""The report of the claims, and the README's table of them."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kinetic_jax.experiments.claims._registry import CLAIMS

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


def into_readme(readme: str, results: dict[str, Any]) -> str:
    """The README with the table between its marks.

    Raises:
        ValueError: if it has no marks.
    """
    if START not in readme or END not in readme:
        raise ValueError(f"the README must have the marks {START} and {END}")
    before, rest = readme.split(START, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{START}\n\n{results_table(results)}\n{END}{after}"


def render_page(results: dict[str, Any], figures: dict[str, bytes]) -> str:
    """One page with everything in it."""
    environment = Environment(
        loader=PackageLoader("kinetic_jax.experiments.claims", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    shown = {name: base64.b64encode(data).decode() for name, data in figures.items()}
    pictures = {
        claim: {name: data for name, data in shown.items() if name.split("-")[0] == claim}
        for claim in results["claims"]
    }
    page = environment.get_template("claims.html.jinja")
    return page.render(**results, pictures=pictures, trained=results["trained here"])
