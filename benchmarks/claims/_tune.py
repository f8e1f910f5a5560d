"""Gains and time grids by `tune`: does what it promises hold on fresh noise, or is none better?"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims._rows import Row, compared, measured
from benchmarks.claims._runs import common_noise, sampled
from benchmarks.claims._subjects import BATCH, Subjects
from benchmarks.claims._words import (
    CONFIDENCE,
    Line,
    as_json,
    interval,
    percent,
    points,
    with_interval,
)
from kinetic_jax import plotting
from kinetic_jax.copies import snap
from kinetic_jax.metrics import paired_difference
from kinetic_jax.sampling import sample
from kinetic_jax.tuning import (
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

COPIES, SNAP = "copies", "snap"
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
    """Every choice of `tune` with what it promised, and once more on noise that it never saw."""
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
    distance = frechet_to(subjects.data.held_out, embed=subjects.features)
    descent = _descent(subjects, config, goals[SNAP])
    tunings: list[tuple[_Task, Tuning]] = []
    for task in _tasks(subjects, config, descent.setting):

        def counted(drawn: Drawn, goal: str = task.goal) -> Any:
            progress(len(drawn.run.status))
            return goals[goal](drawn)

        tuning = tune(
            subjects.memorizing,
            task.settings,
            objective=counted,
            distance=distance,
            bound=task.bound,
            key=jax.random.key(config["seed"]),
            num_samples=config["samples"],
            shape=subjects.data.event_shape,
            num_steps=config["steps"],
            batch_size=BATCH,
            confidence=CONFIDENCE,
            resamples=config["resamples"],
            progress=False,
        )
        if tuning.confirmed is None:
            progress(2 * config["samples"])
        tunings.append((task, tuning))
    judge = _Judge(subjects, config, earlier, progress)
    judged = [_chosen(tuning, judge) for _, tuning in tunings]
    free = judge(descent.setting)
    progress((len(tunings) + 1 - judge.number) * config["samples"])
    return {
        "samples": config["samples"],
        "earlier": earlier,
        "descent": {
            "values": descent.values.tolist(),
            "losses": descent.losses.tolist(),
            "judged": free,
        },
        "no gain": judge.plain,
        "tunings": [
            {"family": task.family, "goal": task.goal, **tuning.as_json(), "judged": again}
            for (task, tuning), again in zip(tunings, judged, strict=True)
        ],
    }


def _descent(subjects: Subjects, config: dict[str, Any], objective: Any) -> Any:
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


class _Judge:
    """Chosen settings on a third noise, which `tune` used neither for its search nor after it."""

    def __init__(
        self, subjects: Subjects, config: dict[str, Any], earlier: int, progress: Any
    ) -> None:
        self._subjects, self._config, self._progress = subjects, config, progress
        self._earlier = subjects.checkpoints[earlier]
        self._x0 = common_noise(config["samples"], subjects.data.event_shape, config["seed"] + 1000)
        self._rows: dict[str, tuple[Row, np.ndarray]] = {}
        self._baseline = self._row(Setting("no gain"))
        self.plain = compared("no gain", "no gain", *2 * (self._baseline[0],))

    def __call__(self, setting: Setting) -> dict[str, Any]:
        """Copies, distance and snap under a setting, with their changes over no gain."""
        (row, scores), (plain, plain_scores) = self._row(setting), self._baseline
        moved = paired_difference(scores, plain_scores, confidence=CONFIDENCE)
        return {**compared(setting.name, "", row, plain), "snap change": as_json(moved)}

    @property
    def number(self) -> int:
        """The number of settings that were judged, no gain among them: each of them once."""
        return len(self._rows)

    def _row(self, setting: Setting) -> tuple[Row, np.ndarray]:
        """The row and the snap of its completed samples."""
        if setting.name not in self._rows:
            options = {"num_steps": None if "grid" in setting.options else self._config["steps"]}
            run = sampled(
                self._subjects.memorizing,
                self._x0,
                transform=setting.transform,
                progress=self._progress,
                **(options | dict(setting.options)),
            )
            scores = np.full(len(run.is_valid), np.nan)
            scores[run.is_valid] = self._snap(run.completed)
            self._rows[setting.name] = measured(run, self._subjects), scores
        return self._rows[setting.name]

    def _snap(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                snap(
                    self._subjects.memorizing,
                    self._earlier,
                    images[start : start + BATCH],
                    key=jax.random.key(self._config["seed"] + 1),
                    draws=self._config["draws"],
                )
                for start in range(0, len(images), BATCH)
            ]
        )


def _chosen(tuning: Tuning, judge: _Judge) -> dict[str, Any] | None:
    """The setting that was chosen, whether it was confirmed or not; None of no choice."""
    return None if tuning.promised is None else judge(tuning.promised.setting)


def count(config: dict[str, Any]) -> int:
    """The number of runs of `measure`, at most."""
    sizes = [len(config[name]) for name in ("alpha0", "beta0", "tau_split")]
    no_strength = (0.0 in config["alpha0"]) * (0.0 in config["beta0"]) * sizes[2]
    of_kts = int(np.prod(sizes)) - no_strength
    number = len(config["bounds"]) + 1
    return number * (of_kts + 3) + 4 + len(config["floors"]) + 3 + number + 3


def is_worse(one: dict[str, Any]) -> bool:
    """True if the answer is worse than no gain in both axes on the noise that judges."""
    if one["is_no_gain"]:
        return False
    score, distance = _judged_changes(one)
    return bool(score["value"] > 0 and distance["value"] > 0)


def _judged_changes(one: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Changes of score and distance, over no gain, on the noise that judges."""
    judged = one["judged"]
    score = judged["completed"]["f_mem change"] if one["goal"] == COPIES else judged["snap change"]
    return score, judged["frechet change"]


