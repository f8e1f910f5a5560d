"""Things of the wrong kind, as newcomers pass them, are named with what to do instead.

In a process without runtime type checks, which would speak first.
"""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import flax.linen as nn, jax, jax.numpy as jnp, numpy as np, optax
from flax import nnx
from kinetic_jax import *
from kinetic_jax import kts
from kinetic_jax.fields import from_prediction, vp_schedule
from kinetic_jax.networks import ResidualMLP, Scaling, network_field

class Swapped(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    def __call__(self, x, t):
        return self.layer(jnp.concatenate([x, t[:, None]], -1))

class Labelled(nnx.Module):
    def __init__(self):
        self.labels = nnx.Embed(4, 3, rngs=nnx.Rngs(0))
    def __call__(self, t, x, labels=None):
        return x + self.labels(labels)

class LabelledLinen(nn.Module):
    @nn.compact
    def __call__(self, t, x, labels=None):
        return x + nn.Embed(4, 3)(labels)

class Linen(nn.Module):
    @nn.compact
    def __call__(self, t, x):
        return nn.Dense(3)(x)

key = jax.random.key(0)
x0 = noise(key, jnp.arange(4), (3,))
of_linen = LabelledLinen().init(key, jnp.zeros(1), x0[:1], jnp.zeros(1, int))
linear, vp = nnx.Linear(3, 3, rngs=nnx.Rngs(0)), vp_schedule()
labelled = network_field("mlp", (3,), key=key, num_classes=4, width=8, depth=1)
plain = network_field("mlp", (3,), key=key, width=8, depth=1)
rows = np.ones((10, 3), np.float32)
bad_rows = rows.copy()
bad_rows[3, 1] = np.nan
train = lambda field=labelled, data=rows, **kw: fit(
    field, data, **dict(key=key, num_steps=1, optimizer=optax.sgd(0.1), batch_size=2) | kw)

CASES = json.loads(sys.stdin.read())
told = []
for code in CASES:
    try:
        eval(code)
        told.append("no error")
    except Exception as error:
        notes = " ".join(getattr(error, "__notes__", []))
        told.append(f"{type(error).__name__}: {error} {notes}")
print(json.dumps(told))
"""

KEY = "ValueError: key must be one JAX random key, as jax.random.key(0) makes it, got"
NO_COND = "cond is None: a model that takes labels, or another condition, is called as sample("
LABELS = "ValueError: cond must lie in [0, 4], got"
CASES = {
    "sample(kts(0.1), x0)": "got Gain, which takes other arguments (a transform is applied to",
    "sample(chain(kts(0.1)), x0)": "got Chain, which takes other arguments (a transform",
    "kts(0.1)(kts(0.1))": "got Gain, which takes other arguments (a transform",
    "cfg(2.0, null_cond=0)(linear)": "got the network Linear: wrap it by kinetic_jax.from_nnx",
    "from_reversed_time(lambda t, x: x)": "callable as field(t, x, cond), got <lambda>",
    "energy_term(lambda t, x: x)": "callable as field(t, x, cond), got <lambda>",
    "sample(linear, x0)": "got the network Linear: wrap it by kinetic_jax.from_nnx(model)",
    "sample(Linen(), x0)": "got the network Linen: wrap it by kinetic_jax.from_linen(module, var",
    "sample(x0, plain)": "ValueError: field must be callable as field(t, x, cond), got Array",
    "sample(from_nnx(Swapped()), x0)": "pass call=lambda model, t, x, cond: model(x, t), say",
    "from_nnx(lambda t, x: x)": "ValueError: model must be a flax.nnx Module, got function",
    "from_linen({}, Linen())": "ValueError: module must be a flax.linen Module, got dict",
    "from_linen(Linen(), None)": "ValueError: variables must be what module.init returned, got",
    "from_vector_field(3)": "ValueError: vf must be callable as vf(t, y, args), got 3",
    "sample(labelled, x0, [0, 1, 2, 3])": "cond must be an array or a pytree of arrays, got [0,",
    "sample(labelled, x0, jnp.array([0, 1, 2, 5]))": f"{LABELS} [0 1 2 5]",
    "sample(kts(0.1)(labelled), x0, jnp.array([0, 1, 2, -1]))": f"{LABELS} [ 0  1  2 -1]",
    "sample(plain, [[1.0, 2.0], [1.0]])": "ValueError: x0 must be an array of numbers, got [[1.0",
    "sample(plain, None)": "ValueError: x0 must be an array of numbers, got None",
    "sample(kts(0.1)(plain), x0[:, :2])": "x0 must have the field's event shape, (3,), got rows",
    "sample(plain, x0, save_at='all')": "save_at must be an array of numbers, got 'all'",
    "sample(from_nnx(Labelled()), x0)": NO_COND,
    "sample(from_linen(LabelledLinen(), of_linen), x0)": NO_COND,
    "sample(lambda t, x, cond: x * cond, x0)": NO_COND,
    "sample(from_prediction(lambda t, x, c: x * c, predicts='data', schedule=vp), x0)": NO_COND,
    "sample(cfg(2.0, labelled.null_cond)(labelled), x0)": "cond must be given to a guided field",
    "train(key=0)": f"{KEY} 0",
    "train(key=jax.random.split(key))": f"{KEY} key<fry> of shape (2,)",
    "train(optimizer=optax.adam)": "optimizer must be an optax.GradientTransformation, got <func",
    "train(cond=np.full(10, 9))": f"{LABELS} [9 9",
    "train(data=None)": "ValueError: data must be an array of numbers, got None",
    "train(data=bad_rows)": "data must be finite, got nan (at (3, 1), one of 1 such entries)",
    "noise(0, 1, (3,))": f"{KEY} 0",
    "noise(key, 1, 3)": "ValueError: shape must be a tuple of whole numbers >= 0, got 3",
    "noise(key, 1, (-3,))": "ValueError: shape must be a tuple of whole numbers >= 0, got (-3,)",
    "noise(key, 0.5, (3,))": "ValueError: index must be whole numbers, got dtype float",
    "noise(key, -1, (3,))": "ValueError: index must be whole numbers from 0 to 2³² − 1, got -1",
    "noise(key, np.array([2**32 + 5]), (3,))": "from 0 to 2³² − 1, got [4294967301]",
    "noise(nnx.Rngs(0), 1, (3,))": "ValueError: key must be one JAX random key, as jax.random",
    "network_field('mlp', (2,), key=0)": f"{KEY} 0",
    "network_field('mlp', (2,), key=key, scaling=(0, 1))": "scaling must be a Scaling, got (0, 1)",
    "network_field('mlp', (2,), key=key, scaling=Scaling(0, 0))": "ValueError: scale must not be 0",
    "sample(cfg(2.0, -1)(labelled), x0, np.arange(4))": "null_cond must lie in [0, 4], got -1",
    "sample(cfg(2.0, 0.5)(lambda t, x, c: x), x0, np.arange(4))": "hold null_cond, 0.5",
    "sample(cfg(2.0, 256)(lambda t, x, c: x), x0, np.zeros(4, np.uint8))": "hold null_cond, 256",
    "train(cond=np.zeros(10, int), cond_dropout=0.5, null_cond=9)": "null_cond must lie in [0, 4]",
    "train(cond=np.zeros(10, int), null_cond=np.zeros(2, int))": "null_cond must have the struct",
    "train(field=lambda t, x, c: x)": "field must be a pytree with floating arrays to train",
    "train(checkpoint_every=1e3)": "checkpoint_every must be a whole number >= 1, got 1000.0",
    "cfm_loss(lambda t, x, c: x[:1], key, x0)": "the field's output must have the shape (3,) and",
    "gain(lambda t: jnp.array([1.0, 2.0]))": "fn must return one number for one time, got shape",
    "sample(ResidualMLP((3,), width=8, rngs=nnx.Rngs(0)), x0)": "a network written for",
    "energy_update(energy_init(x0), x0, 0.0, np.ones((4, 1)))": "dt must be a number or have sh",
    "network_field('mlp', 2, key=key)": "event_shape must be a tuple of whole numbers >= 1, got 2",
    "network_field('mlp', (2,), key=key, width='a')": "width must be a whole number, got 'a'",
    "energy_update(energy_init(x0), [1.0], 0.0, 0.1)": "u must be an array, got [1.0]",
}


@pytest.fixture(scope="module")
def told():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(CASES)),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return dict(zip(CASES, json.loads(found.stdout), strict=True))


@pytest.mark.long
@pytest.mark.parametrize("code", CASES)
def test_the_message_names_what_is_wrong(told, code):
    assert CASES[code] in told[code]
