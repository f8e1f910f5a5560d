"""Claim: what shaping does is robust to solver, grid and steps; how its own settings matter."""

from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._rows import Row, compared, measured
from benchmarks.claims._runs import common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, interval, share, with_interval
from kinetic_jax import plotting
from kinetic_jax.transforms import kts, kts_gain

SOLVERS = {
    "Euler": (diffrax.Euler(), 1),
    "midpoint": (diffrax.Midpoint(), 2),
    "Heun": (diffrax.Heun(), 2),
}


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Change of F_mem by KTS, one factor at a time, each against no gain under the same solver."""
    x0 = common_noise(config["samples"], subjects.data.event_shape, config["seed"])
    known: dict[str, Row] = {}  # the usual setting is a value of several factors

    def row_of(shaping: dict[str, Any] | None, options: dict[str, Any]) -> Row:
        name = _name(shaping, options)
        if name not in known:
            transform = None if shaping is None else kts(**shaping)
            run = sampled(
                subjects.memorizing, x0, transform=transform, progress=progress, **options
            )
            known[name] = measured(run, subjects)
        return known[name]

    rows = []
    for factor, value, shaping, options in _settings(config):
        baseline = row_of(None, options)
        row = compared(value, factor, row_of(shaping, options), baseline)
        base = baseline.copied
        row["setting"] = _name(shaping, options)
        row["f_mem without"] = share(base)
        rows.append(row)
    return {"samples": config["samples"], "strength": config["strength"], "rows": rows}


def count(config: dict[str, Any]) -> int:
    """The number of runs of `measure`."""
    settings = [(shaping, options) for _, _, shaping, options in _settings(config)]
    return len({_name(own, options) for shaping, options in settings for own in (shaping, None)})


def _name(shaping: dict[str, Any] | None, options: dict[str, Any]) -> str:
    return repr((shaping and sorted(shaping.items()), sorted(options.items())))


def _settings(config: dict[str, Any]) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Factor, value, arguments of `kts` and options of `sample`."""
    s, evaluations = config["strength"], config["evaluations"]
    own: dict[str, Any] = {"alpha0": s, "beta0": s, "tau_split": config["tau_split"]}
    own |= {"launch": "linear", "landing": "exponential"}
    usual = {"solver": diffrax.Euler(), "num_steps": evaluations, "grid": "uniform"}
    settings = [("τ", f"{tau:g}", own | {"tau_split": tau}, usual) for tau in config["taus"]]
    for launch in config["launches"]:
        for landing in config["landings"]:
            shapes = own | {"launch": launch, "landing": landing}
            shapes |= _same_areas(own, launch, landing, evaluations)
            sizes = f"(α0 = {shapes['alpha0']:.2g}, β0 = {shapes['beta0']:.2g})"
            settings.append(("shapes", f"{launch} / {landing} {sizes}", shapes, usual))
    for name, (solver, cost) in SOLVERS.items():
        settings.append(
            ("solver", name, own, usual | {"solver": solver, "num_steps": evaluations // cost})
        )
    for number in config["budgets"]:
        settings.append(("evaluations", f"{number}", own, usual | {"num_steps": number}))
    for grid in ("uniform", "cosine"):
        settings.append(("grid", grid, own, usual | {"grid": grid}))
    return settings


def _same_areas(own: dict[str, Any], launch: str, landing: str, steps: int) -> dict[str, float]:
    """α0 and β0 with which other shapes have the ∫ η dt of the usual ones, phase by phase.

    On the grid that is walked, so that shape alone changes, and not how much there is of it.
    """
    t, tau = jnp.arange(steps) / steps, own["tau_split"]

    def areas(**shapes: Any) -> tuple[float, float]:
        gain = np.asarray(kts_gain(t, 1.0, 1.0, tau, **shapes), np.float64) - 1
        return float(gain[gain > 0].sum()), float(gain[gain < 0].sum())

    usual = areas(launch=own["launch"], landing=own["landing"])
    other = areas(launch=launch, landing=landing)
    return {
        "alpha0": own["alpha0"] * usual[0] / other[0],
        "beta0": own["beta0"] * usual[1] / other[1],
    }


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what was published."""
    rows = results["rows"]
    solving = (row for row in rows if row["family"] in ("solver", "evaluations", "grid"))
    robust = list(
        {row["setting"]: row for row in solving}.values()
    )  # the usual one is of all three
    falls = sum(row["f_mem change"]["high"] < 0 for row in robust)
    least = max(robust, key=lambda row: row["f_mem change"]["value"])
    most = min(robust, key=lambda row: row["f_mem change"]["value"])

    def points(row: dict[str, Any]) -> str:
        change = {key: 100 * value for key, value in row["f_mem change"].items()}
        return with_interval(change, "+.1f")

    def listed(family: str) -> str:
        return "; ".join(
            f"{row['name']}: {points(row)}, distance {with_interval(row['frechet change'], '+.2f')}"
            for row in rows
            if row["family"] == family
        )

    return (
        f"At α0 = β0 = {results['strength']:g} F_mem falls clearly under {falls} of {len(robust)} "
        f"solvers, budgets and grids (points: least with {least['family']} {least['name']}, "
        f"{points(least)}; most with {most['family']} {most['name']}, {points(most)}). By τ: "
        f"{listed('τ')}. By shapes of launch / landing, with the same ∫ η in either phase: "
        f"{listed('shapes')}. Published, at 0.01: F_mem falls 6 to 10 points under each solver and "
        "grid; FID 60.31, 48.58, 14.35, 21.07 at τ = 0.2, 0.4, 0.6, 0.8."
    )


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    rows = [r for r in results["rows"] if r["family"] in ("solver", "evaluations", "grid")]
    ends = [pick(rows, key=lambda row: row["f_mem change"]["value"]) for pick in (max, min)]
    points = ", ".join(
        with_interval({k: 100 * v for k, v in row["f_mem change"].items()}, "+.1f") for row in ends
    )
    what = f"points of F_mem at α0 = β0 = {results['strength']:g}: least, most of any solver, grid"
    return [Line(what, "−6 to −10 (at 0.01)", points)]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """Changes of F_mem and of the Fréchet distance, setting by setting."""
    panels: dict[str, dict[str, dict[str, plotting.Interval]]] = {}
    for what, text, factor in (
        ("f_mem change", "change of F_mem (points)", 100.0),
        ("frechet change", "change of the Fréchet distance", 1.0),
    ):
        series: dict[str, dict[str, plotting.Interval]] = {}
        for row in results["rows"]:
            name = f"{row['family']}: {row['name']}"
            series.setdefault(row["family"], {})[name] = interval(row[what], factor)
        panels[text] = series
    return {"ablation": plotting.intervals(panels, xlabel="with 95% intervals")}
