"""The demo's `report.html`, a self-contained file."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kinetic_jax.demo._table import HEADER, cells, held_out_cells

TITLES = {
    "samples": (
        "Samples from low to high energy",
        "Every fifth of the samples by energy, without any gain.",
    ),
    "histogram": ("Energy of the samples", "Without any gain; copies are counted apart."),
    "profile": (
        "Speed along the way",
        "Mean squared speed of the executed velocity in each step, and the gain that shaped it.",
    ),
    "goldilocks": (
        "Quality and memorisation by energy",
        "Each point is a fifth of the samples without any gain; bars are 95% intervals.",
    ),
    "front": (
        "Memorisation against quality",
        "Every row of the table, with the 95% interval of F_mem; down and to the left is better.",
    ),
}


def render_report(results: dict[str, Any], figures: dict[str, bytes]) -> str:
    """The HTML page with the embedded PNGs of `figures`, named as in `TITLES`."""
    environment = Environment(
        loader=PackageLoader("kinetic_jax.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    embedded = [
        {"title": title, "caption": caption, "data": base64.b64encode(figures[name]).decode()}
        for name, (title, caption) in TITLES.items()
    ]
    page = environment.get_template("report.html.jinja")
    return page.render(
        **results,
        figures=embedded,
        header=HEADER,
        cells=[cells(row) for row in results["rows"]],
        held_out_cells=held_out_cells(results["held_out"]),
    )
