"""Gains and time grids by `tune`: does what it promises hold on fresh noise, or is none better?"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._judged import judged
from benchmarks.claims._promises import COPIES, SNAP
from benchmarks.claims._promises import draw as draw
from benchmarks.claims._promises import table as table
from benchmarks.claims._promises import verdict as verdict
from benchmarks.claims._runs import common_noise
from benchmarks.claims._subjects import BATCH, Subjects
from benchmarks.claims._words import CONFIDENCE
from kinetic_jax.sampling import sample
from kinetic_jax.tuning import (
    Descent,
    Drawn,
    Setting,
    Tuning,
    copies_of,
    frechet_to,
    gain_by_gradients,
    kernel_penalty,
    kts_settings,
    profile_grids,
    snap_of,
    tune,
)
from kinetic_jax.tuning._objectives import Objective

PILOT = 100  # trajectories of the run from whose profile grids are made


class _Task(NamedTuple):
    """One call of `tune`.

    Attributes:
        family: what was tuned.
        goal: `COPIES` or `SNAP`.
        settings: those among which it chose.
        bound: greatest change of the distance.
    """

    family: str
    goal: str
    settings: tuple[Setting, ...]
    bound: float


def measure(subjects: Subjects, config: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Every choice of `tune` with its promise, judged on noise that `tune` never saw.

    Each task has its own noise for the search, its own fresh noise, and its own noise that judges.
    """
    earlier = subjects.nearest_step(config["earlier"])
    goals = {
        COPIES: copies_of(subjects.few),
        SNAP: snap_of(
            subjects.memorizing,
            subjects.checkpoints[earlier],
            key=jax.random.key(config["seed"] + 1),
            draws=config["draws"],
        ),
    }
    descent = _descent(subjects, config, goals[SNAP])
    tasks = _tasks(subjects, config, descent.setting)
    tunings = []
    for number, task in enumerate(tasks):
        tuning = _tuned(task, number, goals[task.goal], subjects, config, progress)
        chosen = None
        if tuning.promised is None:
            progress(4 * config["samples"])  # no confirmation, and nothing to judge
        else:
            chosen, _ = judged(tuning.promised.setting, number, subjects, config, progress)
        about = {"family": task.family, "goal": task.goal}
        tunings.append(about | tuning.as_json() | {"judged": chosen})
    free, plain = judged(descent.setting, len(tasks), subjects, config, progress)
    return {
        "samples": config["samples"],
        "earlier": earlier,
        "descent": {
            "values": descent.values.tolist(),
            "losses": descent.losses.tolist(),
            "judged": free,
        },
        "no gain": plain,
        "tunings": tunings,
    }


def _tuned(
    task: _Task,
    number: int,
    objective: Objective,
    subjects: Subjects,
    config: dict[str, Any],
    progress: Any,
) -> Tuning:
    """The result of one task, by the noise of its number."""

    def counted(drawn: Drawn) -> Any:
        progress(len(drawn.run.status))
        return objective(drawn)

    return tune(
        subjects.memorizing,
        task.settings,
        objective=counted,
        distance=frechet_to(subjects.data.held_out, embed=subjects.features),
        bound=task.bound,
        key=jax.random.fold_in(jax.random.key(config["seed"]), number),
        num_samples=config["samples"],
        shape=subjects.data.event_shape,
        num_steps=config["steps"],
        batch_size=BATCH,
        confidence=CONFIDENCE,
        resamples=config["resamples"],
        progress=False,
    )


def _descent(subjects: Subjects, config: dict[str, Any], objective: Objective) -> Descent:
    """A free gain for little snap, with a penalty on the distance of the classifier's features."""
    held_out = subjects.data.held_out[: config["penalty rows"]]
    return gain_by_gradients(
        subjects.memorizing,
        objective,
        key=jax.random.key(config["seed"]),
        num_knots=config["knots"],
        iterations=config["iterations"],
        batch_size=config["gradient batch"],
        learning_rate=config["learning rate"],
        penalty=kernel_penalty(held_out, embed=subjects.judge.features),
        weight=config["weight"],
        shape=subjects.data.event_shape,
        num_steps=config["gradient steps"],
        progress=False,
    )


def _tasks(subjects: Subjects, config: dict[str, Any], free: Setting) -> list[_Task]:
    """The calls of `tune`, in the order of the results."""
    settings = kts_settings(config["alpha0"], config["beta0"], config["tau_split"])
    x0 = common_noise(PILOT, subjects.data.event_shape, config["seed"] + 2000)
    pilot = sample(subjects.memorizing, jnp.asarray(x0), num_steps=config["steps"])
    grids = profile_grids(pilot, config["steps"], floors=config["floors"])
    middle = config["bound"]
    return [
        *(_Task("KTS", COPIES, settings, bound) for bound in config["bounds"]),
        _Task("KTS", SNAP, settings, middle),
        _Task("free gain", SNAP, (free,), middle),
        _Task("grids", COPIES, grids, middle),
    ]


def count(config: dict[str, Any]) -> int:
    """The number of runs of `measure`, at most."""
    sizes = [len(config[name]) for name in ("alpha0", "beta0", "tau_split")]
    no_strength = (0.0 in config["alpha0"]) * (0.0 in config["beta0"]) * sizes[2]
    of_kts = int(np.prod(sizes)) - no_strength
    tried = [of_kts] * (len(config["bounds"]) + 1) + [1, len(config["floors"])]
    # No gain besides the settings, two runs that confirm and two that judge; last the free gain.
    return sum(number + 1 + 2 + 2 for number in tried) + 2
