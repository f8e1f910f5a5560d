"""The results of sampling."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from kinetic_jax._pytree import result
from kinetic_jax._state import State
from kinetic_jax.energy import PathEnergy

OK, NOT_FINITE, STEP_LIMIT = 0, 1, 2


@result
class KineticProfile:
    """Speed and bending of each sample's path, step by step on a fixed grid.

    With u_i = (x_{i+1} − x_i) / h_i, the mean velocity of step i. Norms are those of the energies:
    weighted under a mass, by the inner product of a manifold; in a frame m, `speed2` is of u_i − m.

    Attributes:
        ts: left ends of the steps, shape (steps,).
        speed2: ||u_i||², a sum over dimensions without the ½, shape (batch, steps).
        bend2: ||u_i − u_{i−1}||², 0 at i = 0, shape (batch, steps).
    """

    ts: Float[Array, " steps"]
    speed2: Float[Array, "*batch steps"]
    bend2: Float[Array, "*batch steps"]


@result
class Trajectories:
    """The result of `sample` and `encode`; every array but the times has a leading batch axis.

    `sweep` adds three leading axes.

    Attributes:
        x1: the samples, shape (batch, *event), or a pytree like `x0`.
        energy: their kinetic path energies, each (batch,).
        profile: their kinetic profiles; None under adaptive control.
        num_evals: calls of the given field per sample, shape (batch,).
        status: 0 ok, 1 not finite, 2 stopped by the step limit, shape (batch,). A sample that
            failed under adaptive control is NaN throughout (of `encode`, but for the given `x1`).
        ts: the saved times, shape (times,), with `save_at`; else None.
        path: the saved path, shape (batch, times, *event), with `save_at`; else None. A pytree
            like `x0`, if that is one.
        residual: r, the share of noise that is left on each sample, shape (batch,): a path from
            noise ε (at t = 0) to a row X ends at `X + r (ε − X)`. About 0 without a gain; a
            landing, or an end before t = 1, leaves more. See `complete`. NaN if a wrapper does not
            declare its `Field.closing_rate`, or a gain is inside a model of another clock. None
            from `encode`.
        log_density: log p of `x1`, in nats, shape (batch,), in float32 or better, with
            `log_density=`; else None.
        x0: where `encode` arrived, like `x1`; None from `sample`.
    """

    x1: State
    energy: PathEnergy
    profile: KineticProfile | None
    num_evals: Int[Array, "*batch"]
    status: Int[Array, "*batch"]
    ts: Float[Array, " times"] | None = None
    path: State | None = None
    residual: Float[Array, "*batch"] | None = None
    log_density: Float[Array, "*batch"] | None = None
    x0: State | None = None

    def map_batch(
        self, of_batch: Callable[[Array], Any], of_times: Callable[[Array], Any]
    ) -> "Trajectories":
        """`of_batch` of each array with a batch axis, `of_times` of each array of times."""
        times = (self.ts, None if self.profile is None else self.profile.ts)

        def mapped(leaf: Any) -> Any:  # an array, or the shape of one
            return of_times(leaf) if any(leaf is clock for clock in times) else of_batch(leaf)

        return jax.tree.map(mapped, self)

    def check(self) -> "Trajectories":
        """Returns itself if every sample is good.

        Raises:
            RuntimeError: if a sample is not finite or hit the step limit; the message counts
                and names them.
            ValueError: under a trace, where the status is not known.

        All processes that share the batch must call it.
        """
        if isinstance(self.status, jax.core.Tracer):
            raise ValueError("check() must be called outside jit, got a traced status")
        status = np.asarray(_everywhere(self.status))
        problems = []
        for code, problem in ((NOT_FINITE, "not finite"), (STEP_LIMIT, "stopped by max_steps")):
            bad = np.argwhere(status == code).tolist()
            if bad:
                # By number, or by the place in a sweep.
                names = (str(place[0] if len(place) == 1 else tuple(place)) for place in bad[:10])
                some = ", ".join(names) + (", ..." if len(bad) > 10 else "")
                problems.append(f"{len(bad)} {problem} (samples {some})")
        if problems:
            raise RuntimeError(f"{status.size} trajectories: " + " and ".join(problems))
        return self


def _everywhere(array: Array) -> Any:
    """`array` in this process, also if other processes hold parts of it."""
    if getattr(array, "is_fully_addressable", True) or array.is_fully_replicated:
        return array
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array, tiled=True)
