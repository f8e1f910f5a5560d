"""Settings of the demo, and the rows of its table: the plain flow, the shaped flow, controls."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kinetic_jax.fields import VelocityField
from kinetic_jax.sampling import Trajectories, sample
from kinetic_jax.transforms import Transform, identity, kts, kts_gain


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo, stored in `results.json`.

    Attributes:
        seed: seed of the split, the training, the noise and the classifier.
        num_train: number of training images, small so that the flow memorises.
        width: width of the residual MLP.
        depth: depth of the residual MLP.
        training_steps: steps of Adam, with a cosine schedule.
        batch_size: rows per step.
        learning_rate: initial learning rate.
        num_samples: trajectories per row of the table, all from the same noise.
        num_steps: Euler steps on [0, 1].
        alpha0: strength of the launch.
        beta0: strength of the landing.
        tau_split: end of the launch and start of the landing.
        stop_at: end time of the early stop.
    """

    seed: int = 0
    num_train: int = 256
    width: int = 256
    depth: int = 3
    training_steps: int = 8000
    batch_size: int = 128
    learning_rate: float = 1e-3
    num_samples: int = 2000
    num_steps: int = 100
    alpha0: float = 0.05
    beta0: float = 0.02
    tau_split: float = 0.6
    stop_at: float = 0.95


def demo_settings(*, quick: bool, seed: int) -> DemoSettings:
    """The full settings, or the quick ones: smaller network, fewer images, steps and samples."""
    if not quick:
        return DemoSettings(seed=seed)
    return DemoSettings(
        seed=seed, num_train=96, width=160, depth=2, training_steps=4000, num_samples=500
    )


class RowPlan(NamedTuple):
    """The sampling of one row.

    Attributes:
        name: name in the table.
        transform: transform of the field.
        gain: η at the left end of each step, shape (steps,).
        stop_at: end time of the integration.
    """

    name: str
    transform: Transform
    gain: np.ndarray
    stop_at: float


def plan_rows(settings: DemoSettings) -> list[RowPlan]:
    """The six rows; the constant gain equals the mean of the KTS row's gain."""
    s = settings
    times = np.arange(s.num_steps) / s.num_steps

    def shaped(name: str, alpha0: float, beta0: float, **shapes: Any) -> RowPlan:
        eta = kts_gain(times, alpha0, beta0, s.tau_split, **shapes)
        transform = kts(alpha0, beta0, s.tau_split, **shapes)
        return RowPlan(name, transform, np.asarray(eta, np.float64), 1.0)

    both = shaped("KTS", s.alpha0, s.beta0)
    constant = float(both.gain.mean())
    return [
        RowPlan("no gain", identity(), np.ones(s.num_steps), 1.0),
        both,
        shaped("launch only", s.alpha0, 0.0),
        shaped("landing only", 0.0, s.beta0),
        # A constant gain is KTS with two constant phases that agree.
        shaped("constant gain", constant - 1, 1 - constant, launch="constant", landing="constant"),
        RowPlan(f"early stop at {s.stop_at:g}", identity(), np.ones(s.num_steps), s.stop_at),
    ]


def sample_row(
    plan: RowPlan, field: VelocityField, x0: Float[Array, "n *event"], settings: DemoSettings
) -> Trajectories:
    """The row's trajectories; the step length does not depend on the end time."""
    num_steps = round(settings.num_steps * plan.stop_at)
    return sample(
        plan.transform(field),
        jnp.asarray(x0),
        num_steps=num_steps,
        t1=plan.stop_at,
        tau_split=settings.tau_split,
    )
