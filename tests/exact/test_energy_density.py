"""Energy against density along saved paths: what NumPy says, and cases with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from kinetic_jax import EmpiricalField, GaussianField, noise, sample
from kinetic_jax.exact import density_profile, energy_identity, late_energy

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
X0 = noise(KEY, jnp.arange(40), (5,))
TIMES = jnp.array([0.2, 0.5, 0.8, 0.95])


def STILL(t, x, cond=None):
    return jnp.zeros_like(x)


SMOOTH = GaussianField(jnp.ones(5), 0.7)


def by_hand(t, x):
    """½||v*||² and −log p_t in float64."""
    x, rows, left = np.float64(x), np.float64(ROWS), 1 - float(t)
    logits = -np.sum((x[:, None] - t * rows) ** 2, axis=2) / (2 * left**2)
    weights = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    energy = np.sum(((weights @ rows - x) / left) ** 2, axis=1) / 2
    volume = x.shape[1] * (np.log(left) + np.log(2 * np.pi) / 2)
    return energy, -(logsumexp(logits, axis=1) - np.log(len(rows)) - volume)


def test_against_numpy():
    run = sample(SMOOTH, X0, save_at=TIMES)
    found = density_profile(EmpiricalField(ROWS, chunk_size=7), run)
    for i, t in enumerate(np.float64(np.float32(TIMES))):
        energy, surprise = by_hand(t, run.path[:, i])
        np.testing.assert_allclose(found.energy[:, i], energy, rtol=1e-3)
        np.testing.assert_allclose(found.neg_log_density[:, i], surprise, rtol=1e-4, atol=1e-3)
        assert found.explained[i] == pytest.approx(
            1 - np.var(energy - surprise) / np.var(energy), abs=1e-3
        )
        assert found.correlation[i] == pytest.approx(np.corrcoef(energy, surprise)[0, 1], abs=1e-3)
    assert np.all(np.abs(found.gap) <= found.bound)
    one = energy_identity(EmpiricalField(ROWS), TIMES[2], run.path[7, 2])
    np.testing.assert_allclose(found.dominance[7, 2], one.dominance, rtol=1e-3)
    np.testing.assert_array_equal(found.ts, TIMES)


def test_density_explains_all_where_nothing_else_varies():
    """One row at the origin: x_k·r_k is 0, and ½||v||² is −log p_t plus a constant of t."""
    run = sample(STILL, X0, save_at=TIMES)
    found = density_profile(EmpiricalField(jnp.zeros((1, 5))), run)
    np.testing.assert_allclose(found.explained, 1, atol=1e-5)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-5)
    np.testing.assert_array_equal(found.dominance, 0)
    np.testing.assert_array_equal(found.bound, 0)


def test_another_fields_energy():
    """A speed of its own, unrelated to density: what −log p_t explains is not there."""
    run = sample(STILL, X0, save_at=TIMES)

    def along(t, x, cond=None):
        return x * jnp.arange(1.0, 6.0)

    found = density_profile(EmpiricalField(ROWS), run, velocity=along)
    wanted = np.sum((np.asarray(X0, float) * np.arange(1, 6)) ** 2, axis=1) / 2
    for i, t in enumerate(np.float64(np.float32(TIMES))):
        np.testing.assert_allclose(found.energy[:, i], wanted, rtol=1e-5)
        surprise = by_hand(t, X0)[1]
        explained = 1 - np.var(wanted - surprise) / np.var(wanted)
        assert found.explained[i] == pytest.approx(explained, rel=1e-3)


def test_a_function_is_read_anew():
    """The closure of a plain function is an argument of the program, as in `sample`."""
    held = {"scale": jnp.float32(1.0)}

    def scaled(t, x, cond=None):
        return held["scale"] * x

    run = sample(STILL, X0, save_at=TIMES)
    once = density_profile(EmpiricalField(ROWS), run, velocity=scaled).energy
    held["scale"] = jnp.float32(2.0)
    twice = density_profile(EmpiricalField(ROWS), run, velocity=scaled).energy
    np.testing.assert_allclose(twice, 4 * once, rtol=1e-6)


def test_classes_reach_the_field_that_has_them():
    labels = np.arange(30) % 3
    cond = jnp.arange(40, dtype=jnp.int32) % 3
    run = sample(STILL, X0, save_at=TIMES)
    whole = density_profile(EmpiricalField(ROWS, labels=labels), run, cond)
    for k in range(3):
        mine = np.asarray(cond) == k
        path = sample(STILL, X0[mine], save_at=TIMES)
        one = density_profile(EmpiricalField(ROWS[labels == k]), path)
        np.testing.assert_allclose(whole.energy[mine], one.energy, rtol=1e-4)
    one_row = density_profile(EmpiricalField(ROWS, labels=labels), run, jnp.array([1]))
    same = density_profile(EmpiricalField(ROWS, labels=labels), run, jnp.full(40, 1))
    np.testing.assert_array_equal(one_row.gap, same.gap)  # one row is every sample's

    def by_class(t, x, cond):
        return x * (1 + cond.astype(x.dtype))

    found = density_profile(EmpiricalField(ROWS), run, cond, velocity=by_class)
    wanted = np.sum((np.asarray(X0) * (1 + np.asarray(cond))[:, None]) ** 2, axis=1) / 2
    np.testing.assert_allclose(found.energy[:, 0], wanted, rtol=1e-5)


def test_bad_samples_and_the_end_count_nowhere():
    run = sample(EmpiricalField(ROWS), X0.at[3].set(jnp.nan), save_at=True)
    found = density_profile(EmpiricalField(ROWS), run)
    assert np.all(np.isnan(found.energy[3]))
    good = np.delete(np.arange(40), 3)
    assert np.all(np.isfinite(found.energy[good, :-1]))
    assert np.all(np.isnan(found.neg_log_density[:, -1]))
    assert np.isnan(found.explained[-1])
    alone = density_profile(
        EmpiricalField(ROWS), sample(EmpiricalField(ROWS), X0[good], save_at=True)
    )
    np.testing.assert_allclose(found.explained, alone.explained, rtol=1e-3, atol=1e-3)


def test_a_field_that_fails_at_one_sample_spoils_no_other():
    run = sample(STILL, X0, save_at=jnp.array([0.85, 0.9, 0.95]))
    bad = float(X0[5, 0])

    def fails(t, x, cond=None):
        return jnp.where(x[0] == bad, jnp.nan, x)

    found = density_profile(EmpiricalField(ROWS), run, velocity=fails)
    late = late_energy(EmpiricalField(ROWS), fails, run)
    assert (found.invalid, late.invalid) == (1, 1)
    assert np.isnan(found.energy[5]).all()
    assert np.isnan(late.learned[5]).all()
    rest = sample(STILL, jnp.delete(X0, 5, axis=0), save_at=jnp.array([0.85, 0.9, 0.95]))
    np.testing.assert_allclose(
        found.explained, density_profile(EmpiricalField(ROWS), rest, velocity=fails).explained,
        rtol=1e-5,
    )  # fmt: skip
    np.testing.assert_allclose(
        late.ratio, late_energy(EmpiricalField(ROWS), fails, rest).ratio, rtol=1e-5
    )


def test_growth_of_a_path_that_stays_off_the_data():
    """x stands still beside the one row: ||v*|| is ||X − x||/(1 − t), exactly."""
    late = jnp.array([0.5, 0.8, 0.9, 0.99, 0.999])
    run = sample(STILL, X0, save_at=late)

    def constant(t, x, cond=None):
        return jnp.ones_like(x)

    found = late_energy(EmpiricalField(ROWS[:1]), constant, run)
    np.testing.assert_array_equal(found.ts, late[1:])
    assert found.empirical_growth == pytest.approx(1, abs=1e-3)
    assert found.learned_growth == pytest.approx(0, abs=1e-6)
    distance2 = np.sum((np.asarray(X0, float) - ROWS[:1]) ** 2, axis=1)
    left = 1 - np.asarray(found.ts, float)
    np.testing.assert_allclose(found.empirical, distance2[:, None] / (2 * left**2), rtol=1e-4)
    np.testing.assert_allclose(found.learned, 2.5, rtol=1e-6)
    np.testing.assert_allclose(found.ratio, np.median(distance2) / (5 * left**2), rtol=1e-4)


def test_growth_along_the_flows_own_path():
    """Once one row decides, the flow's own path is straight, at a constant speed."""
    run = sample(EmpiricalField(ROWS[:1]), X0, save_at=jnp.array([0.8, 0.9, 0.95, 0.99]))
    found = late_energy(EmpiricalField(ROWS[:1]), EmpiricalField(ROWS[:1]), run)
    assert found.empirical_growth == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(found.ratio, 1, rtol=1e-6)


