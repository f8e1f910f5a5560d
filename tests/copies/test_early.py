"""Paths in two parts are those of one uninterrupted run, and cost what they should."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import kts, noise, sample
from kinetic_jax.copies import early_bending, profile_features, reject, sample_rejecting
from kinetic_jax.fields import on_manifold
from kinetic_jax.manifolds import Sphere
from kinetic_jax.sampling import KineticProfile

N = 12
X0 = noise(jax.random.key(0), jnp.arange(N), (5,))


def curved(t, x, cond):
    """Quick to compile, and not straight."""
    return jnp.sin(2 * x + 3 * t) * (2 - t) - x[::-1]


def energy_so_far(run):
    return run.energy.total


def rows(run, kept):
    """Some samples of a run."""
    return run.map_batch(lambda leaf: leaf[kept], lambda leaf: leaf)


def assert_same(run, wanted):
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        got = dict(jax.tree_util.tree_leaves_with_path(run))[path]
        np.testing.assert_allclose(got, leaf, rtol=2e-6, atol=1e-6, err_msg=str(path))


@pytest.mark.parametrize(
    ("solver", "grid"),
    [(None, "cosine"), (diffrax.Heun(), np.array([0.0, 0.1, 0.15, 0.4, 0.7, 0.8, 1.0]))],
    ids=["Euler", "Heun"],
)
def test_samples_that_stay_are_those_of_one_run(solver, grid):
    settings = {"solver": solver, "grid": grid, "tau_split": 0.3}
    settings |= {"num_steps": 8} if isinstance(grid, str) else {}
    plain = sample(curved, X0, **settings)
    result = sample_rejecting(curved, X0, risk=energy_so_far, share=0.4, **settings)
    assert result.rejection.kept.size == 7
    assert_same(result.run, rows(plain, result.rejection.kept))


@pytest.mark.long
@pytest.mark.parametrize("solver", [None, diffrax.Heun()], ids=["Euler", "Heun"])
def test_the_launch_is_a_run_that_ends_early(solver):
    """Its energies and those of the rest, sampled on their own, add up."""
    launches = []

    def risk(run):
        launches.append(run)
        return run.energy.total

    nodes = np.linspace(0, 1, 11)
    settings = {"solver": solver, "tau_split": 0.6}
    result = sample_rejecting(curved, X0, risk=risk, share=0.5, grid=nodes, **settings)
    kept = result.rejection.kept
    first = sample(curved, X0, grid=nodes[:5], **settings)
    assert_same(launches[0], first)
    np.testing.assert_array_equal(result.risk, np.asarray(first.energy.total, np.float64))
    assert kept.tolist() == sorted(np.argsort(result.risk)[: N // 2].tolist())
    rest = sample(curved, first.x1[kept], grid=nodes[4:], **settings)
    np.testing.assert_allclose(result.run.x1, rest.x1, rtol=1e-5, atol=1e-6)
    for name in ("total", "launch", "landing", "length"):
        parts = getattr(first.energy, name)[kept] + getattr(rest.energy, name)
        np.testing.assert_allclose(getattr(result.run.energy, name), parts, rtol=1e-5)
    energy = result.run.energy
    np.testing.assert_allclose(
        energy.displacement, np.sum((np.asarray(rest.x1) - X0[kept]) ** 2, -1) / 2, rtol=1e-5
    )
    np.testing.assert_allclose(
        energy.excess, energy.total - energy.displacement, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("t_early", "first"), [(0.4, 4), (0.49, 4), (0.1, 1), (1.0, 10)])
@pytest.mark.parametrize(("solver", "calls"), [(None, 1), (diffrax.Heun(), 2)])
def test_cost(t_early, first, solver, calls):
    result = sample_rejecting(
        *(curved, X0),
        risk=energy_so_far,
        t_early=t_early,
        share=0.25,
        num_steps=10,
        solver=solver,
        score_evaluations=3,
    )
    wanted = N * (first * calls + 3) + 9 * (10 - first) * calls
    assert result.evaluations == wanted
    assert result.evaluations_per_kept == wanted / 9
    assert result.run.num_evals.tolist() == [10 * calls] * 9


@pytest.mark.long
def test_conditions_gains_and_pytrees():
    """The class decides where a path leads, and the strata."""
    labels = jnp.arange(N) % 3
    field = kts(0.2, 0.01)(lambda t, x, label: curved(t, x, None) * (1 + label.astype(x.dtype)))
    plain = sample(field, X0, labels, num_steps=10)
    result = sample_rejecting(
        field, X0, labels, risk=energy_so_far, share=0.5, strata=labels, num_steps=10
    )
    kept = result.rejection.kept
    assert np.bincount(labels[kept]).tolist() == [2, 2, 2]
    assert_same(result.run, rows(plain, kept))
    by_function = sample_rejecting(
        *(field, X0, labels),
        risk=energy_so_far,
        share=0.5,
        strata=lambda run: labels + 0 * run.status,
        num_steps=10,
    )
    np.testing.assert_array_equal(by_function.rejection.kept, kept)

    def turning(t, x, cond):
        return {"a": -x["b"], "b": x["a"] * t}

    states = {"a": X0[:, :2], "b": X0[:, 2:4]}
    tree = sample_rejecting(turning, states, risk=energy_so_far, share=0.5, num_steps=10)
    alone = sample(turning, states, num_steps=10)
    for name, leaf in tree.run.x1.items():
        np.testing.assert_allclose(leaf, alone.x1[name][tree.rejection.kept], rtol=1e-6)


def test_paths_on_a_sphere():
    field = on_manifold(lambda t, x, cond: x[::-1] * jnp.array([1.0, 2.0, -1.0]), Sphere())
    x0 = X0[:, :3] / jnp.linalg.norm(X0[:, :3], axis=-1, keepdims=True)
    result = sample_rejecting(field, x0, risk=energy_so_far, share=0.5, num_steps=6)
    plain = sample(field, x0, num_steps=6)
    assert_same(result.run, rows(plain, result.rejection.kept))


def test_failed_candidates_have_an_unknown_risk():
    """Whatever the score says of them."""
    x0 = X0.at[3].set(jnp.nan)
    result = sample_rejecting(
        *(curved, x0), risk=lambda run: 1.0 * np.arange(N), share=0.25, num_steps=10
    )
    assert np.flatnonzero(np.isnan(result.risk)).tolist() == [3]
    assert result.rejection.rejected.tolist() == [3, 10, 11]
    assert result.run.check() is result.run
    none = sample_rejecting(curved, x0, risk=energy_so_far, limit=-1.0, num_steps=10)
    assert none.run.x1.shape == (0, 5)
    assert none.evaluations == N * 4
    assert none.evaluations_per_kept == np.inf


@pytest.mark.long
def test_early_bending_and_features_know_where_a_launch_ends():
    whole = sample(curved, X0, num_steps=40).profile
    part = KineticProfile(whole.ts[:16], whole.speed2[:, :16], whole.bend2[:, :16])
    np.testing.assert_allclose(early_bending(part, end=0.4), early_bending(whole), rtol=1e-4)
    both, first = profile_features(whole, 20), profile_features(part, 8, end=0.4)
    wanted = np.concatenate([both[:, :8], both[:, 20:28]], axis=1)
    np.testing.assert_allclose(first, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"end must lie in \(0.375, 1\], got 0.3"):
        early_bending(part, end=0.3)
    with pytest.raises(ValueError, match=r"each of 20 bins of \[0, 0.4\]"):
        profile_features(part, 20, end=0.4)


def test_at_the_end_it_is_reject():
    plain = sample(curved, X0, num_steps=10)
    result = sample_rejecting(
        curved, X0, risk=lambda run: run.x1[:, 0], t_early=1.0, share=0.25, num_steps=10
    )
    wanted = reject(plain.x1[:, 0], share=0.25)
    np.testing.assert_array_equal(result.rejection.kept, wanted.kept)
    assert_same(result.run, rows(plain, wanted.kept))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"t_early": 0.05}, r"t_early must lie in \[0.1, 1\], got 0.05"),
        ({"t_early": 1.1}, "t_early must lie in"),
        ({"risk": lambda run: np.zeros(3)}, "risk must return one number for each of 12"),
        ({"risk": lambda run: np.zeros((12, 2))}, "risk must be a vector"),
        ({"share": 2.0}, r"share must lie in \[0, 1\)"),
        ({"score_evaluations": -1}, "score_evaluations must be a whole number >= 0"),
        ({"num_steps": 0}, "num_steps must be a whole number >= 1"),
        ({"grid": np.array([0.0, 0.5]), "num_steps": None}, "grid must span"),
        ({"x0": np.zeros((2, 5), int)}, "x0 must be float32 or float64"),
    ],
)
def test_settings_out_of_range(settings, message, own_messages):
    given = {"field": lambda t, x, cond: -x, "x0": X0, "risk": energy_so_far, "num_steps": 10}
    with pytest.raises(ValueError, match=message):
        sample_rejecting(**given | settings)
