"""The contents of `results.json`, and the table of them."""

import dataclasses
from typing import Any

from kinetic_jax.demo._rows import DemoSettings
from kinetic_jax.metrics import EnergyGroup


@dataclasses.dataclass(frozen=True)
class EnergyMeans:
    """Means of the kinetic quantities over the valid samples; see `PathEnergy`."""

    total: float
    launch: float
    landing: float
    displacement: float
    excess: float
    length: float


@dataclasses.dataclass(frozen=True)
class Completed:
    """The samples of a row, completed by one evaluation; changes are from the row without a gain.

    Attributes:
        residual: mean share of its start that was left on a sample before.
        f_mem: share of copies.
        f_mem_interval: its ends at 95%.
        f_mem_change: change of the share, from that of completed samples without a gain.
        f_mem_change_interval: its ends at 95%.
        frechet: Fréchet distance to held-out digits.
        kept_copies: share of those without a gain that are copies, whose nearest image stays;
            None if none are.
    """

    residual: float
    f_mem: float
    f_mem_interval: list[float]
    f_mem_change: float
    f_mem_change_interval: list[float]
    frechet: float
    kept_copies: float | None


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table; changes are from the row without a gain, on the same noise.

    Attributes:
        name: name of the setting.
        samples: number of valid samples.
        bad_samples: number of failed ones, which are left out.
        energy: means of their kinetic quantities.
        f_mem: share of copies.
        f_mem_interval: its ends at 95%.
        f_mem_held_out: the same share of held-out digits.
        frechet: Fréchet distance to held-out digits, in the classifier's features.
        confidence: mean of the classifier's confidence.
        evaluations: calls of the field per sample.
        f_mem_change: change of the share of copies.
        f_mem_change_interval: its ends at 95%.
        frechet_change_interval: ends of the change of the distance at 95%.
        completed: the same samples completed by one evaluation.
    """

    name: str
    samples: int
    bad_samples: int
    energy: EnergyMeans
    f_mem: float
    f_mem_interval: list[float]
    f_mem_held_out: float
    frechet: float
    confidence: float
    evaluations: int
    f_mem_change: float
    f_mem_change_interval: list[float]
    frechet_change_interval: list[float]
    completed: Completed


@dataclasses.dataclass(frozen=True)
class Fifth:
    """A fifth of the samples by a kinetic quantity.

    Attributes:
        samples: their number.
        mean: mean of the quantity.
        range: its least and greatest value.
        f_mem: share of copies.
        f_mem_interval: its ends at 95%.
        confidence: mean of the classifier's confidence.
        confidence_interval: its ends at 95%.
    """

    samples: int
    mean: float
    range: list[float]
    f_mem: float
    f_mem_interval: list[float]
    confidence: float
    confidence_interval: list[float]

    def group(self, name: str) -> EnergyGroup:
        """One of the statistics, "f_mem" or "confidence"."""
        mean, (low, high) = getattr(self, name), getattr(self, f"{name}_interval")
        lowest, highest = self.range
        return EnergyGroup(lowest, highest, self.samples, mean, low, high)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Scores of the held-out digits.

    Attributes:
        samples: their number.
        f_mem: share of copies among them.
        f_mem_interval: its ends at 95%.
        frechet_floor: Fréchet distance of one half of them from the other.
        confidence: mean of the classifier's confidence.
    """

    samples: int
    f_mem: float
    f_mem_interval: list[float]
    frechet_floor: float
    confidence: float


@dataclasses.dataclass(frozen=True)
class ClassifierScores:
    """Accuracy of the classifier on held-out digits, and its number of features."""

    accuracy: float
    features: int


@dataclasses.dataclass(frozen=True)
class Results:
    """The contents of `results.json`.

    Attributes:
        settings: settings of the run.
        quick: true with the quick settings.
        versions: version of each package.
        device: name of the device.
        classifier: scores of the classifier.
        held_out: scores of the held-out digits.
        rows: rows of the table, the first without a gain.
        fifths: the samples without a gain by fifth of the total energy and of the excess.
        verdict: the conclusions as sentences.
    """

    settings: DemoSettings
    quick: bool
    versions: dict[str, str]
    device: str
    classifier: ClassifierScores
    held_out: HeldOut
    rows: list[Row]
    fifths: dict[str, list[Fifth]]
    verdict: list[str]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Results":
        """The results from the content of `results.json`."""
        rows = [
            Row(
                **row
                | {
                    "energy": EnergyMeans(**row["energy"]),
                    "completed": Completed(**row["completed"]),
                }
            )
            for row in content["rows"]
        ]
        fifths = {
            part: [Fifth(**fifth) for fifth in table] for part, table in content["fifths"].items()
        }
        parts = {
            "settings": DemoSettings(**content["settings"]),
            "classifier": ClassifierScores(**content["classifier"]),
            "held_out": HeldOut(**content["held_out"]),
        }
        return cls(**content | parts | {"rows": rows, "fifths": fifths})


HEADER = (
    "",
    "E",
    "launch",
    "landing",
    "excess",
    "F_mem (95%)",
    "F_mem completed",
    "Fréchet",
    "confidence",
)

FLOOR_NOTE = "* of one half of the held-out digits from the other"


def table_cells(results: Results) -> list[list[str]]:
    """The table under `HEADER`; its last row has the scores of held-out digits."""
    held_out = results.held_out
    return [
        *map(_cells, results.rows),
        [
            "held-out digits",
            *[""] * 4,
            _share(held_out.f_mem, held_out.f_mem_interval),
            "",
            f"{held_out.frechet_floor:.2f}*",
            f"{100 * held_out.confidence:.1f}%",
        ],
    ]


def _cells(row: Row) -> list[str]:
    bad = f" ({row.bad_samples} bad samples left out)" if row.bad_samples else ""
    return [
        row.name + bad,
        *(f"{part:.1f}" for part in (row.energy.total, row.energy.launch, row.energy.landing)),
        f"{row.energy.excess:.2f}",
        _share(row.f_mem, row.f_mem_interval),
        _share(row.completed.f_mem, row.completed.f_mem_interval),
        f"{row.frechet:.2f}",
        f"{100 * row.confidence:.1f}%",
    ]


def markdown_table(results: Results) -> str:
    """The table in Markdown."""
    lines = [list(HEADER), ["---"] + ["---:"] * (len(HEADER) - 1), *table_cells(results)]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"{table}\n\\{FLOOR_NOTE}\n"  # an unescaped * would start a list


def _share(share: float, interval: list[float]) -> str:
    return f"{100 * share:.1f}% ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
