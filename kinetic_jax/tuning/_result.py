"""The result of `tune`."""

from typing import Any, NamedTuple

from kinetic_jax._json import without_nan
from kinetic_jax.metrics import Interval, PairedDifference
from kinetic_jax.tuning._settings import NO_GAIN, Setting

# A difference of float32 numbers that would be equal without rounding, relative to their size.
_ROUNDING = 1e-5
HEADER = ["setting", "objective", "its change", "distance", "its change", ""]


class SettingResult(NamedTuple):
    """One setting, measured on the same noise as no gain.

    Attributes:
        setting: the setting.
        objective: mean score of its samples.
        objective_change: mean score minus that of no gain, with a paired interval.
        distance: distance of its samples.
        distance_change: distance minus that of no gain, with an interval from paired resamples.
        num_failed: samples that failed, or have no score; they are left out.
        num_evals: mean number of evaluations of the field.
    """

    setting: Setting
    objective: float
    objective_change: PairedDifference
    distance: float
    distance_change: PairedDifference
    num_failed: int
    num_evals: float

    def as_json(self) -> dict[str, Any]:
        """Dictionaries, lists and numbers, with None for NaN."""
        changes = {
            name: dict(zip(change._fields, change, strict=True))
            for name, change in (
                ("objective_change", self.objective_change),
                ("distance_change", self.distance_change),
            )
        }
        plain = {name: getattr(self, name) for name in self._fields if name not in changes}
        results: dict[str, Any] = without_nan(plain | {"setting": self.setting.as_json()} | changes)
        return results


class Tuning(NamedTuple):
    """The result of `tune`.

    Attributes:
        setting: the answer; the one named "no gain" if none is better.
        reason: a phrase on why.
        results: all settings on the noise of the search, no gain first. Their intervals hold
            together: their level allows for the number of settings and both axes.
        front: names of the settings that none beats in both axes there, as measured.
        promised: the chosen setting's result there; None if none was chosen.
        confirmed: its result on fresh noise, at the level `confidence`, also where the answer is no
            gain because of it; None if none was chosen.
        expected_objective: where the confirmed change of the objective lies if the promise holds:
            the promised interval, widened for the noise of the fresh samples. None as above.
        expected_distance: the same for the change of the distance.
        bound: the greatest change of the distance that was allowed.
        confidence: level of the intervals.
        num_samples: samples of each setting, on either noise.
    """

    setting: Setting
    reason: str
    results: tuple[SettingResult, ...]
    front: tuple[str, ...]
    promised: SettingResult | None
    confirmed: SettingResult | None
    expected_objective: Interval | None
    expected_distance: Interval | None
    bound: float
    confidence: float
    num_samples: int

    @property
    def is_no_gain(self) -> bool:
        """True if the answer is no gain."""
        return self.setting.name == NO_GAIN

    @property
    def is_as_promised(self) -> bool | None:
        """True if both confirmed changes lie where they were expected; None without a choice."""
        if self.confirmed is None or self.expected_objective is None:
            return None
        assert self.expected_distance is not None
        of_objective = _within(self.confirmed.objective_change.value, self.expected_objective)
        of_distance = _within(self.confirmed.distance_change.value, self.expected_distance)
        return of_objective and of_distance

    def __str__(self) -> str:
        return f"{self.setting.name}: {self.reason}\n\n{self.to_markdown()}"

    def to_markdown(self) -> str:
        """The settings with their changes, and the answer on fresh noise, as a table."""
        rows = [HEADER, ["---", *["---:"] * 4, "---"]]
        for one in self.results:
            rows.append(
                _line(one, one.setting.name, "front" if one.setting.name in self.front else "")
            )
        if self.confirmed is not None:
            rows.append(_line(self.confirmed, self.confirmed.setting.name, "fresh noise"))
        return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)

    def as_json(self) -> dict[str, Any]:
        """Dictionaries, lists and numbers, with None for NaN."""

        def ends(interval: Interval | None) -> dict[str, float] | None:
            return None if interval is None else {"low": interval.low, "high": interval.high}

        results: dict[str, Any] = without_nan(
            {
                "setting": self.setting.as_json(),
                "is_no_gain": self.is_no_gain,
                "is_as_promised": self.is_as_promised,
                "reason": self.reason,
                "results": [one.as_json() for one in self.results],
                "front": list(self.front),
                "promised": None if self.promised is None else self.promised.as_json(),
                "confirmed": None if self.confirmed is None else self.confirmed.as_json(),
                "expected_objective": ends(self.expected_objective),
                "expected_distance": ends(self.expected_distance),
                "bound": self.bound,
                "confidence": self.confidence,
                "num_samples": self.num_samples,
            }
        )
        return results


def _line(result: SettingResult, name: str, remark: str) -> list[str]:
    changes = [
        "" if name == NO_GAIN else f"{change.value:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"
        for change in (result.objective_change, result.distance_change)
    ]
    return [
        name,
        f"{result.objective:.3g}",
        changes[0],
        f"{result.distance:.3g}",
        changes[1],
        remark,
    ]


def expected_again(promise: PairedDifference) -> Interval:
    """The interval of the same mean over as many fresh samples: √2 as wide, for both noises."""
    low, value, high = promise.low, promise.value, promise.high
    return Interval(value - 2**0.5 * max(value - low, 0.0), value + 2**0.5 * max(high - value, 0.0))


def _within(value: float, interval: Interval) -> bool:
    rounding = _ROUNDING * max(abs(interval.low), abs(interval.high))
    return interval.low - rounding <= value <= interval.high + rounding
