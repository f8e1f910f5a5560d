"""Launch and landing: which phase a step of a fixed grid is credited to."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import cfg, chain, gain, kts, sample


class Clock(eqx.Module):
    """v = t: a step's energy tells when the step began."""

    scale: np.float32

    def __call__(self, t, x, cond=None):
        return self.scale * t * jnp.ones_like(x)


UNIT = Clock(np.float32(1.0))
X0 = np.zeros((2, 1), np.float32)


def euler_energies(nodes, first_landing):
    """(launch, landing) of Clock under Euler, step `first_landing` being the first to land."""
    spent = np.diff(nodes) * nodes[:-1] ** 2 / 2
    return spent[:first_landing].sum(), spent[first_landing:].sum()


def test_step_60_of_100_is_landing():
    """A float32 linspace puts node 60 below 0.6; its energy, 0.18 of a step's, would be lost."""
    launch, landing = euler_energies(np.arange(101) / 100, 60)
    energy = sample(UNIT, X0).energy
    np.testing.assert_allclose(energy.launch, launch, rtol=1e-5)
    np.testing.assert_allclose(energy.landing, landing, rtol=1e-5)


@pytest.mark.parametrize("steps", [5, 10, 30, 100, 105, 250])
@pytest.mark.parametrize("tau", [0.2, 0.4, 0.6, 0.8])
def test_every_uniform_grid_with_a_node_at_tau(tau, steps):
    launch, landing = euler_energies(np.arange(steps + 1) / steps, round(tau * steps))
    energy = sample(UNIT, X0, num_steps=steps, tau_split=tau).energy
    np.testing.assert_allclose(energy.launch, launch, rtol=2e-5)
    np.testing.assert_allclose(energy.landing, landing, rtol=2e-5)


def test_node_of_a_cosine_grid_at_tau():
    """½(1 − cos πi/N) is ½ at i = N/2 (up to 3e-17) and ¼ at i = N/3."""
    for steps, tau, node in ((100, 0.5, 50), (99, 0.25, 33), (99, 0.75, 66)):
        nodes = (1 - np.cos(np.pi * np.arange(steps + 1) / steps)) / 2
        launch, landing = euler_energies(nodes, node)
        energy = sample(UNIT, X0, num_steps=steps, grid="cosine", tau_split=tau).energy
        np.testing.assert_allclose(energy.launch, launch, rtol=2e-5)
        np.testing.assert_allclose(energy.landing, landing, rtol=2e-5)


def test_left_end_within_rounding_of_tau_is_landing():
    for offset, landing in ((-3e-7, True), (0.0, True), (3e-7, True), (-1e-4, False)):
        nodes = np.array([0.0, 0.6 + offset, 1.0])
        energy = sample(UNIT, X0, grid=nodes).energy
        spent = 0.4 * 0.36 / 2
        np.testing.assert_allclose(energy.landing, spent if landing else 0.0, rtol=1e-3)
        np.testing.assert_allclose(energy.launch, 0.0 if landing else spent, rtol=1e-3)


def test_step_across_tau_belongs_to_its_left_end():
    """Also with stages beyond τ: the whole Heun step from 0.5 to 1 is launch."""
    energy = sample(UNIT, X0, solver=diffrax.Heun(), num_steps=2).energy
    np.testing.assert_allclose(energy.launch, (0.25 / 2 + (0.25 + 1) / 2) / 4, rtol=1e-6)
    np.testing.assert_array_equal(energy.landing, [0.0, 0.0])


@pytest.mark.parametrize(
    ("t0", "t1", "phase"), [(0.0, 0.5, "launch"), (0.6, 1.0, "landing"), (0.7, 1.0, "landing")]
)
def test_interval_within_one_phase(t0, t1, phase):
    energy = sample(UNIT, X0, num_steps=10, t0=t0, t1=t1).energy
    np.testing.assert_array_equal(getattr(energy, phase), energy.total)
    assert np.all(np.asarray(energy.total) > 0)


SHAPED = {
    "kts": kts(0.1, 0.01, 0.3)(UNIT),
    "kts inside a chain": chain(kts(0.1, 0.01, 0.3), gain(lambda t: 2.0))(UNIT),
    "kts of a guided field": chain(cfg(2.0, null_cond=jnp.zeros(())), kts(0.1, 0.01, 0.3))(UNIT),
    "guidance of a kts field": chain(kts(0.1, 0.01, 0.3), cfg(2.0, null_cond=jnp.zeros(())))(UNIT),
}


@pytest.mark.parametrize("name", SHAPED)
def test_the_split_is_the_fields_own_unless_told_otherwise(name):
    field = SHAPED[name]
    cond = np.ones(2, np.float32) if "guid" in name else None
    own, at_03, at_08 = (
        jax.tree.map(np.asarray, sample(field, X0, cond, num_steps=10, tau_split=tau).energy)
        for tau in (None, 0.3, 0.8)
    )
    np.testing.assert_array_equal(own.launch, at_03.launch)
    np.testing.assert_array_equal(own.landing, at_03.landing)
    # An explicit τ splits the energy elsewhere and leaves the trajectory, hence the sum, alone.
    assert np.all(at_08.launch > at_03.launch)
    np.testing.assert_allclose(at_08.total, at_03.total, rtol=1e-6)


def test_a_field_without_tau_is_split_at_06():
    default, spelled = (sample(UNIT, X0, tau_split=tau).energy for tau in (None, 0.6))
    np.testing.assert_array_equal(default.launch, spelled.launch)


def test_total_is_launch_plus_landing(reference, normal):
    run = sample(kts(0.3, 0.02)(reference.wave(0)), normal(0, 5, 3))
    energy = jax.tree.map(np.asarray, run.energy)
    np.testing.assert_array_equal(energy.total, energy.launch + energy.landing)
    np.testing.assert_allclose(energy.excess, energy.total - energy.displacement, rtol=1e-4)
    assert np.all(energy.launch > 0)
    assert np.all(energy.landing > 0)
