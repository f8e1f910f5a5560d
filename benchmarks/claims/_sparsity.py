"""Claim: more energy goes with sparser regions of the data."""

from typing import Any

import numpy as np

from benchmarks.claims._frames import class_means, principal_axes, whitened_energies
from benchmarks.claims._runs import FRAMES as FRAME_NAMES
from benchmarks.claims._runs import QUANTITIES, Run, common_noise, sampled
from benchmarks.claims._subjects import Subjects
from benchmarks.claims._words import Line, as_json, correlation, interval, with_interval
from kinetic_jax import plotting
from kinetic_jax.fields import VelocityField
from kinetic_jax.metrics import kde_support, knn_support, paired_difference

PARTS = ("total", "displacement", "excess", "length", "bending")
FRAME_WORDS = {
    "mean frame": "in the frame of the mean",
    "class frames": "in the frames of the classes",
    "whitened": "whitened",
    "without ten axes": "whitened without ten axes",
}
FRAMES = tuple(FRAME_WORDS)


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Correlations of kinetic quantities with support, for both models."""
    n = config["samples"]
    x0 = common_noise(n, subjects.data.event_shape, config["seed"])
    labels = np.arange(n, dtype=np.int32) % subjects.data.num_classes
    all_images, few, mean = subjects.data.images, subjects.few, subjects.mean_image
    classes = subjects.data.labels
    assert classes is not None, "claims are measured on labelled images"
    means = class_means(all_images, classes)

    def run_of(field: VelocityField, rows: np.ndarray, cond: np.ndarray | None) -> Run:
        """Energies at rest, in the frames of the mean and of the classes, and whitened."""
        own, axes = means, principal_axes(rows)
        if rows is few:
            own = class_means(few, classes[: len(few)])
        # The class of a sample without a label is the one that the classifier sees.
        by_class = own[cond] if cond is not None else lambda x: own[subjects.logits(x).argmax(1)]
        frames = {"mean frame": rows.mean(axis=0), "class frames": by_class}
        run = sampled(field, x0, cond, frames=frames, num_steps=config["steps"], progress=progress)
        for name, left_out in (("whitened", 0), ("without ten axes", 10)):
            energies = whitened_energies(
                field, x0, cond, axes, steps=config["steps"], left_out=left_out
            )
            run.quantities[name] = energies[run.is_valid]
            progress(n)
        return run

    runs = {
        "all images": (run_of(subjects.general, all_images, labels), all_images),
        f"{len(few):,} images": (run_of(subjects.memorizing, few, None), few),
    }
    centred = None
    if subjects.centred is not None:
        centred = sampled(
            subjects.centred, x0, labels, num_steps=config["steps"], progress=progress
        )
        # Its samples where the images are.
        centred = centred._replace(images=centred.images + mean)
        runs["all images, centred"] = (centred, all_images)
    return {
        "samples": n,
        "models": {name: _correlated(run, rows, subjects) for name, (run, rows) in runs.items()},
        "centred": None if centred is None else _compared(runs["all images"][0], centred),
    }


def _compared(run: Run, centred: Run) -> dict[str, Any]:
    """E of the centred model in its own frame beside E' of the other in that of the mean."""
    pairs = []
    for of, name in ((run, "mean frame"), (centred, "total")):
        energies = np.full(len(of.is_valid), np.nan)
        energies[of.is_valid] = of.quantities[name]
        pairs.append(energies)
    excess = [float(of.quantities["excess"].mean()) for of in (run, centred)]
    both = run.is_valid & centred.is_valid
    return {
        "mean frame": float(np.nanmean(pairs[0])),
        "centred": float(np.nanmean(pairs[1])),
        "difference": as_json(paired_difference(pairs[1], pairs[0], interval="bootstrap")),
        "excesses": excess,
        "correlation": correlation(pairs[0][both], pairs[1][both]),
    }


