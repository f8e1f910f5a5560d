"""Results as people see them at a prompt: names and numbers, arrays by shape and dtype."""

import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import memorization, sample
from kinetic_jax.data import load_images

X0 = jnp.ones((3, 2))


def run():
    return sample(lambda t, x, cond: x, X0, num_steps=4)


def copies():
    return memorization(np.array(X0), np.array([[1.0, 1.0], [0.0, 0.0]], np.float32))


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (run, "Trajectories(\n  x1=f32[3,2],\n  energy=PathEnergy(\n    total=f32[3],"),
        (lambda: run().profile, "KineticProfile(ts=f32[4], speed2=f32[3,4], bend2=f32[3,4])"),
        (copies, "Memorization(\n  fraction=1.0,\n"),
        (lambda: load_images("digits"), "images=f32[1797,8,8,1](numpy),\n  labels=i32[1797]("),
    ],
)
def test_arrays_are_shown_by_shape_and_dtype(make, shown):
    text = repr(make())
    assert shown in text
    assert "array(" not in text.lower()
