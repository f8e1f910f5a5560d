"""The cost of a batch-first network as a field of one sample, and its share of the peak.

The ceiling is the rate of one large matrix product on the same device in the same run.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from benchmarks.speed._record import Claim, Recorder
from benchmarks.speed._timing import Timing
from kinetic_jax import noise
from kinetic_jax.networks import AUTHORS_UNET, NetworkField, network_field

NATIVE = "native batched call"
EACH, ONE = "field under vmap, a time per sample", "field under vmap, one time (a fixed grid)"
PRODUCT = "one large matrix product"


@functools.partial(jax.jit, static_argnums=1)
def _native(state: PyTree, graphdef: nnx.GraphDef, t: Array, x: Array) -> Array:
    return nnx.merge(graphdef, state)(t, x)


@jax.jit
def _vmapped(field: NetworkField, t: Array, x: Array) -> Array:
    return jax.vmap(field, in_axes=(None if t.ndim == 0 else 0, 0))(t, x)


@jax.jit
def _product(a: Array, b: Array) -> Array:
    return a @ b


def operations(call: Any, *arguments: PyTree) -> float:
    """Floating-point operations of a jitted call, as the compiler counts them.

    The program is that for an accelerator: on CPU a loop over slices of the batch would count once.
    """
    analysis = call.trace(*arguments).lower(lowering_platforms=("tpu",)).cost_analysis()
    return float((analysis[0] if isinstance(analysis, list) else analysis)["flops"])


def mlp_operations(batch: int, size: int, width: int, depth: int, *, times: int) -> float:
    """Operations of the residual MLP's matrix products alone, two for each weight.

    `times` is the number of different times, 1 or the batch: the embedding's two layers and the
    modulation of each block depend on the time alone.
    """
    of_x = 2 * size * width + 2 * depth * width**2
    of_t = 2 * width**2 + 2 * depth * width**2
    return 2.0 * (batch * of_x + times * of_t)


def run(recorder: Recorder) -> None:
    """The MLP at batch 256 and the authors' U-Net at batch 64, in float32 and bfloat16."""
    key = jax.random.key(0)
    size, width, batch = recorder.pick((1024, 512, 256), (8, 16, 4))
    side, base, images = recorder.pick((32, 32, 64), (8, 8, 2))
    unet = {**AUTHORS_UNET, "base_channels": base} if recorder.quick else AUTHORS_UNET
    for dtype in ("float32", "bfloat16"):
        mlp = network_field("mlp", (size,), key=key, width=width, dtype=dtype)
        title = f"residual MLP, width {width}, {size} dimensions, batch {batch}"
        _measure(recorder, title, mlp, batch, dtype)
        image = network_field("unet", (side, side, 1), key=key, dtype=dtype, **unet)
        title = f"the KTS authors' U-Net, base {base}, {side} × {side} gray, batch {images}"
        _measure(recorder, title, image, images, dtype)


def _measure(recorder: Recorder, title: str, field: NetworkField, batch: int, dtype: str) -> None:
    x = noise(jax.random.key(0), jnp.arange(batch), field.event_shape)
    graphdef, state = field.velocity.graphdef, field.velocity.state
    t = jnp.asarray(0.3)
    times = jnp.broadcast_to(t, batch)
    side = recorder.pick(2048 if jax.default_backend() == "cpu" else 8192, 64)
    a, b = (jax.random.normal(jax.random.key(i), (side, side), dtype) for i in (1, 2))
    contenders: dict[str, Callable[[], Any]] = {
        NATIVE: functools.partial(_native, state, graphdef, times, x),
        EACH: functools.partial(_vmapped, field, times, x),
        ONE: functools.partial(_vmapped, field, t, x),
        PRODUCT: functools.partial(_product, a, b),
    }
    limits = (Claim(EACH, 1.05), Claim(ONE, 1.05)) if dtype == "float32" else (Claim(EACH),)
    timings = recorder.times(title, contenders, *limits, dtype=dtype)
    counts = {
        NATIVE: operations(_native, state, graphdef, times, x),
        EACH: operations(_vmapped, field, times, x),
        ONE: operations(_vmapped, field, t, x),
        PRODUCT: 2.0 * side**3,
    }
    _rates(recorder, title, counts, timings, dtype)


def _rates(
    recorder: Recorder, title: str, counts: dict[str, float], timings: dict[str, Timing], dtype: str
) -> None:
    rates = {name: counts[name] / timings[name].median / 1e9 for name in counts}
    product = {PRODUCT: rates.pop(PRODUCT)}
    claims = Claim(NATIVE), Claim(EACH), Claim(ONE)
    title = f"achieved rate, {title}"
    recorder.figures(title, "GFlop/s", {**product, **rates}, *claims, dtype=dtype)