def _correlated(run: Run, rows: np.ndarray, subjects: Subjects) -> dict[str, Any]:
    spaces = {
        "pixels": (run.images, rows),
        "features": (subjects.features(run.images), subjects.features(rows)),
    }
    supports = {}
    for space, (samples, reference) in spaces.items():
        supports[f"kNN, {space}"] = np.asarray(knn_support(samples, reference, 10, progress=False))
        supports[f"KDE, {space}"] = np.asarray(kde_support(samples, reference, progress=False))
    # In many dimensions Scott's width is near the spread of all data: is it local at all?
    away = (run.images - rows.mean(axis=0)).reshape(len(run.images), -1)
    nearness = -np.linalg.norm(away, axis=1)
    return {
        "bad": run.bad,
        "support": {
            name: {
                part: {
                    "plain": correlation(run.quantities[part], support),
                    "given ||x1||²": correlation(run.quantities[part], support, run.norm2),
                }
                for part in (*PARTS, *FRAMES)
                if part in run.quantities
            }
            for name, support in supports.items()
        },
        "E and ||x1||²": correlation(run.quantities["total"], run.norm2),
        "KDE and the mean image": correlation(supports["KDE, pixels"], nearness),
    }


def verdict(results: dict[str, Any]) -> str:
    """The outcome, beside what was published."""
    sentences = []
    for name, model in results["models"].items():
        of = model["support"]
        near = of["kNN, pixels"]
        sentences.append(
            f"Model of {name}: that energy is higher where the data are sparser, by kNN in pixels, "
            f"{_holds(near['total']['plain'])} for E itself (ρ with support "
            f"{_rho(near, 'total')}; in features {_rho(of['kNN, features'], 'total')}, by KDE "
            f"{_rho(of['KDE, pixels'], 'total')} in pixels and "
            f"{_rho(of['KDE, features'], 'total')}; kNN in pixels given ||x1||² "
            f"{with_interval(near['total']['given ||x1||²'])}), and "
            f"{_holds(near['excess']['plain'])} for the excess (kNN {_rho(near, 'excess')} and "
            f"{_rho(of['kNN, features'], 'excess')}, KDE {_rho(of['KDE, pixels'], 'excess')} and "
            f"{_rho(of['KDE, features'], 'excess')}). E goes with ||x1||² at ρ = "
            f"{with_interval(model['E and ||x1||²'])}, and KDE in pixels, of Scott's width, with "
            f"nearness to the mean image at {with_interval(model['KDE and the mean image'])}."
        )
        if "mean frame" in near:
            sentences.append(
                "In other frames ρ of E with kNN support in pixels is "
                + ", ".join(f"{_rho(near, frame)} ({FRAME_WORDS[frame]})" for frame in FRAMES)
                + "."
            )
    if results["centred"] is not None:
        own = results["centred"]
        sentences.append(
            f"Trained on images less their mean, the model of all images has a mean E of "
            f"{own['centred']:.1f}; E' of the other in the frame of the mean is "
            f"{own['mean frame']:.1f}, a difference of "
            f"{with_interval(own['difference'], '+.1f')} on the same noise, at excesses of "
            f"{own['excesses'][1]:.1f} and {own['excesses'][0]:.1f}; ρ between the two is "
            f"{with_interval(own['correlation'])}."
        )
    published = "Published (CIFAR-10): kNN −0.65, KDE −0.64 for E."
    return " ".join([*sentences, published])


def _rho(support: dict[str, Any], part: str) -> str:
    return with_interval(support[part]["plain"])


def _holds(results: dict[str, Any]) -> str:
    if results["high"] >= 0:
        return "does not hold"
    return "holds" if results["value"] <= -0.3 else "holds weakly"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for the README."""
    return [
        Line(
            f"ρ of {text} with kNN support in pixels, model of {name}",
            "−0.65 (CIFAR-10)" if part == "total" else "",
            with_interval(model["support"]["kNN, pixels"][part]["plain"]),
        )
        for part, text in (("total", "E"), ("excess", "the excess"))
        for name, model in results["models"].items()
    ] + [
        Line(
            f"ρ of E with the same, {FRAME_WORDS[frame]}, model of {name}",
            "",
            with_interval(model["support"]["kNN, pixels"][frame]["plain"]),
        )
        for frame in FRAMES
        for name, model in results["models"].items()
        if frame in model["support"]["kNN, pixels"]
    ]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """A dot for every correlation."""
    named, panels = QUANTITIES | FRAME_NAMES, {}
    rows = [part for part in named if part in (*PARTS, *FRAMES)]
    unknown = {"plain": dict.fromkeys(("value", "low", "high"))}  # the centred model has one frame
    for name, model in results["models"].items():
        panels[f"model of {name}"] = {
            support: {named[part]: interval(parts.get(part, unknown)["plain"]) for part in rows}
            for support, parts in model["support"].items()
        }
    text = "Spearman's ρ with support (negative: more of it where data are sparser)"
    return {"sparsity": plotting.intervals(panels, xlabel=text)}
