"""A grid of settings in one program: the numbers of as many single runs, launches shared."""

import itertools
from collections import Counter

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import GaussianField, cfg, kts, sample
from kinetic_jax.sampling import sweep

ALPHAS, BETAS, TAUS = (0.0, 0.1), (0.0, 0.01, 0.04), (0.35, 0.6)
# Shapes and what is integrated; τ = 0.35 is a node of the first grid and of none of the others.
CASES = {
    "defaults": ({}, {"num_steps": 20}),
    "jumps at τ": (
        {"launch": "constant", "landing": "constant"},
        {"num_steps": 10, "solver": diffrax.Heun()},
    ),
    "stages inside": (
        {"launch": "exponential", "landing": "linear"},
        {"num_steps": 10, "solver": diffrax.Midpoint(), "grid": "cosine", "t1": 0.9},
    ),
    "own shapes": (
        {"launch": lambda q: q**2, "landing": lambda s: 0.5 + s},
        {"num_steps": 10, "solver": diffrax.Bosh3()},
    ),
}


GRID = {"alpha0": ALPHAS, "beta0": BETAS, "tau_split": TAUS}


def setting(found, i, j, k):
    """One setting of a sweep, as `sample` would return it."""
    clock = found.profile.ts
    part = jax.tree.map(lambda leaf: leaf if leaf is clock else leaf[i, j, k], found)
    return part


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_every_setting_is_a_run_of_its_own(reference, normal, name):
    shapes, options = CASES[name]
    field, x0 = reference.wave(0), normal(1, 4, 3)
    found = sweep(field, x0, **GRID, **shapes, **options).check()
    assert found.x1.shape == (2, 3, 2, 4, 3)
    found = jax.tree.map(np.asarray, found)
    grid = itertools.product(enumerate(ALPHAS), enumerate(BETAS), enumerate(TAUS))
    for (i, alpha0), (j, beta0), (k, tau) in grid:
        one = sample(kts(alpha0, beta0, tau, **shapes)(field), x0, **options)
        result = setting(found, i, j, k)
        assert jax.tree.structure(result) == jax.tree.structure(one)
        for left, right in zip(jax.tree.leaves(result), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(left, right, rtol=2e-6, atol=2e-6)


@pytest.mark.long
def test_conditions_and_settings_at_once(normal):
    """Guided and labelled, in the middle of other transforms; two values of β0 together."""

    class Labelled(eqx.Module):
        weight: np.ndarray

        def __call__(self, t, x, cond):
            return jnp.tanh(self.weight @ x) + cond.astype(x.dtype)

    field = cfg(1.5, np.int32(0), interval=(0.2, 0.8))(Labelled(normal(0, 3, 3)))
    x0, cond = normal(1, 5, 3), np.arange(5, dtype=np.int32)
    found = sweep(field, x0, cond, alpha0=0.1, beta0=BETAS, num_steps=10, at_once=2)
    for j, beta0 in enumerate(BETAS):
        one = sample(kts(0.1, beta0)(field), x0, cond, num_steps=10)
        x1, total = np.asarray(found.x1)[0, j, 0], np.asarray(found.energy.total)[0, j, 0]
        np.testing.assert_allclose(x1, one.x1, rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(total, one.energy.total, rtol=2e-6)


CALLS = Counter()


class Counted(eqx.Module):
    """Reports each evaluation of a sample as it happens."""

    def __call__(self, t, x, cond=None):
        jax.debug.callback(lambda _: CALLS.update(["calls"]), t)
        return x * t


@pytest.mark.parametrize(
    ("size", "steps", "landing", "shared"),
    [
        (8, 100, "exponential", 61),  # the left end of step 61 is τ itself, where η = 1
        (2, 20, "constant", 12),  # there the landing jumps, and β0 is seen
    ],
)
def test_launches_are_shared(size, steps, landing, shared):
    """8 × 8 settings at τ = 0.6 and 100 Euler steps: 46.6% of the evaluations of 64 runs."""
    CALLS.clear()
    strengths = np.linspace(0, 0.04, size)
    x0 = np.ones((1, 1), np.float32)
    options = {"num_steps": steps, "landing": landing}
    found = sweep(Counted(), x0, alpha0=strengths, beta0=strengths, **options)
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert CALLS["calls"] == size * (shared + size * (steps - shared))
    if size == 8:
        assert CALLS["calls"] <= size * size * steps / 2
    assert set(np.ravel(np.asarray(found.num_evals))) == {steps}


@pytest.fixture(scope="module")
def whole(reference, normal):
    """A sweep on one device of the 16 rows that others reduce, or split over a mesh."""
    run = sweep(reference.wave(0), normal(1, 16, 3), **GRID, num_steps=8)
    return jax.tree.map(np.asarray, run)


@pytest.mark.long
def test_only_what_is_reduced_is_kept(reference, normal, whole):
    field, x0 = reference.wave(0), normal(1, 16, 3)

    def reduce(run):
        return {"mean": run.energy.total.mean(), "end": run.x1[:2]}

    options = {**GRID, "num_steps": 8, "reduce": reduce}
    found = sweep(field, x0, **options)
    np.testing.assert_allclose(found["mean"], whole.energy.total.mean(axis=-1), rtol=1e-6)
    np.testing.assert_allclose(found["end"], whole.x1[..., :2, :], rtol=1e-6)
    split = sweep(field, x0, **options, mesh=jax.make_mesh((8,), ("rows",)))
    np.testing.assert_allclose(split["mean"], found["mean"], rtol=1e-6)


def test_memory_does_not_grow_with_the_grid_when_reduced():
    x0 = np.zeros((64, 32), np.float32)
    field = GaussianField(np.ones(32, np.float32), 0.5)

    def temporary(count):
        run = lambda field, x0, alpha0: sweep(  # noqa: E731
            field, x0, alpha0=alpha0, num_steps=8, reduce=lambda run: run.energy.total.mean()
        )
        compiled = jax.jit(run).lower(field, x0, np.zeros(count, np.float32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert abs(temporary(64) - temporary(4)) < 4096  # one batch is 8 kB


def test_on_a_mesh(reference, normal, whole):
    """A sweep of 13 rows, which 8 devices do not divide."""
    expected = whole.map_batch(lambda leaf: leaf[:, :, :, :13], lambda clock: clock)
    x0, mesh = normal(1, 16, 3)[:13], jax.make_mesh((8,), ("rows",))
    found = sweep(reference.wave(0), x0, **GRID, num_steps=8, mesh=mesh)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-6, atol=2e-6)


def test_other_numbers_do_not_compile_again(reference, normal, compilations):
    run = lambda seed, *numbers: sweep(  # noqa: E731
        reference.wave(seed), normal(seed, 4, 3), **dict(zip(GRID, numbers, strict=True)),
        num_steps=20,
    )  # fmt: skip
    first = run(0, ALPHAS, BETAS, TAUS)
    before = compilations()
    second = run(1, [0.2, 0.3], [0.02, 0.03, 0.01], [0.3, 0.5])
    assert compilations() == before
    assert not np.allclose(first.x1, second.x1)


@pytest.mark.long
def test_derivatives_in_the_strengths(reference, normal):
    field, x0 = reference.wave(0), normal(1, 4, 3)

    def energies(strengths):
        alpha0, beta0 = strengths
        run = sweep(field, x0, alpha0=alpha0[None], beta0=beta0[None], num_steps=8)
        return jnp.sum(run.energy.total)

    def alone(strengths):
        return jnp.sum(sample(kts(*strengths)(field), x0, num_steps=8).energy.total)

    at = (np.float32(0.1), np.float32(0.01))
    found, expected = (jax.jit(jax.grad(fn))(at) for fn in (energies, alone))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bad_samples_are_named_by_their_place(reference, normal):
    x0 = normal(1, 4, 3)
    x0[2] = np.nan
    found = sweep(reference.wave(0), x0, **GRID, num_steps=20)
    with pytest.raises(
        RuntimeError, match=r"48 .* 12 not finite .*\(0, 0, 0, 2\), \(0, 0, 1, 2\), \(0, 1, 0, 2"
    ):
        found.check()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"alpha0": [[0.1]]},
            r"alpha0 must be a number or a vector of numbers, got shape \(1, 1\)",
        ),
        ({"alpha0": []}, r"alpha0 must be a number or a vector of numbers, got shape \(0,\)"),
        ({"beta0": [0.0, np.nan]}, "beta0 must be finite"),
        ({"beta0": [0.01, 0.06]}, "alpha0, beta0 must keep the gain above 0"),
        ({"tau_split": [0.5, 1.0]}, r"tau_split must lie in \(0, 1\), got 1"),
        ({"launch": "cubic"}, "launch must be one of"),
        ({"solver": diffrax.Kvaerno3()}, "solver must be an explicit one-step"),
        ({"num_steps": 0}, "num_steps must be a whole number >= 1"),
        ({"reduce": 3}, "reduce must be a function of one run"),
        ({"at_once": 0}, "at_once must be a whole number >= 1"),
        ({"mesh": 8}, r"mesh must be a jax.sharding.Mesh"),
    ],
)
def test_errors(reference, normal, own_messages, options, words):
    with pytest.raises(ValueError, match=words):
        sweep(reference.wave(0), normal(1, 4, 3), **options)


def test_a_reduced_batch_must_divide(reference, normal):
    mesh = jax.make_mesh((8,), ("rows",))
    with pytest.raises(ValueError, match="x0 must divide by the 8 devices"):
        sweep(reference.wave(0), normal(1, 13, 3), reduce=lambda run: run.status, mesh=mesh)
