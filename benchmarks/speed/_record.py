"""Records of a suite, as JSON types: every printed figure is one of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.speed._results import Judged, Ratio, Record, Row
from benchmarks.speed._show import show
from benchmarks.speed._timing import Timing, compare, compare_first_calls

T = TypeVar("T")


class Claim(NamedTuple):
    """A row worth reporting, and its limit.

    Attributes:
        of: the row.
        at_most: the limit of its ratio; None reports the ratio without judging it.
        against: the row the ratio is to; None for the baseline, the first row.
        figure: the limit is for the figure itself, not for a ratio.
    """

    of: str
    at_most: float | None = None
    against: str | None = None
    figure: bool = False


class Recorder:
    """Records and prints the figures of one suite.

    Attributes:
        rounds: interleaved rounds of a comparison.
        quick: measure small sizes, to see that a suite runs.
        judges: compare ratios with their limits; never done on small sizes.
        kept: called after each record, to write what is there.
        records: the figures so far.
    """

    def __init__(
        self,
        rounds: int,
        *,
        quick: bool = False,
        judges: bool = True,
        kept: Callable[[], None] | None = None,
    ):
        self.rounds = rounds
        self.quick = quick
        self.judges = judges and not quick
        self.kept = kept
        self.records: list[Record] = []

    def pick(self, full: T, quick: T) -> T:
        """One of the two, by `quick`."""
        return quick if self.quick else full

    def fewer(self, part: int) -> int:
        """A part of the rounds, for calls of many seconds."""
        return -(-self.rounds // part)

    def times(
        self,
        title: str,
        contenders: Mapping[str, Callable[[], object]],
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
        contenders: Mapping[str, Callable[[], object]],
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
        """Records figures of one unit that are not times; the first is the baseline."""
        claims = tuple(c if c.figure else self._judging([c])[0] for c in claims)
        self._keep(figure_record(title, unit, figures, claims, dtype=dtype))

    def _judging(self, claims: Sequence[Claim]) -> list[Claim]:
        """The claims of a comparison, without limits where sizes are small."""
        return [claim if self.judges else claim._replace(at_most=None) for claim in claims]

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        show(record)
        if self.kept is not None:
            self.kept()


def time_record(
    title: str, timings: Mapping[str, Timing], claims: Sequence[Claim], *, dtype: str
) -> Record:
    """The record of a comparison of times, in seconds."""

    def ratio(of: str, against: str) -> Ratio:
        this, peer = timings[of], timings[against]
        quartiles = [_rounded(this.ratio(peer, quantile)) for quantile in (0.25, 0.75)]
        return {"ratio": _rounded(this.ratio(peer)), "ratio_quartiles": quartiles}

    baseline = next(iter(timings))
    rows: dict[str, Row] = {}
    for name, timing in timings.items():
        row: Row = {}
        if timing.first is not None:
            row["first_call"] = _rounded(timing.first)
            row["compiling"] = _rounded(timing.compiling or 0.0)
        row["figure"] = _rounded(timing.median)
        rounds = [_rounded(value) for value in timing.rounds]
        rows[name] = {**row, **ratio(name, baseline), "rounds": rounds}
    return _record(title, "s", dtype, rows, claims, ratio)


def figure_record(
    title: str, unit: str, figures: Mapping[str, float], claims: Sequence[Claim], *, dtype: str
) -> Record:
    """The record of figures that are not times."""

    def ratio(of: str, against: str) -> Ratio:
        is_comparable = len(figures) > 1 and figures[against] != 0
        return {"ratio": _rounded(figures[of] / figures[against])} if is_comparable else {}

    baseline = next(iter(figures))
    rows: dict[str, Row] = {
        name: {"figure": _rounded(figure), **ratio(name, baseline)}
        for name, figure in figures.items()
    }
    return _record(title, unit, dtype, rows, claims, ratio)


def _record(
    title: str,
    unit: str,
    dtype: str,
    rows: dict[str, Row],
    claims: Sequence[Claim],
    ratio: Callable[[str, str], Ratio],
) -> Record:
    baseline = next(iter(rows))
    judged: list[Judged] = []
    for claim in claims:
        figure = rows[claim.of]["figure"]
        against = None if claim.figure else claim.against or baseline
        ratios: Ratio = {} if against is None else ratio(claim.of, against)
        value = figure if against is None else ratios["ratio"]
        holds = None if claim.at_most is None else bool(value <= claim.at_most)
        judged.append(
            {
                "of": claim.of,
                "against": against,
                "figure": figure,
                **ratios,
                "at_most": claim.at_most,
                "holds": holds,
            }
        )
    return {
        "title": title,
        "unit": unit,
        "dtype": dtype,
        "baseline": baseline,
        "rows": rows,
        "claims": judged,
    }


def _rounded(value: float) -> float:
    """Six digits, more than a clock is worth; whole numbers keep all of theirs."""
    return float(value if value == round(value) else f"{value:.6g}")
