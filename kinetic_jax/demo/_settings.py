"""Settings of the demo."""

import dataclasses


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
