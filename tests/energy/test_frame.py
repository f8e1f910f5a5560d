"""Energies in a moving frame: König's theorem, and a flow of shifted data."""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import (
    EmpiricalField,
    GaussianField,
    energy_init,
    energy_result,
    energy_state,
    energy_term,
    energy_update,
    kts,
    sample,
)
from kinetic_jax.energy import in_frame
from kinetic_jax.fields import WrappedField, as_field
from kinetic_jax.jobs import JobSettings, run_job
from kinetic_jax.networks import network_field
from kinetic_jax.sampling import sweep

SHIFT = np.array([3.0, -1.0, 2.0], np.float32)
X0 = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
CONTROLLER = diffrax.PIDController(rtol=1e-5, atol=1e-5)
SOLVES = {
    "Euler": {"num_steps": 20},
    "Heun": {"solver": diffrax.Heun(), "num_steps": 18, "t1": 0.9},
    "Tsit5": {"controller": CONTROLLER, "t1": 0.9},
}


class Shifted(WrappedField):
    """The flow of data that are shifted: v(t, x − t m) + m."""

    shift: jax.Array

    def __call__(self, t, x, cond=None):
        return self.field(t, x - t * self.shift, cond) + self.shift


FIELDS = {
    "gaussian": lambda m: GaussianField(jnp.full(3, 0.5) + m, 0.6),
    "empirical": lambda m: EmpiricalField(ROWS + m),
    "network": lambda m: Shifted(
        network_field("mlp", (3,), key=jax.random.key(0), width=8, depth=1), jnp.asarray(m)
    ),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "solve"),
    [(name, solve) for name in FIELDS for solve in ("Euler", "Heun")] + [("gaussian", "Tsit5")],
)
def test_shifted_data_have_the_same_energies_in_their_frame(name, solve):
    shifted = sample(FIELDS[name](SHIFT), X0, frame=SHIFT, **SOLVES[solve])
    if solve != "Tsit5":  # whose steps look at x
        at_rest = sample(FIELDS[name](0 * SHIFT), X0, **SOLVES[solve]).energy
        for part, energy in vars(at_rest).items():
            moved = getattr(shifted.energy, part)
            np.testing.assert_allclose(moved, energy, rtol=2e-5, atol=1e-4, err_msg=part)
    # In both phases: E' = E − m·(x(t) − x0) + T m²/2 between the ends of a phase.
    lab = sample(FIELDS[name](SHIFT), X0, save_at=np.array([0.6]), **SOLVES[solve])
    t1 = SOLVES[solve].get("t1", 1.0)
    middle = np.asarray(lab.path[:, 0], np.float64)
    for part, start, end, time in (
        ("launch", X0, middle, 0.6), ("landing", middle, np.asarray(lab.x1), t1 - 0.6)
    ):  # fmt: skip
        change = time * np.sum(SHIFT**2) / 2 - (end - start) @ SHIFT
        expected = np.asarray(getattr(lab.energy, part), np.float64) + change
        np.testing.assert_allclose(
            getattr(shifted.energy, part), expected, rtol=2e-3, atol=5e-3, err_msg=part
        )
    np.testing.assert_allclose(shifted.energy.excess, lab.energy.excess, rtol=1e-4, atol=1e-5)
    after = in_frame(lab.energy, X0, lab.x1, SHIFT, duration=t1)
    for part in ("total", "displacement", "excess"):
        ours, theirs = getattr(after, part), getattr(shifted.energy, part)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-4, err_msg=part)


def test_profiles_lengths_gains_and_masses():
    """In NumPy: Euler steps of u = η v, seen from a frame of each sample's own, under a mass."""
    frames = np.random.default_rng(2).normal(size=X0.shape).astype(np.float32)
    mass, shaped = np.array([1.0, 0.5, 2.0], np.float32), kts(0.2, 0.01)
    field = GaussianField(jnp.asarray(SHIFT), 0.6)
    run = sample(shaped(field), X0, num_steps=10, frame=frames, mass=mass)
    x, velocities = X0.astype(np.float64), []
    for i in range(10):
        u = jax.vmap(lambda x, t=i / 10: shaped(field)(jnp.float32(t), x))(jnp.float32(x))
        velocities.append(np.asarray(u, np.float64))
        x = x + velocities[-1] / 10
    squares = np.sum(mass * (np.array(velocities) - frames) ** 2, axis=2)
    np.testing.assert_allclose(run.profile.speed2, squares.T, rtol=1e-4)
    np.testing.assert_allclose(run.energy.total, squares.sum(0) / 20, rtol=1e-5)
    np.testing.assert_allclose(run.energy.length, np.sqrt(squares).sum(0) / 10, rtol=1e-5)
    lab = sample(shaped(field), X0, num_steps=10, mass=mass)
    after = in_frame(lab.energy, X0, lab.x1, frames, mass=mass)
    np.testing.assert_allclose(after.total, run.energy.total, rtol=1e-4)
    runs = sweep(field, X0, alpha0=0.2, beta0=[0.01], num_steps=10, frame=frames, mass=mass)
    np.testing.assert_allclose(runs.energy.total[0, 0, 0], run.energy.total, rtol=1e-5)


def test_in_a_solve_a_loop_and_a_job(tmp_path):
    field, frame = GaussianField(jnp.asarray(SHIFT), 0.6), SHIFT / 2
    run = sample(field, X0, num_steps=8, frame=frame)
    start = energy_state(jnp.asarray(X0[0]))
    term = energy_term(field, frame=frame)
    solved = diffrax.diffeqsolve(term, diffrax.Euler(), 0.0, 1.0, 0.125, start).ys
    np.testing.assert_allclose(solved.energy[0], run.energy.total[0], rtol=1e-5)
    x, state = X0, energy_init(X0, frame=frame)
    for i in range(8):
        u = np.asarray(jax.vmap(lambda x, t=i / 8: field(jnp.float32(t), x))(jnp.asarray(x)))
        state, x = energy_update(state, u, i / 8, 1 / 8), x + u / 8
    ours = energy_result(state, x)
    for part, energy in vars(run.energy).items():
        np.testing.assert_allclose(getattr(ours, part), energy, rtol=1e-5, atol=1e-5, err_msg=part)
    settings = JobSettings(n=5, shard_size=5, num_steps=8, frame=frame)
    job = run_job(field, tmp_path, settings, x0=lambda index: X0[index], say=None)
    total = next(job.check().shards()).energy.total
    np.testing.assert_allclose(total, run.energy.total, rtol=1e-6)
    other = dataclasses.replace(settings, frame=None)
    with pytest.raises(ValueError, match="holds a job with frame ="):
        run_job(field, tmp_path, other, x0=lambda index: X0[index], say=None)


def test_what_no_frame_can_be(own_messages):
    field = as_field(lambda t, x, cond=None: x)
    energy = sample(field, X0, num_steps=2).energy
    for call, message in (
        (lambda: sample(field, X0, frame=np.inf), "frame must be finite"),
        (lambda: sample(field, X0, frame="data"), "frame must be an array of numbers"),
        (lambda: sample(field, X0, frame=np.ones(2)), r"frame must broadcast to the shape of x"),
        (lambda: in_frame(energy, X0, X0[:3], SHIFT), "x1 must have the shapes of x0"),
        (lambda: in_frame(energy, X0[:3], X0[:3], SHIFT), "energy must have a number for each"),
        (lambda: in_frame(energy.total, X0, X0, SHIFT), "energy must be a PathEnergy"),
        (lambda: in_frame(energy, X0, X0, None), "frame must be a velocity"),
        (lambda: in_frame(energy, X0, X0, SHIFT, duration=0), "duration must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
