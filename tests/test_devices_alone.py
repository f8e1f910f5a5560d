"""Public functions of arrays that are driven from the host, where a mesh is set.

Each must give the numbers that it gives without a mesh, and usable ones, or refuse in words.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tests.device_cases import ALONE, SPLIT, X, assert_same, meshes, split_over

pytestmark = pytest.mark.long


def landing():
    """The result of `single_atom` by SciPy: exp(−∫ η/(1 − t)), and ∫ ½ (η/(1 − t) of it)²."""

    def rates(t, y):
        rate = (1 + 0.1 * (1 - t / 0.6)) / (1 - t)
        return rate, (rate * np.exp(-y[0])) ** 2 / 2

    times = np.abs(X[:, 0]) / 9
    assert times.max() < 0.6
    ends = [solve_ivp(rates, (0, t), (0.0, 0.0), rtol=1e-9, atol=1e-12).y[:, -1] for t in times]
    exponent, energy = np.transpose(ends)
    return np.exp(-exponent), energy


# Programs that take long to compile run on meshes only.
WANTED = {"single_atom": landing()}


@pytest.mark.parametrize("name", ALONE)
def test_called_alone(name, own_messages):
    """Whole and split, where a mesh is set; refused inside a checked `shard_map`."""
    case, mesh = ALONE[name], meshes()["Explicit"]
    wanted = WANTED[name] if name in WANTED else case.call(jnp.asarray(X), None)
    with jax.set_mesh(mesh):
        assert_same(case.call(jnp.asarray(X), None), wanted)
        x = split_over(mesh)
        if case.split is not None:
            with pytest.raises(ValueError, match=case.split):
                case.call(x, None)
        if case.split is None or case.mesh:
            result = case.call(x, mesh if case.mesh else None)
            assert_same(result, wanted)
            for leaf in jax.tree.leaves(result):
                jnp.mean(jnp.asarray(leaf, jnp.float32) * 2)  # usable here
    if case.inside is not None:
        inside = jax.shard_map(
            lambda x: case.call(x, None), mesh=mesh, in_specs=SPLIT, out_specs=SPLIT
        )
        with pytest.raises(ValueError, match=case.inside):
            jax.eval_shape(inside, split_over(mesh))
