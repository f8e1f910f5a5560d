"""The demo's pictures, and its `report.html`, a self-contained file."""

import dataclasses

import numpy as np

from kinetic_jax import plotting
from kinetic_jax._page import render
from kinetic_jax.demo._results import HEADER, Results, table_cells
from kinetic_jax.demo._rows import RowPlan
from kinetic_jax.demo._statistics import Measured

TITLES = {
    "samples": (
        "Samples from low to high energy",
        "Every fifth of the samples by energy, without any gain, each above its nearest training "
        "image; copies are framed.",
    ),
    "histogram": ("Energy of the samples", "Without any gain; copies in another colour."),
    "profile": (
        "Energy, and speed along the way",
        "Energies of the samples, mean squared speed of the executed velocity in each step, and "
        "the gain that shaped it; the grey line is τ.",
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


def draw(
    plans: list[RowPlan], rows: list[Measured], results: Results, train: np.ndarray
) -> dict[str, bytes]:
    """The pictures named in `TITLES`, as PNG bytes."""
    plain, settings = rows[0], results.settings
    energy, copies = plain.energy("total"), plain.copies
    gains = {plan.name: plan.gain[: round(settings.num_steps * plan.stop_at)] for plan in plans}
    pictures = {
        "samples": plotting.images_by_energy(
            plain.images,
            energy,
            nearest=train[copies.indices[:, 0]],
            memorized=copies.memorized,
            columns=14,
        ),
        "histogram": plotting.energy_histogram(energy, memorized=copies.memorized),
        "profile": plotting.energy_and_profile(
            {row.name: row.run for row in rows}, gains=gains, tau_split=settings.tau_split
        ),
        "goldilocks": goldilocks(results),
        "front": front(results),
    }
    return {name: plotting.png(picture) for name, picture in pictures.items()}


def goldilocks(results: Results) -> plotting.Figure | plotting.SubFigure:
    """Confidence and F_mem by fifths of energy and of its straightness excess."""
    quantities = {"total": "kinetic path energy", "excess": "straightness excess"}
    statistics = {"classifier confidence": "confidence", "F_mem": "f_mem"}
    panels = {
        label: {
            quantity: [fifth.group(name) for fifth in results.fifths[part]]
            for part, quantity in quantities.items()
        }
        for label, name in statistics.items()
    }
    references = {label: getattr(results.held_out, name) for label, name in statistics.items()}
    return plotting.by_energy_group(panels, references=references)


def front(results: Results) -> plotting.Figure | plotting.SubFigure:
    """F_mem against Fréchet distance, with the scores of held-out digits."""
    settings = [
        plotting.FrontSetting(
            row.name,
            plotting.Interval(row.f_mem, *row.f_mem_interval),
            plotting.Interval(row.frechet),
        )
        for row in results.rows
    ]
    return plotting.fronts(
        settings,
        xlabel="Fréchet distance to held-out digits, in classifier features (lower is better)",
        held_out=(results.held_out.f_mem, results.held_out.frechet_floor),
    )


def render_report(results: Results, pictures: dict[str, bytes]) -> str:
    """The HTML page with the embedded pictures, named as in `TITLES`."""
    figures = [
        {"title": title, "caption": caption, "png": pictures[name]}
        for name, (title, caption) in TITLES.items()
    ]
    return render(
        "kinetic_jax.demo",
        "report.html.jinja",
        **dataclasses.asdict(results),
        figures=figures,
        header=HEADER,
        cells=table_cells(results),
    )
