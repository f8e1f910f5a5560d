"""The cost of what tells copies, against the run that made the samples."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.speed._loops import awake
from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import noise, sample
from kinetic_jax.copies import STATISTICS, profile_features
from kinetic_jax.networks import network_field

PLAIN, WITH_PROFILE = "sample", "sample and the features of its profile"
ALONE = ("snap", "self_consistency", "spread", "flipd", "curvature", "p_laplace")


def run(recorder: Recorder) -> None:
    """Profile features beside the run, and statistics by themselves, of a residual MLP."""
    width, side, batch = recorder.pick((384, 28, 256), (32, 8, 16))
    num_steps, bins = recorder.pick((100, 20), (20, 5))
    key, other = jax.random.key(0), jax.random.key(1)
    field, earlier = (
        awake(network_field("mlp", (side, side, 1), key=k, width=width, depth=3), k)
        for k in (key, other)
    )
    x0 = noise(key, jnp.arange(batch), field.event_shape)

    def plain() -> object:
        return sample(field, x0, num_steps=num_steps)

    def with_profile() -> object:
        result = sample(field, x0, num_steps=num_steps)
        assert result.profile is not None, "a fixed grid has a profile"
        return result, profile_features(result.profile, bins)

    title = f"residual MLP, width {width}, {side} × {side}, batch {batch}, Euler, {num_steps} steps"
    recorder.times(title, {PLAIN: plain, WITH_PROFILE: with_profile}, Claim(WITH_PROFILE, 1.03))
    given = {"field": field, "earlier": earlier, "x1": sample(field, x0, num_steps=num_steps).x1}
    calls: dict[str, Callable[[], object]] = {PLAIN: plain}
    for name in ALONE:
        calls[name] = functools.partial(_scored, name, given | {"key": key})
    recorder.times(f"{title}; statistics by themselves", calls, rounds=recorder.fewer(2))


def _scored(name: str, given: dict[str, Any]) -> object:
    return STATISTICS[name](**given)
