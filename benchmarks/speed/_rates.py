"""The rate of a large matrix product by precision, and programs traced at another precision."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax.lax import DotAlgorithmPreset, Precision
from jaxtyping import Array

from benchmarks.speed._record import Claim, Recorder
from kinetic_jax._streaming import _reductions

# By name, the most exact first. HIGHEST is what the library computes in; HIGH is TF32 on a GPU and
# three products of bfloat16 on a TPU. The rest are sums of products of parts of the numbers.
PRECISIONS: dict[str, Any] = {
    "HIGHEST": Precision.HIGHEST,
    "BF16 x 6": DotAlgorithmPreset.BF16_BF16_F32_X6,
    "TF32 x 3": DotAlgorithmPreset.TF32_TF32_F32_X3,
    "BF16 x 3": DotAlgorithmPreset.BF16_BF16_F32_X3,
    "HIGH": Precision.HIGH,
    "BF16": DotAlgorithmPreset.BF16_BF16_F32,
}
OURS = "HIGHEST"
FEW = OURS, "BF16"  # at small scale
LIMIT = 1 / 0.7  # at least 70% of the rate


def square_product(side: int, precision: Any = Precision.HIGHEST) -> Callable[[], Array]:
    """A product of two float32 matrices, of 2 side³ operations."""
    a, b = (jax.random.normal(jax.random.key(i), (side, side)) for i in (1, 2))
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    return functools.partial(product, a, b)


def supported(call: Callable[[], Any]) -> str | None:
    """Why a call fails on this device; None if it does not."""
    try:
        jax.block_until_ready(call())
    except Exception as error:  # a precision may be missing in many ways
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
    return None


def run(recorder: Recorder) -> None:
    """Times a large product at each precision that the device has, 1.1 TFlop each."""
    side = recorder.pick(8192, 256)
    calls = {name: square_product(side, precision) for name, precision in PRECISIONS.items()}
    for name in list(calls):
        if reason := supported(calls[name]):
            print(f"left out: a product in {name}: {reason}")
            calls.pop(name)
    title = f"a matrix product of side {side:,}, float32 in and out, by precision"
    timings = recorder.times(title, calls)
    rates = {name: 2 * side**3 / timing.median / 1e12 for name, timing in timings.items()}
    recorder.figures(f"rate, {title}", "TFlop/s", rates)


def shares(
    recorder: Recorder,
    title: str,
    operations: float,
    contenders: dict[str, Callable[[], Any]],
    *claims: Claim,
    of: str,
    rounds: int | None = None,
) -> None:
    """Times contenders beside a large product, and records their rates; `of` is judged.

    Args:
        recorder: takes the two records.
        title: of the case.
        operations: of the matrix products of each contender.
        contenders: calls by name.
        claims: about the times.
        of: the contender that must reach 70% of the large product's rate.
        rounds: interleaved rounds.
    """
    side = recorder.pick(8192, 256)
    large = f"a matrix product of side {side:,} in {OURS}"
    calls = {large: square_product(side), **contenders}
    timings = recorder.times(title, calls, *claims, rounds=rounds)
    counts = {name: 2.0 * side**3 if name == large else operations for name in calls}
    rates = {name: counts[name] / timings[name].median / 1e12 for name in calls}
    # The slower one is the divisor, so that the limit is one of times.
    recorder.figures(f"rate, {title}", "TFlop/s", rates, Claim(large, LIMIT, against=of))


@contextlib.contextmanager
def in_precision(name: str) -> Iterator[None]:
    """The library's products over rows are traced in another precision; for errors, not for use."""

    class Numpy:
        def __getattr__(self, attribute: str) -> Any:
            return getattr(jnp, attribute)

        @staticmethod
        def matmul(a: Array, b: Array, *, precision: Any) -> Array:
            del precision
            return jnp.matmul(a, b, precision=PRECISIONS[name])

    jax.clear_caches()
    try:
        with mock.patch.object(_reductions, "jnp", Numpy()):
            yield
    finally:
        jax.clear_caches()
