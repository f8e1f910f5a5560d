"""A warm call of `sample` for a deep network, with and without an array in a closure."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import VelocityField, from_nnx, noise, sample

WITHOUT = "without a closure"
LIMIT = 1.2


class Block(nnx.Module):
    """A layer of a transformer, with norms first."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.widen = nnx.Linear(width, 4 * width, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """The next tokens, (batch, tokens, width)."""
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(nnx.gelu(self.widen(self.norms[1](x))))


class Transformer(nnx.Module):
    """A transformer that takes x before t, as many models do."""

    def __init__(self, layers: int, width: int, rngs: nnx.Rngs):
        self.blocks = nnx.List([Block(width, 4, rngs) for _ in range(layers)])

    def __call__(self, x: Array, t: Array, cond: PyTree = None) -> Array:
        """Velocities of a batch."""
        del cond
        x = x + t[:, None, None]
        for block in self.blocks:
            x = block(x)
        return x


def scaled(model: Transformer, scale: Array, t: Array, x: Array, cond: PyTree) -> Array:
    """The velocity with its sign and scale, for `call=` and `args=`."""
    return -scale * model(x, t, cond)


def keyword(model: Transformer, t: Array, x: Array, cond: PyTree, *, scale: Array) -> Array:
    """`scaled` with the scale as a keyword, for a partial."""
    return scaled(model, scale, t, x, cond)


def ways(model: Transformer) -> dict[str, VelocityField]:
    """The same field by each way to pass the scale; in the baseline it is a number."""
    scale = jnp.asarray(0.5)
    return {
        WITHOUT: from_nnx(model, call=lambda m, t, x, c: -0.5 * m(x, t, c)),
        "call= closes over an array": from_nnx(model, call=lambda m, t, x, c: -scale * m(x, t, c)),
        "call= is a partial": from_nnx(model, call=functools.partial(keyword, scale=scale)),
        "args=": from_nnx(model, call=scaled, args=scale),
    }


def run(recorder: Recorder) -> None:
    """Times one warm step by each way; the samples must agree."""
    layers, width, tokens, batch = recorder.pick((28, 64, 16, 8), (2, 8, 2, 2))
    fields = ways(Transformer(layers, width, nnx.Rngs(0)))
    x0 = noise(jax.random.key(0), jnp.arange(batch), (tokens, width))
    calls = {
        name: functools.partial(lambda field: sample(field, x0, num_steps=1).x1, field)
        for name, field in fields.items()
    }
    title = (
        f"one warm step of sample, transformer of {layers} layers, width {width}, {tokens} tokens, "
        f"batch {batch}"
    )
    claims = [Claim(name, LIMIT) for name in calls if name != WITHOUT]
    recorder.times(title, calls, *claims)
    ends = {name: call() for name, call in calls.items()}
    for name, end in ends.items():
        np.testing.assert_allclose(end, ends[WITHOUT], rtol=1e-4, atol=1e-4, err_msg=name)