def is_kept(one: dict[str, Any]) -> bool | None:
    """True if both changes on the noise that judges lie where the promise expects them."""
    if one["judged"] is None:
        return None
    expected = one["expected_objective"], one["expected_distance"]
    return all(
        of["low"] <= change["value"] <= of["high"]
        for of, change in zip(expected, _judged_changes(one), strict=True)
    )


def verdict(results: dict[str, Any]) -> str:
    """The outcome; nothing was published on this."""
    plain, tunings = results["no gain"], results["tunings"]
    values, free = results["descent"]["values"], results["descent"]["judged"]
    sentences = [
        f"Without a gain {percent(plain['completed']['f_mem'])} of the completed samples are "
        f"copies at a Fréchet distance of {with_interval(plain['frechet'], '.2f')}."
    ]
    sentences += [_outcome(one) for one in tunings]
    sentences.append(
        f"The gain by gradients has its {len(values)} values between {min(values):.2f} and "
        f"{max(values):.2f}; chosen or not, on a third noise it changes copies by "
        f"{_both(COPIES, free['completed']['f_mem change'], free['frechet change'])}, and snap by "
        f"{with_interval(free['snap change'], '+.3f')}; of the copies without a gain "
        f"{percent(free['completed']['kept copies'])} keep their nearest image. What keeps its "
        "image and is no copy any more was hidden, not prevented."
    )
    kept = ", ".join(f"{what}: {share}" for what, share in _checks(tunings).items())
    number = sum(one["is_no_gain"] for one in tunings)
    sentences.append(f"{number} of {len(tunings)} tunings answer no gain; {kept}.")
    return " ".join(sentences)


def _checks(tunings: list[dict[str, Any]]) -> dict[str, str]:
    """How many choices kept their promise, and how many answers are worse than no gain."""
    chosen = [one for one in tunings if one["promised"] is not None]
    answered = [one for one in chosen if not one["is_no_gain"]]
    return {
        what: f"{sum(bool(check(one)) for one in own)} of {len(own)}"
        for what, check, own in (
            ("choices as promised on fresh noise", _as_promised, chosen),
            ("choices as promised on a third noise", is_kept, chosen),
            ("answers worse than no gain in both axes on a third noise", is_worse, answered),
        )
    }


def _as_promised(one: dict[str, Any]) -> bool:
    return bool(one["is_as_promised"])


