"""Derivatives of the energy against central difference quotients, in float64."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, kts, sample

# τ lies between the nodes of the grid (steps of 1/16): its effect comes through the gain.
PARAMETERS = {"alpha0": 0.3, "beta0": 0.03, "tau_split": 0.61}
QUANTITIES = ("total", "launch", "landing", "excess", "length")


def quotient(fn, value, step=1e-5):
    return (fn(value + step) - fn(value - step)) / (2 * step)


@pytest.mark.parametrize("solver", [diffrax.Euler(), diffrax.Heun()], ids=["euler", "heun"])
def test_energy_in_the_gains_parameters(x64, reference, solver):
    field = reference.wave(0, dtype=jnp.float64)
    x0 = np.random.default_rng(1).normal(size=(3, 3))

    def energies(parameters):
        energy = sample(kts(**parameters)(field), x0, solver=solver, num_steps=16).energy
        return jnp.stack([getattr(energy, quantity) for quantity in QUANTITIES])

    @jax.jit
    def both_ways(parameters):
        derivatives = jax.jacfwd(energies)(parameters), jax.jacrev(energies)(parameters)
        return energies(parameters), *derivatives

    parameters = {name: np.float64(value) for name, value in PARAMETERS.items()}
    _, forward, reverse = both_ways(parameters)
    for name, value in parameters.items():
        expected = quotient(
            lambda v, name=name: np.asarray(both_ways({**parameters, name: v})[0]), value
        )
        assert np.all(np.abs(expected[0]) > 1e-3)  # there is something to find
        np.testing.assert_allclose(forward[name], expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(reverse[name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_energy_in_everything(x64, reference, mode):
    """Gradients in the gain, the split, the weights and the start, by one program."""
    options = {
        "fixed": {"solver": diffrax.Midpoint(), "num_steps": 16},
        "adaptive": {
            # So tight that the step sequence, which has no derivative, does not matter.
            "controller": diffrax.PIDController(rtol=1e-9, atol=1e-9),
            "max_steps": 256,
        },
    }[mode]
    field = reference.wave(0, dtype=jnp.float64)
    x0 = np.random.default_rng(1).normal(size=(2, 3))

    @jax.jit
    @jax.value_and_grad
    def energy(arguments):
        alpha0, split, field, x0 = arguments
        result = sample(kts(alpha0, 0.03)(field), x0, tau_split=split, **options)
        energy = result.energy
        return jnp.sum(energy.total + 0.5 * energy.launch + 0.7 * energy.excess + result.x1[:, 0])

    # The energy is split away from the gain's τ and from every node of the grid.
    arguments = (np.float64(0.3), np.float64(0.43), jax.tree.map(np.asarray, field), x0)
    _, gradient = energy(arguments)
    leaves, treedef = jax.tree.flatten(arguments)
    rng = np.random.default_rng(2)
    for position, slope in enumerate(jax.tree.leaves(gradient)):
        direction = rng.normal(size=slope.shape)

        def along(step, position=position, direction=direction):
            moved = list(leaves)
            moved[position] = leaves[position] + step * direction
            return float(energy(jax.tree.unflatten(treedef, moved))[0])

        expected = quotient(along, 0.0)
        if position == 1 and mode == "fixed":  # steps belong to one phase or the other
            assert expected == float(slope) == 0
            continue
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(np.sum(np.asarray(slope) * direction), expected, rtol=1e-5)


def test_a_field_at_rest_has_a_gradient(x64):
    """||u|| has a corner at 0, where many a sample starts: its gradient is 0 there, not NaN."""

    def length(scale):
        def still(t, x, cond=None):
            return scale * jnp.zeros_like(x)

        return sample(still, np.zeros((1, 2)), num_steps=3).energy.length[0]

    np.testing.assert_array_equal(jax.jit(jax.grad(length))(np.float64(2.0)), 0.0)


def gaussian_energy(x0, adjoint):
    """The energy of one path by Diffrax; in closed form (s − 1) μ·x0 + (1 + s² − πs/2) x0²/2."""
    steps = {"controller": diffrax.ConstantStepSize(), "dt0": 1 / 14, "max_steps": 16}
    settings = {"solver": diffrax.Heun(), "adjoint": adjoint} | steps
    return sample(GaussianField(MEAN, SCALE), x0[None], **settings).energy.total[0]


MEAN, SCALE = np.array([1.0, -2.0], np.float32), 0.5
START = np.array([0.3, -1.2], np.float32)
CURVATURE = 1 + SCALE**2 - np.pi * SCALE / 2


def test_forward_mode_of_adaptive_steps():
    slope = jax.jit(jax.jacfwd(lambda x0: gaussian_energy(x0, diffrax.ForwardMode())))(START)
    np.testing.assert_allclose(slope, (SCALE - 1) * MEAN + CURVATURE * START, atol=3e-3)


@pytest.mark.long
def test_second_derivatives_of_adaptive_steps():
    hessian = jax.jit(jax.hessian(lambda x0: gaussian_energy(x0, diffrax.DirectAdjoint())))(START)
    np.testing.assert_allclose(hessian, CURVATURE * np.eye(2), atol=3e-3)


def test_adjoints_are_checked(own_messages):
    field = GaussianField(MEAN, SCALE)
    with pytest.raises(ValueError, match=r"adjoint must be left out on a fixed grid.*got ForwardM"):
        sample(field, START[None], adjoint=diffrax.ForwardMode())
    with pytest.raises(ValueError, match=r"adjoint must be .*diffrax.AbstractAdjoint, got 'forwa"):
        sample(field, START[None], controller=diffrax.ConstantStepSize(), adjoint="forward")
