"""`fit` trains weights, and leaves the numbers of schedules and clocks as they are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kinetic_jax import fit, from_nnx, from_reversed_time, kts
from kinetic_jax.fields import (
    WrappedField,
    ddpm_schedule,
    edm_denoiser,
    edm_schedule,
    from_prediction,
    from_scaled_time,
    vp_schedule,
)

ADAM = optax.adam(1e-2)
ROWS = np.random.default_rng(0).normal(1.0, 0.5, (16, 2)).astype(np.float32)


class Affine(eqx.Module):
    """The smallest network."""

    matrix: jax.Array
    slope: jax.Array

    def __call__(self, t, x, cond=None):
        return jnp.tanh(self.matrix @ x) + jnp.tanh(t) * self.slope


class Shifted(WrappedField):
    """A wrapper of a user's, with a weight and a setting."""

    shift: jax.Array
    rate: jax.Array
    untrained = ("rate",)

    def __call__(self, t, x, cond=None):
        return self.field(t, x, cond) + self.rate * self.shift


class Statistics(nnx.Module):
    """A network with a weight and a constant that is none."""

    def __init__(self):
        self.layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        self.scale = nnx.Variable(jnp.full(2, 0.5))

    def __call__(self, t, x):
        return self.layer(x) * self.scale[None]


def affine():
    return Affine(jnp.eye(2), jnp.ones(2))


BINS = ddpm_schedule(np.linspace(0.999, 0.01, 20))
# By name: the field, and the names of the arrays that are trained.
WEIGHTS = ("matrix", "slope")
FIELDS = {
    "noise": (
        lambda: from_prediction(affine(), predicts="noise", schedule=vp_schedule(time_scale=999.0)),
        WEIGHTS,
    ),
    "bins": (lambda: from_prediction(affine(), predicts="v", schedule=BINS), WEIGHTS),
    "preconditioned": (
        lambda: from_prediction(edm_denoiser(affine()), predicts="data", schedule=edm_schedule()),
        WEIGHTS,
    ),
    "with arrays for the glue": (
        lambda: from_prediction(
            affine(), predicts="velocity", schedule=vp_schedule(), args=jnp.full(2, 3.0),
            call=lambda model, shift, r, x, cond: model(r, x - shift),
        ),
        WEIGHTS,
    ),
    "reversed": (lambda: from_reversed_time(affine(), time_scale=1000.0), WEIGHTS),
    "scaled": (lambda: from_scaled_time(affine(), time_scale=1000.0), WEIGHTS),
    "of a user's": (lambda: Shifted(from_reversed_time(affine()), jnp.ones(2), jnp.ones(())),
                    (*WEIGHTS, "shift")),
    "a mask of Flax's": (lambda: from_reversed_time(from_nnx(Statistics())), ("bias", "kernel")),
    "a mask inside a transform": (
        lambda: kts(0.1)(from_reversed_time(from_nnx(Statistics()))),
        ("bias", "kernel", ".fn."),  # as the docstring of `fit` says
    ),
}  # fmt: skip


def arrays(field):
    """The floating arrays of a field by the last part of their names, which are all different."""
    leaves = jax.tree.leaves_with_path(eqx.filter(field, eqx.is_inexact_array))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("name", FIELDS)
def test_settings_stay(name):
    build, trained = FIELDS[name]
    before = arrays(build())
    settings = {"key": jax.random.key(0), "num_steps": 3, "optimizer": ADAM, "batch_size": 16}
    result = fit(build(), ROWS, **settings)
    for field in (result.field, result.ema_field):
        after = arrays(field)
        assert after.keys() == before.keys()
        changed = {path for path in before if not np.array_equal(before[path], after[path])}
        expected = {path for path in before if any(word in path for word in trained)}
        assert len(expected) >= 2
        assert changed == expected


def test_a_mask_declared_by_hand():
    """A class may still override `trainable`; wrappers pass it on."""

    class Half(Affine, WrappedField):
        def trainable(self):
            return eqx.tree_at(lambda m: m.slope, jax.tree.map(lambda _: True, self), False)

    half = Half(Affine(jnp.eye(2), jnp.ones(2)), jnp.eye(2), jnp.ones(2))
    mask = from_reversed_time(half).trainable()
    assert jax.tree.leaves(mask.field.field) == [True, True]
    assert (mask.field.matrix, mask.field.slope, mask.time_scale) == (True, False, False)


def test_a_field_of_settings_alone_is_refused(own_messages):
    field = from_reversed_time(lambda t, x, cond=None: x)
    with pytest.raises(ValueError, match="field must be a pytree with floating arrays to train"):
        fit(field, ROWS, key=jax.random.key(0), num_steps=1, optimizer=ADAM, batch_size=4)
