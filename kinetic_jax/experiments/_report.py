"""The demo's `report.html`: one file with everything in it."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

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
        "Every row of the table with its 95% interval; down and to the left is better.",
    ),
}


def write_report(path: Path, results: dict[str, Any], figures: dict[str, bytes]) -> None:
    """Fills the template; `figures` are PNGs by the names in `TITLES`."""
    environment = Environment(loader=PackageLoader("kinetic_jax.experiments", "."), autoescape=True)
    shown = [
        {
            "title": title,
            "caption": caption,
            "data": base64.b64encode(figures[name]).decode(),
        }
        for name, (title, caption) in TITLES.items()
    ]
    bad = any(row["bad_samples"] for row in results["rows"])
    page = environment.get_template("report.html.jinja")
    path.write_text(page.render(**results, figures=shown, bad=bad), encoding="utf-8")