def test_the_exact_flow_against_one_that_generalises():
    run = sample(SMOOTH, X0, save_at=jnp.array([0.8, 0.9, 0.95, 0.99]))
    found = late_energy(EmpiricalField(ROWS), SMOOTH, run)
    assert found.empirical_growth > 0.7
    assert abs(found.learned_growth) < 0.3
    assert np.all(np.diff(found.ratio) > 0)


SAVED = sample(STILL, X0, save_at=TIMES)
BAD = {
    "nothing saved": (
        {"trajectories": sample(STILL, X0)}, "must hold a path: sample with save_at=True or times",
    ),
    "no trajectories": ({"trajectories": X0}, "trajectories must be Trajectories, got ArrayImpl"),
    "another field": ({"field": SMOOTH}, "field must be EmpiricalField, got GaussianField"),
    "other events": (
        {"field": EmpiricalField(ROWS[:, :2])}, r"must have the data's, \(2,\), got events \(5,\)",
    ),
    "another batch": (
        {"cond": jnp.zeros(3, jnp.int32)}, "cond must have as many rows as the samples, 40, got 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("function", [density_profile, late_energy])
@pytest.mark.usefixtures("own_messages")
def test_errors(function, change, message):
    arguments = {"field": EmpiricalField(ROWS), "trajectories": SAVED} | change
    if function is late_energy:
        arguments["learned"] = SMOOTH
    with pytest.raises(ValueError, match=message):
        function(**arguments)


@pytest.mark.usefixtures("own_messages")
def test_too_little_to_go_by():
    field = EmpiricalField(ROWS)
    with pytest.raises(ValueError, match=r"trajectories.ts must hold two times in \[0.9, 1\)"):
        late_energy(field, SMOOTH, SAVED, start=0.9)
    with pytest.raises(ValueError, match=r"start must lie in \[0, 1\), got 1.5"):
        late_energy(field, SMOOTH, SAVED, start=1.5)
    bad = sample(STILL, jnp.full((4, 5), jnp.nan), save_at=TIMES)
    with pytest.raises(ValueError, match="trajectories must hold three valid samples, got 0"):
        density_profile(field, bad)
    with pytest.raises(ValueError, match="trajectories must hold valid samples, got none"):
        late_energy(field, SMOOTH, bad)