def _title(one: dict[str, Any]) -> str:
    return f"{one['family']} for {one['goal']}, bound {one['bound']:g}"


def _outcome(one: dict[str, Any]) -> str:
    title = f"{_title(one)[0].upper()}{_title(one)[1:]}"
    if one["promised"] is None:
        return f"{title}: no gain ({one['reason']})."
    name = one["promised"]["setting"]["name"]
    promised, confirmed = (_changes(one, one[stage]) for stage in ("promised", "confirmed"))
    kept = "as promised" if one["is_as_promised"] else "not as promised"
    answer = f"no gain ({one['reason']})" if one["is_no_gain"] else name
    judged = _both(one["goal"], *_judged_changes(one))
    text = (
        f"{title}: {answer}; {name} promised {promised}, has on fresh noise {confirmed}, "
        f"{kept}, and on a third {judged}"
    )
    if one["goal"] == SNAP:
        copies = one["judged"]["completed"]["f_mem change"]
        text += f", and {points(copies)} of completed copies"
    return f"{text}."


def _changes(one: dict[str, Any], stage: dict[str, Any]) -> str:
    return _both(one["goal"], stage["objective_change"], stage["distance_change"])


def _both(goal: str, score: dict[str, float], distance: dict[str, float]) -> str:
    of_score = points(score) if goal == COPIES else with_interval(score, "+.3f")
    return f"{of_score} at a distance changed by {with_interval(distance, '+.3f')}"


def table(results: dict[str, Any]) -> list[Line]:
    """The figures for `docs/results.md`."""
    lines = []
    for one in results["tunings"]:
        if one["promised"] is None:
            lines.append(Line(f"answer of {_title(one)}", "", "no gain"))
            continue
        answer = one["setting"]["name"]
        lines.append(Line(f"answer of {_title(one)}", "", answer))
        name = one["promised"]["setting"]["name"]
        for stage, when in (("promised", "promised"), ("confirmed", "on fresh noise")):
            what = f"changes by {name}, {when}: {_title(one)}"
            lines.append(Line(what, "", _changes(one, one[stage])))
        copies = one["judged"]["completed"]["f_mem change"]
        what = f"completed F_mem by {name} on a third noise: {_title(one)}"
        lines.append(Line(what, "", points(copies)))
    kept = percent(results["descent"]["judged"]["completed"]["kept copies"])
    lines.append(Line("copies that keep their image under the gain by gradients", "", kept))
    return lines + [Line(what, "", share) for what, share in _checks(results["tunings"]).items()]


def draw(results: dict[str, Any]) -> dict[str, plotting.Figure | plotting.SubFigure]:
    """The settings on the noise of the search, and those chosen, on fresh noise, by objective."""
    labels = {COPIES: None, SNAP: "mean snap (lower is better)"}
    return {
        picture: plotting.fronts(
            _drawn([one for one in results["tunings"] if one["goal"] == goal]),
            xlabel="change of the Fréchet distance over no gain (classifier features)",
            ylabel=labels[goal],
            baseline="no gain",
        )
        for goal, picture in ((COPIES, "tune"), (SNAP, "tune-snap"))
    }


def _drawn(tunings: list[dict[str, Any]]) -> list[plotting.FrontSetting]:
    """The tunings of one objective have one noise, so each of their settings is drawn once."""
    searched = {result["setting"]["name"]: result for one in tunings for result in one["results"]}
    chosen = {
        one["confirmed"]["setting"]["name"]: one["confirmed"]
        for one in tunings
        if one["confirmed"] is not None
    }
    rows = [_point(of["setting"]["family"], of) for of in searched.values()]
    return rows + [_point(f"{name}, fresh noise", of, True) for name, of in chosen.items()]


def _point(family: str, of: dict[str, Any], is_control: bool = False) -> plotting.FrontSetting:
    change = interval(of["objective_change"])
    no_gain = of["objective"] - change.value
    scores = plotting.Interval(of["objective"], no_gain + change.low, no_gain + change.high)
    return plotting.FrontSetting(family, scores, interval(of["distance_change"]), is_control)
