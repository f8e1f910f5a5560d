"""The result of `compare`: a report of each model, and which one to take."""

import dataclasses
from typing import Any

from kinetic_jax.comparison._report import ModelReport
from kinetic_jax.comparison._table import as_csv, as_markdown
from kinetic_jax.metrics import Estimate


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        models: their reports, in the order of training.
        earliest: name of the model against which the others snap.
        num_steps: steps of the samples.
        tolerance: the error that `ModelReport.steps_needed` allows.
        limit: the share of copies up to which a model is recommended.
        confidence: level of the intervals.
        held_out: the share of the held-out rows that F_mem's rule takes for copies, with its Wilson
            interval; None without them.
        recommended: name of the model to take, by the training data if they were given; None if
            the first one copies already.
        reason: sentences on why, and on whether data and snap agree.
        by_data: the last model before copying by the data; None without data, or if the first one
            copies already.
        by_snap: the same by snap, without the data; None if snap cannot say.
    """

    models: tuple[ModelReport, ...]
    earliest: str
    num_steps: int
    tolerance: float
    limit: float
    confidence: float
    held_out: Estimate | None
    recommended: str | None
    reason: str
    by_data: str | None
    by_snap: str | None

    def __getitem__(self, name: int | str) -> ModelReport:
        """The report of a model, by its key in `fields`.

        Raises:
            KeyError: if there is no such model.
        """
        for model in self.models:
            if name in (model.name, model.step):
                return model
        raise KeyError(name)

    def to_markdown(self) -> str:
        """A table in Markdown, with the recommendation below it."""
        table = as_markdown(self.models, self.recommended, self.tolerance)
        return f"{table}\n\n{self.reason}\n"

    def to_csv(self) -> str:
        """A table of numbers as CSV, with the ends of every interval; empty where unknown.

        `steps_needed` is empty also where more are needed than the largest number tried, that of
        the last column `error_N`.
        """
        return as_csv(self.models)

    def as_json(self) -> dict[str, Any]:
        """The attributes as JSON types."""
        contents = dataclasses.asdict(self)
        models = contents.pop("models")
        return contents | {"models": list(models)}
