"""Settings of the demo."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """What the demo trains, samples and compares; all of it goes into `results.json`.

    Attributes:
        seed: of the split, the training, the noise and the classifier.
        num_train: training images; few, so that the flow memorises.
        width: of the residual MLP.
        depth: of the residual MLP.
        training_steps: steps of Adam, with a cosine schedule.
        batch_size: rows per step.
        learning_rate: at the start.
        num_samples: trajectories per row of the table, all from the same noise.
        num_steps: Euler steps on [0, 1].
        alpha0: strength of the launch, in the rows that have one.
        beta0: strength of the landing, in the rows that have one.
        tau_split: where launch turns to landing.
        stop_at: where the early stop stops.
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
    """The full settings, or smaller ones: a smaller network, fewer images, steps and samples."""
    if not quick:
        return DemoSettings(seed=seed)
    return DemoSettings(
        seed=seed, num_train=96, width=160, depth=2, training_steps=4000, num_samples=500
    )
