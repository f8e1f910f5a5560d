"""The report of one model in a comparison."""

import dataclasses

from kinetic_jax.metrics import Estimate


@dataclasses.dataclass(frozen=True)
class Quantities:
    """Mean kinetic quantities of the valid samples, with bootstrap intervals.

    Attributes:
        total: E = ½ ∫ ||u||² dt.
        launch: its part before tau_split.
        landing: its part from there on.
        displacement: ||x1 − x0||² / 2.
        straightness: S = ∫ ||(x1 − x0) − u||² dt, the straightness of Liu et al.: twice the
            straightness excess, and 0 for straight paths.
        length: ∫ ||u|| dt.
        bending: ½ Σ ||u_i − u_{i−1}||² / h_i, which does not depend on how fine the grid is.
    """

    total: Estimate
    launch: Estimate
    landing: Estimate
    displacement: Estimate
    straightness: Estimate
    length: Estimate
    bending: Estimate

    @property
    def excess(self) -> Estimate:
        """The straightness excess, ½ ∫ ||u − (x1 − x0)||² dt: E less displacement."""
        return Estimate(*(end / 2 for end in dataclasses.astuple(self.straightness)))


@dataclasses.dataclass(frozen=True)
class FewSteps:
    """The error of samples with fewer steps.

    Attributes:
        num_steps: their number.
        error: RMS distance of these samples from those with all steps, over the RMS displacement
            x1 − x0 of the latter.
    """

    num_steps: int
    error: float


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """One model of a comparison; None stands for quantities that were not requested or are unknown.

    Attributes:
        name: its key in `fields`, as text.
        step: its training step, if the keys are steps.
        num_samples: number of samples.
        num_valid: number of finite ones, from which all other quantities are computed.
        energy: the kinetic quantities; None with fewer than two valid samples.
        few_steps: errors with fewer steps, fewest first.
        steps_needed: the least of the numbers of steps tried from which on the error is within the
            tolerance; None if the largest one misses it, so that more are needed.
        efficiency: the least energy of a flow to the training data over the mean energy.
        snap: mean of `kinetic_jax.copies.snap` against the earliest, in nats.
        snapped: the share of samples that snap, with its Wilson interval; see `compare`.
        f_mem: the share of copies of training rows, with its Wilson interval.
        over_held_out: that share minus the held-out rows', with its Newcombe interval.
        distance: squared kernel distance to the held-out data.
        distance_std: its standard deviation over subsets; None for a single one.
    """

    name: str
    step: int | None
    num_samples: int
    num_valid: int
    energy: Quantities | None = None
    few_steps: tuple[FewSteps, ...] = ()
    steps_needed: int | None = None
    efficiency: Estimate | None = None
    snap: Estimate | None = None
    snapped: Estimate | None = None
    f_mem: Estimate | None = None
    over_held_out: Estimate | None = None
    distance: float | None = None
    distance_std: float | None = None
