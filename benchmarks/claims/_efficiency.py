"""The distance of flows from optimal transport, and the steps that they need."""

from typing import Any

import jax
import numpy as np

from benchmarks.claims._runs import Run, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, as_json, bootstrap, interval, with_interval
from kinetic_jax import plotting
from kinetic_jax.comparison._measure import relative_error, steps_needed
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import efficiency, transport_bounds

# Of `transport_bounds`, least first.
BOUNDS = {
    "floor": "floor (Gelbrich)",
    "assignment": "assignment of noise to images",
    "gaussian": "exact flow of the Gaussian",
    "independent": "straight lines, independent ends",
}


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Mean energy between its bounds, and the error of few steps, of every model."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    labels = np.arange(n, dtype=np.int32) % subjects.data.num_classes
    key = jax.random.key(config["seed"])
    few = f"{len(subjects.few):,} images"
    models: dict[str, tuple[VelocityField, np.ndarray | None]] = {
        "all images": (subjects.general, labels),
        few: (subjects.memorizing, None),
    }
    models |= {name: (field, labels) for name, field in subjects.couplings.items()}
    bounds = {
        name: transport_bounds(rows, key=key, num_assigned=config["assigned"])
        for name, rows in (("all images", subjects.data.images), (few, subjects.few))
    }
    results = {}
    for name, (field, cond) in models.items():
        own = bounds[few if name == few else "all images"]
        options = {"num_steps": config["steps"], "progress": progress}
        run = sampled(field, x0, cond, **options)
        shorter = {
            steps: _error(run, sampled(field, x0, cond, num_steps=steps, progress=progress), x0)
            for steps in config["fewer"]
        }
        energies = run.quantities["total"]
        results[name] = {
            "bad": run.bad,
            "energy": bootstrap(np.mean, [energies]),
            "excess": bootstrap(np.mean, [run.quantities["excess"]]),
            "bounds": own._asdict(),
            "efficiency": as_json(efficiency(energies, own)),
            "errors": {str(steps): error for steps, error in shorter.items()},
            "steps needed": steps_needed(shorter, config["tolerance"]),
        }
    return {"samples": n, "tolerance": config["tolerance"], "models": results}


def _error(run: Run, shorter: Run, x0: np.ndarray) -> float:
    """RMS distance of the samples from those of fine steps, over the RMS way of these."""
    both = run.is_valid & shorter.is_valid
    ends = [of.images[both[of.is_valid]] for of in (run, shorter)]
    return relative_error(x0[both], *ends)


def count(config: dict[str, Any], subjects: Subjects) -> int:
    """The number of runs of `measure`."""
    return (2 + len(subjects.couplings)) * (1 + len(config["fewer"]))


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    sentences = []
    for images, models in _by_images(results).items():
        bounds = next(iter(models.values()))["bounds"]
        sentences.append(
            f"For {images} mean E has a floor of {bounds['floor']:.1f}; the exact flow of the "
            f"Gaussian has {bounds['gaussian']:.1f}, straight lines between independent ends have "
            f"{bounds['independent']:.1f}, and an assignment of {bounds['num_assigned']:,} draws, "
            f"which are few in so many dimensions, costs {bounds['assignment']:.1f}."
        )
        for kind, model in models.items():
            needed = model["steps needed"]
            steps = "more than any measured" if needed is None else f"{needed}"
            by = kind and f" by {kind}"
            sentences.append(
                f"The model{by}: mean E {with_interval(model['energy'], '.1f')}, "
                f"efficiency {with_interval(model['efficiency'], '.3f')}, excess "
                f"{with_interval(model['excess'], '.1f')}; Euler steps for an error of "
                f"{100 * results['tolerance']:g}% of the way: {steps}."
            )
    return " ".join(sentences)


def _by_images(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The models by the images that they were trained on and by their coupling, "" for none."""
    grouped: dict[str, dict[str, Any]] = {}
    for name, model in results["models"].items():
        images, _, kind = name.partition(", ")
        grouped.setdefault(images, {})[kind] = model
    return grouped


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = []
    for name, model in results["models"].items():
        needed = model["steps needed"]
        lines += [
            Line(f"efficiency, model of {name}", "", with_interval(model["efficiency"], ".3f")),
            Line(
                f"Euler steps for an error of {100 * results['tolerance']:g}%, model of {name}",
                "",
                "more than measured" if needed is None else f"{needed}",
            ),
        ]
    return lines


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The mean energies of models between the bounds of their images, whose floor is a line."""
    series: dict[str, dict[str, plotting.Interval]] = {}
    for images, models in _by_images(results).items():
        bounds = next(iter(models.values()))["bounds"]
        rows = {label: plotting.Interval(bounds[name]) for name, label in BOUNDS.items()}
        rows |= {
            f"model{kind and f', {kind}'}": interval(model["energy"])
            for kind, model in models.items()
        }
        series[f"models of {images}"] = rows
    floor = next(iter(results["models"].values()))["bounds"]["floor"]
    text = "mean kinetic path energy"
    return {"efficiency": plotting.intervals({"": series}, xlabel=text, centre=floor)}
