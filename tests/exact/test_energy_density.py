"""Energy against density along saved paths: what NumPy says, and cases with known answers.

Paths are all of one shape, so that programs are shared.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from kinetic_jax import EmpiricalField, GaussianField, sample
from kinetic_jax.exact import density_profile, late_energy

ROWS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
X0 = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
TIMES = np.float32([0.1, 0.2, 0.5, 0.8, 0.95])
LATE = np.float32([0.5, 0.8, 0.9, 0.95, 0.99])  # four of them late


def STILL(t, x, cond=None):
    return jnp.zeros_like(x)


@functools.cache
def still():
    return sample(STILL, X0, save_at=TIMES)


def smooth():
    return GaussianField(np.ones(5, np.float32), 0.7)


def atoms(**known):
    return EmpiricalField(ROWS, chunk_size=7, **known)


def by_hand(t, x, rows=ROWS):
    """½||v*||² and −log p_t and ε in float64."""
    x, rows, left = np.float64(x), np.float64(rows), 1 - float(t)
    logits = -np.sum((x[:, None] - t * rows) ** 2, axis=2) / (2 * left**2)
    weights = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    energy = np.sum(((weights @ rows - x) / left) ** 2, axis=1) / 2
    volume = x.shape[1] * (np.log(left) + np.log(2 * np.pi) / 2)
    surprise = -(logsumexp(logits, axis=1) - np.log(len(rows)) - volume)
    return energy, surprise, np.sum(np.sort(weights, axis=1)[:, :-1], axis=1)


def share(energy, surprise):
    """The variance that is explained."""
    return 1 - np.var(energy - surprise, axis=0) / np.var(energy, axis=0)


def test_against_numpy():
    run = sample(smooth(), X0, save_at=TIMES)
    found = density_profile(atoms(), run)
    for i, t in enumerate(np.float64(TIMES)):
        energy, surprise, dominance = by_hand(t, np.asarray(run.path)[:, i])
        np.testing.assert_allclose(found.energy[:, i], energy, rtol=1e-3)
        np.testing.assert_allclose(found.neg_log_density[:, i], surprise, rtol=1e-4, atol=1e-3)
        assert found.explained[i] == pytest.approx(share(energy, surprise), abs=1e-3)
        assert found.correlation[i] == pytest.approx(np.corrcoef(energy, surprise)[0, 1], abs=1e-3)
        # Below 1e-37 float32 has no normal numbers.
        np.testing.assert_allclose(found.dominance[:, i], dominance, rtol=1e-3, atol=1e-37)
    assert np.all(np.abs(found.gap) <= found.bound)
    np.testing.assert_array_equal(found.ts, TIMES)


def test_density_explains_all_where_nothing_else_varies():
    """One row at the origin: x_k·r_k is 0, and ½||v||² is −log p_t plus a constant of t."""
    found = density_profile(EmpiricalField(np.zeros((1, 5), np.float32)), still())
    np.testing.assert_allclose(found.explained, 1, atol=1e-5)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-5)
    np.testing.assert_array_equal(found.dominance, 0)
    np.testing.assert_array_equal(found.bound, 0)


def test_another_fields_energy():
    """A speed of its own, unrelated to density: what −log p_t explains is not there."""

    def along(t, x, cond=None):
        return x * jnp.arange(1.0, 6.0)

    found = density_profile(atoms(), still(), velocity=along)
    wanted = np.sum((np.float64(X0) * np.arange(1, 6)) ** 2, axis=1) / 2
    for i, t in enumerate(np.float64(TIMES)):
        np.testing.assert_allclose(found.energy[:, i], wanted, rtol=1e-5)
        explained = share(wanted, by_hand(t, X0)[1])
        assert found.explained[i] == pytest.approx(explained, rel=1e-3)


def test_a_function_is_read_anew():
    """The closure of a plain function is an argument of the program, as in `sample`."""
    held = {"scale": np.float32(1.0)}

    def scaled(t, x, cond=None):
        return held["scale"] * x

    once = density_profile(atoms(), still(), velocity=scaled).energy
    held["scale"] = np.float32(2.0)
    twice = density_profile(atoms(), still(), velocity=scaled).energy
    np.testing.assert_allclose(twice, 4 * once, rtol=1e-6)


def test_classes_reach_the_field_that_has_them():
    labels, cond = np.arange(30) % 3, np.arange(40, dtype=np.int32) % 3
    of_classes = atoms(labels=labels)
    whole = density_profile(of_classes, still(), cond)
    for k in range(3):
        mine = cond == k
        for i, t in enumerate(np.float64(TIMES)):
            energy = by_hand(t, X0[mine], ROWS[labels == k])[0]
            np.testing.assert_allclose(whole.energy[mine, i], energy, rtol=1e-4)
    one_row = density_profile(of_classes, still(), np.array([1], np.int32))
    same = density_profile(of_classes, still(), np.full(40, 1, np.int32))
    np.testing.assert_array_equal(one_row.gap, same.gap)  # one row is every sample's

    def by_class(t, x, cond):
        return x * (1 + cond.astype(x.dtype))

    found = density_profile(atoms(), still(), cond, velocity=by_class)
    wanted = np.sum((X0 * (1 + cond)[:, None]) ** 2, axis=1) / 2
    np.testing.assert_allclose(found.energy[:, 0], wanted, rtol=1e-5)


def test_bad_samples_and_the_end_count_nowhere():
    bad, good = X0.copy(), np.delete(np.arange(40), 3)
    bad[3] = np.nan
    times = np.float32([0.1, 0.2, 0.5, 0.8, 1.0])
    found, clean = (
        density_profile(atoms(), sample(atoms(), x0, save_at=times)) for x0 in (bad, X0)
    )
    assert np.all(np.isnan(found.energy[3]))
    assert np.all(np.isfinite(found.energy[good, :-1]))
    assert np.all(np.isnan(found.neg_log_density[:, -1]))
    assert np.isnan(found.explained[-1])
    np.testing.assert_allclose(found.energy[good], clean.energy[good], rtol=1e-5)
    alone = share(found.energy[good], found.neg_log_density[good])
    np.testing.assert_allclose(found.explained, alone, rtol=1e-5)


def test_a_field_that_fails_at_one_sample_spoils_no_other():
    run, good = sample(STILL, X0, save_at=LATE), np.delete(np.arange(40), 5)
    held = {}

    def fails(t, x, cond=None):
        return jnp.where(x[0] == held["at"], jnp.nan, x)

    held["at"] = np.float32(np.inf)
    clean = density_profile(atoms(), run, velocity=fails)
    held["at"] = X0[5, 0]
    found = density_profile(atoms(), run, velocity=fails)
    late = late_energy(atoms(), fails, run)
    assert (clean.invalid, found.invalid, late.invalid) == (0, 1, 1)
    assert np.isnan(found.energy[5]).all()
    assert np.isnan(late.learned[5]).all()
    np.testing.assert_allclose(found.energy[good], clean.energy[good], rtol=1e-5)
    alone = share(clean.energy[good], clean.neg_log_density[good])
    np.testing.assert_allclose(found.explained, alone, rtol=1e-5)
    of_flow = np.stack([by_hand(t, X0[good])[0] for t in np.float64(LATE[1:])], axis=1)
    ratio = np.median(of_flow / clean.energy[good, 1:], axis=0)
    np.testing.assert_allclose(late.ratio, ratio, rtol=1e-5)


def test_growth_of_a_path_that_stays_off_the_data():
    """x stands still beside the one row: ||v*|| is ||X − x||/(1 − t), exactly."""
    late = np.float32([0.5, 0.8, 0.9, 0.99, 0.999])
    run = sample(STILL, X0, save_at=late)

    def constant(t, x, cond=None):
        return jnp.ones_like(x)

    found = late_energy(EmpiricalField(ROWS[:1]), constant, run)
    np.testing.assert_array_equal(found.ts, late[1:])
    assert found.empirical_growth == pytest.approx(1, abs=1e-3)
    assert found.learned_growth == pytest.approx(0, abs=1e-6)
    distance2 = np.sum((np.float64(X0) - ROWS[:1]) ** 2, axis=1)
    left = 1 - np.asarray(found.ts, float)
    np.testing.assert_allclose(found.empirical, distance2[:, None] / (2 * left**2), rtol=1e-4)
    np.testing.assert_allclose(found.learned, 2.5, rtol=1e-6)
    np.testing.assert_allclose(found.ratio, np.median(distance2) / (5 * left**2), rtol=1e-4)


def test_growth_along_the_flows_own_path():
    """Once one row decides, the flow's own path is straight, at a constant speed."""
    run = sample(EmpiricalField(ROWS[:1]), X0, save_at=LATE)
    found = late_energy(EmpiricalField(ROWS[:1]), EmpiricalField(ROWS[:1]), run)
    assert found.empirical_growth == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(found.ratio, 1, rtol=1e-6)


