"""Sampling and straightness against other libraries, with the same weights, noise and steps.

`flow_matching` and `torchcfm` sample without energy, for which users write their own loop. The
curvature of `ott-jax` is the straightness excess per dimension.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.speed._loops import (
    awake,
    batch_at_once,
    require_same,
    trajectory_by_trajectory,
)
from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import noise, sample
from kinetic_jax.networks import NetworkField, network_field

OURS = "sample, with energy and profile"
ONE_BY_ONE = "PyTorch, a loop for each trajectory, with energy"
AT_ONCE = "PyTorch, a loop for the batch, with energy"
FLOW_MATCHING, TORCHCFM = "flow_matching, no energy", "torchcfm (torchdyn), no energy"
TIME_ONCE = "flow_matching, no energy, the time embedded once"
OTT = "ott-jax curvature under vmap"


def run(recorder: Recorder) -> None:
    """Times against PyTorch with and without energy, and against `ott-jax`."""
    size, width, batch, num_steps = recorder.pick((784, 512, 1000, 100), (8, 16, 4, 5))
    key = jax.random.key(0)
    field = awake(network_field("mlp", (size,), key=key, width=width), key)
    x0 = noise(key, jnp.arange(batch), (size,))
    sizes = f"{batch:,} samples, Euler {num_steps}, residual MLP, width {width}, {size} dimensions"
    _against_torch(recorder, sizes, field, x0, num_steps)
    _against_ott(recorder, sizes, field, x0, num_steps)


def _against_torch(
    recorder: Recorder, sizes: str, field: NetworkField, x0: Array, num_steps: int
) -> None:
    import torch

    from benchmarks.speed import _torch_peers as peers

    model, start = peers.ported(field), torch.tensor(np.asarray(x0))
    by_hand, ours = peers.one_time(model), functools.partial(sample, field, x0, num_steps=num_steps)
    with torch.no_grad():
        contenders: dict[str, Callable[[], Any]] = {
            FLOW_MATCHING: lambda: peers.by_flow_matching(model, start, num_steps, once=False),
            TIME_ONCE: lambda: peers.by_flow_matching(model, start, num_steps, once=True),
            AT_ONCE: lambda: batch_at_once(by_hand, start, num_steps)[0],
            OURS: lambda: ours().x1,
        }
        if peers.torchcfm_works():
            contenders[TORCHCFM] = lambda: peers.by_torchcfm(model, start, num_steps)
        require_same(np.asarray(ours().x1), {n: np.asarray(c()) for n, c in contenders.items()})
        claims = [Claim(OURS, against=peer) for peer in contenders if peer != OURS]
        claims[0] = claims[0]._replace(at_most=1.0)
        recorder.times(sizes, contenders, *claims, rounds=recorder.fewer(3))
        # A call takes 20 s.
        contenders = {
            ONE_BY_ONE: lambda: trajectory_by_trajectory(by_hand, start, num_steps),
            OURS: ours,
        }
        recorder.times(sizes, contenders, Claim(OURS, 0.1), rounds=min(3, recorder.rounds))
        energies = np.asarray(batch_at_once(by_hand, start, num_steps)[1])
    require_same(np.asarray(ours().energy.total), {AT_ONCE: energies})


def _against_ott(
    recorder: Recorder, sizes: str, field: NetworkField, x0: Array, num_steps: int
) -> None:
    from ott.neural.methods.flow_matching import curvature

    @jax.jit
    def peer(field: NetworkField, x0: Array) -> Array:
        # `curvature` calls the network on batches, here of one.
        model = jax.tree_util.Partial(lambda field, t, x, cond: jax.vmap(field)(t, x), field)
        options = {"ts": num_steps + 1, "num_steps": num_steps}
        return jax.vmap(lambda x: curvature(model, x, **options)[0])(x0)

    ours = functools.partial(sample, field, x0, num_steps=num_steps)
    excess = peer(field, x0) * x0.shape[1] / 2  # from a mean over dimensions without the ½
    require_same(np.asarray(ours().energy.excess), {OTT: np.asarray(excess)})
    contenders: dict[str, Callable[[], Any]] = {OTT: functools.partial(peer, field, x0), OURS: ours}
    recorder.times(sizes, contenders, Claim(OURS), rounds=recorder.fewer(3))
