"""Records of a suite, as numbers that JSON can hold: every printed figure is one of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.speed._show import show
from benchmarks.speed._timing import Timing, compare, compare_first_calls


class Claim(NamedTuple):
    """A row worth telling, and how much it may be.

    Attributes:
        of: the row.
        at_most: the limit of its ratio; None tells the ratio without judging it.
        against: the row the ratio is to; None for the baseline, the first row.
        figure: whether it is the figure itself that the limit is of, not a ratio.
    """

    of: str
    at_most: float | None = None
    against: str | None = None
    figure: bool = False


class Recorder:
    """Takes down what one suite measures, and prints it.

    Attributes:
        rounds: interleaved rounds of a comparison.
        quick: whether to measure small sizes, to see that a suite runs.
        records: what was measured so far.
    """

    def __init__(self, rounds: int, *, quick: bool = False):
        self.rounds = rounds
        self.quick = quick
        self.records: list[dict[str, Any]] = []

    def pick(self, full: Any, quick: Any) -> Any:
        """One of the two, by `quick`."""
        return quick if self.quick else full

    def fewer(self, part: int) -> int:
        """A part of the rounds, for calls of many seconds."""
        return -(-self.rounds // part)

    def times(
        self,
        title: str,
        contenders: Mapping[str, Callable[[], Any]],
        *claims: Claim,
        rounds: int | None = None,
        dtype: str = "float32",
    ) -> dict[str, Timing]:
        """Times contenders in interleaved rounds; the first is the baseline."""
        timings = compare(contenders, rounds=rounds or self.rounds)
        self._keep(time_record(title, timings, self._judging(claims), dtype=dtype))
        return timings

    def first_calls(
        self,
        title: str,
        contenders: Mapping[str, Callable[[], Any]],
        *claims: Claim,
        dtype: str = "float32",
    ) -> dict[str, Timing]:
        """Times tracing and compiling of contenders in interleaved rounds."""
        timings = compare_first_calls(contenders, rounds=self.fewer(3))
        self._keep(time_record(title, timings, self._judging(claims), dtype=dtype))
        return timings

    def figures(
        self,
        title: str,
        unit: str,
        figures: Mapping[str, float],
        *claims: Claim,
        dtype: str = "float32",
    ) -> None:
        """Takes down figures of one unit that are not times; the first is the baseline."""
        claims = tuple(c if c.figure else self._judging([c])[0] for c in claims)
        self._keep(figure_record(title, unit, figures, claims, dtype=dtype))

    def _judging(self, claims: Sequence[Claim]) -> list[Claim]:
        """The claims of a comparison, without limits where sizes are small."""
        return [claim._replace(at_most=None) if self.quick else claim for claim in claims]

    def _keep(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        show(record)


def time_record(
    title: str, timings: Mapping[str, Timing], claims: Sequence[Claim], *, dtype: str
) -> dict[str, Any]:
    """The record of a comparison of times, in seconds."""
    baseline = next(iter(timings))
    rows = {}
    for name, timing in timings.items():
        first = (
            {}
            if timing.first is None
            else {
                "first_call": _short(timing.first),
                "compiling": _short(timing.compiling or 0.0),
            }
        )
        rows[name] = first | {
            "figure": _short(timing.median),
            **_ratio(timing, timings[baseline]),
            "rounds": [_short(value) for value in timing.rounds],
        }

    def ratio(claim: Claim) -> dict[str, Any]:
        return _ratio(timings[claim.of], timings[claim.against or baseline])

    return _record(title, "s", dtype, baseline, rows, _all_judged(claims, baseline, rows, ratio))


def figure_record(
    title: str, unit: str, figures: Mapping[str, float], claims: Sequence[Claim], *, dtype: str
) -> dict[str, Any]:
    """The record of figures that are not times."""
    baseline = next(iter(figures))

    def ratio(of: str, to: str) -> dict[str, Any]:
        comparable = len(figures) > 1 and figures[to] != 0
        return {"ratio": _short(figures[of] / figures[to])} if comparable else {}

    rows = {
        name: {"figure": _short(value), **ratio(name, baseline)} for name, value in figures.items()
    }

    def ratio_of(claim: Claim) -> dict[str, Any]:
        return {} if claim.figure else ratio(claim.of, claim.against or baseline)

    judged = _all_judged(claims, baseline, rows, ratio_of)
    return _record(title, unit, dtype, baseline, rows, judged)


def _all_judged(
    claims: Sequence[Claim],
    baseline: str,
    rows: Mapping[str, dict[str, Any]],
    ratio: Callable[[Claim], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The claims with their figures, their ratios and whether their limits hold."""
    return [_judged(one, baseline, rows[one.of]["figure"], **ratio(one)) for one in claims]


def _record(
    title: str, unit: str, dtype: str, baseline: str, rows: Any, claims: Any
) -> dict[str, Any]:
    return {
        "title": title,
        "unit": unit,
        "dtype": dtype,
        "baseline": baseline,
        "rows": rows,
        "claims": claims,
    }


def _judged(claim: Claim, baseline: str, figure: float, **ratio: Any) -> dict[str, Any]:
    found = figure if claim.figure else ratio["ratio"]
    against = None if claim.figure else claim.against or baseline
    holds = None if claim.at_most is None else bool(found <= claim.at_most)
    told = {"of": claim.of, "against": against, "figure": figure, **ratio}
    return told | {"at_most": claim.at_most, "holds": holds}


def _ratio(timing: Timing, baseline: Timing) -> dict[str, Any]:
    quartiles = [_short(timing.ratio(baseline, quantile)) for quantile in (0.25, 0.75)]
    return {"ratio": _short(timing.ratio(baseline)), "ratio_quartiles": quartiles}


def _short(value: float) -> float:
    """Six digits, more than a clock is worth; a count as it is."""
    return float(value if value == round(value) else f"{value:.6g}")