def test_the_exact_flow_against_one_that_generalises():
    found = late_energy(atoms(), smooth(), sample(smooth(), X0, save_at=LATE))
    assert found.empirical_growth > 0.7
    assert abs(found.learned_growth) < 0.3
    assert np.all(np.diff(found.ratio) > 0)


BAD = {
    "nothing saved": (
        lambda: {"trajectories": sample(STILL, X0)},
        "must hold a path: sample with save_at=True or times",
    ),
    "no trajectories": (
        lambda: {"trajectories": jax.device_put(X0)},
        "trajectories must be Trajectories, got ArrayImpl",
    ),
    "another field": (
        lambda: {"field": smooth()}, "field must be EmpiricalField, got GaussianField",
    ),
    "other events": (
        lambda: {"field": EmpiricalField(ROWS[:, :2])},
        r"must have the data's shape, \(2,\), got events \(5,\)",
    ),
    "another batch": (
        lambda: {"cond": np.zeros(3, np.int32)},
        "cond must have as many rows as the samples, 40, got 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("function", [density_profile, late_energy])
@pytest.mark.usefixtures("own_messages")
def test_errors(function, change, message):
    arguments = {"field": atoms(), "trajectories": still()} | change()
    if function is late_energy:
        arguments["learned"] = smooth()
    with pytest.raises(ValueError, match=message):
        function(**arguments)


@pytest.mark.usefixtures("own_messages")
def test_too_little_to_go_by():
    with pytest.raises(ValueError, match=r"trajectories.ts must hold two times in \[0.9, 1\)"):
        late_energy(atoms(), smooth(), still(), start=0.9)
    with pytest.raises(ValueError, match=r"start must lie in \[0, 1\), got 1.5"):
        late_energy(atoms(), smooth(), still(), start=1.5)
    bad = sample(STILL, np.full((40, 5), np.nan, np.float32), save_at=LATE)
    with pytest.raises(ValueError, match="trajectories must hold three valid samples, got 0"):
        density_profile(atoms(), bad)
    with pytest.raises(ValueError, match="trajectories must hold valid samples, got none"):
        late_energy(atoms(), smooth(), bad)
