"""`tune` on constant velocities, where a gain g moves every sample by g, and E = g²/2."""

import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, chain, gain, identity, kts, plotting
from kinetic_jax.metrics import paired_difference
from kinetic_jax.sampling import noise, sample
from kinetic_jax.tuning import (
    Setting,
    copies_of,
    frechet_to,
    kernel_to,
    kts_settings,
    profile_grids,
    tune,
)
from kinetic_jax.tuning._result import expected_again

KEY = jax.random.key(0)
COMMON = {"shape": (1,), "num_steps": 2, "num_samples": 400, "key": KEY, "progress": False}
STRENGTHS = (0.5, 0.7, 0.8, 0.9, 1.2)


def constant(t, x, cond=None):
    return jnp.ones_like(x)


class Times(eqx.Module):
    """The same gain at every time: its number is a leaf, so that one program serves them all."""

    strength: jax.Array

    def __call__(self, t):
        return self.strength.astype(t.dtype) + 0 * t


def constant_gains(*strengths):
    return [Setting(f"times {g:g}", gain(Times(jnp.float32(g)))) for g in strengths]


def energies(drawn):
    return drawn.run.energy.total


def off_target(rows):
    """(mean − 1)², 0 without a gain but for the noise: (g − 1)² with gain g."""
    return float((rows.mean() - 1) ** 2)


def tuned(settings, **changes):
    given = {"objective": energies, "distance": off_target, "bound": 0.08} | COMMON | changes
    return tune(constant, settings, **given)


def test_least_energy_within_the_bound():
    """(g − 1)² ≤ 0.08 holds for 0.8 and 0.9; of these 0.8 has the less energy, 0.32."""
    result = tuned(constant_gains(*STRENGTHS), num_samples=2000)
    assert result.setting.name == result.promised.setting.name == "times 0.8"
    assert not result.is_no_gain
    assert result.is_as_promised
    of_energy = [one.objective for one in result.results]
    np.testing.assert_allclose(of_energy, [g**2 / 2 for g in (1.0, *STRENGTHS)], rtol=1e-5)
    changes = [one.distance_change.value for one in result.results]
    mean = np.asarray(noise(KEY, np.arange(2000), (1,)), np.float64).mean()
    wanted = [(mean + g - 1) ** 2 - mean**2 for g in (1.0, *STRENGTHS)]
    np.testing.assert_allclose(changes, wanted, atol=1e-6)
    assert [one.num_evals for one in result.results] == [2.0] * 6


def test_intervals_allow_for_the_number_of_settings():
    """Two axes of five settings: each at 1 − 0.05/10; of the distance by the delta method."""
    result = tuned(constant_gains(*STRENGTHS), num_samples=2000, resamples=1000)
    starts = np.asarray(noise(KEY, np.arange(2000), (1,)), np.float64)
    for g, one in zip(STRENGTHS, result.results[1:], strict=True):
        change = one.distance_change
        # (m + g − 1)² − m² = (g − 1)² + 2 (g − 1) m, of a mean m with the error σ/√n.
        error = abs(2 * (g - 1)) * starts.std() / math.sqrt(2000)
        half = 2.8070337683 * error  # the normal quantile at 1 − 0.05/20
        np.testing.assert_allclose(change.high - change.value, half, rtol=0.15)
        np.testing.assert_allclose(change.value - change.low, half, rtol=0.15)


def test_confirmed_on_the_next_noise():
    result = tuned(constant_gains(0.8), num_samples=400, bound=0.2)
    starts = np.asarray(noise(KEY, np.arange(400, 800), (1,)), np.float64)
    wanted = (starts.mean() - 0.2) ** 2 - starts.mean() ** 2
    np.testing.assert_allclose(result.confirmed.distance_change.value, wanted, atol=1e-6)


@pytest.mark.long
def test_the_same_key_gives_the_same_answer():
    """Also in batches: samples and their scores do not depend on them."""
    one = tuned(constant_gains(0.8, 0.9), bound=0.2).as_json()
    again = tuned(constant_gains(0.8, 0.9), bound=0.2).as_json()
    in_parts = tuned(constant_gains(0.8, 0.9), bound=0.2, batch_size=150).as_json()
    assert one == again == in_parts
    other = tuned(constant_gains(0.8, 0.9), bound=0.2, key=jax.random.key(1)).as_json()
    assert other["results"] != one["results"]


@pytest.mark.long
def test_fresh_noise_is_within_the_promise():
    """At most 4 of 24 keys fall outside, where about one is expected at 95%."""

    def is_far(drawn):
        return jnp.abs(drawn.run.x1[:, 0]) > 1

    settings, outside = constant_gains(0.7), 0
    for seed in range(24):
        changes = {"objective": is_far, "bound": 0.5, "key": jax.random.key(seed)}
        result = tuned(settings, **changes, resamples=20)
        assert result.promised is not None
        outside += not result.is_as_promised
    assert outside <= 4


def test_expected_again():
    """The difference of two means of n has √2 times the error of one."""
    values = np.random.default_rng(0).normal(1.0, 1.0, 500)
    promise = paired_difference(values, np.zeros(500))
    low, high = expected_again(promise)
    np.testing.assert_allclose(high - promise.value, 2**0.5 * (promise.high - promise.value))
    np.testing.assert_allclose(promise.value - low, 2**0.5 * (promise.value - promise.low))


def test_no_gain_where_none_is_within_the_bound():
    result = tuned(constant_gains(0.5), bound=0.1)
    assert result.is_no_gain
    assert result.setting.transform(constant) is constant
    assert result.confirmed is result.promised is result.is_as_promised is None
    assert result.reason == "no setting has clearly lower scores within the bound"
    # In the picture of both axes neither beats the other.
    assert result.front == ("no gain", "times 0.5")


def test_no_gain_where_none_has_lower_scores():
    """A gain above 1 has more energy, and is farther off: worse in both axes."""
    result = tuned(constant_gains(1.1, 1.3), bound=1.0)
    assert result.is_no_gain
    assert result.front == ("no gain",)


class Lucky:
    """Low scores under a gain on the noise of the search; high ones on fresh noise."""

    def __init__(self, fresh):
        self.fresh, self.calls = fresh, 0

    def __call__(self, drawn):
        self.calls += 1
        with_gain = self.calls in (2, 4)
        score = -1.0 if self.calls == 2 else self.fresh if with_gain else 0.0
        return np.full(len(drawn.run.status), score)


def test_worse_in_both_axes_on_fresh_noise_is_never_the_answer():
    result = tuned(constant_gains(0.8), objective=Lucky(1.0), bound=0.2)
    assert result.promised.objective_change.value == -1
    assert result.confirmed.objective_change.value == 1
    assert result.confirmed.distance_change.value > 0
    assert result.is_no_gain
    assert result.is_as_promised is False
    assert result.reason == "on fresh noise times 0.8 has no clearly lower scores"


def test_beyond_the_bound_on_fresh_noise_is_not_the_answer():
    calls = []

    def distance(rows):
        calls.append(len(rows))  # of no gain and one setting, 10 resamples and one more each
        return 1.0 if len(calls) > 3 * 11 else 0.0

    result = tuned(constant_gains(0.8), distance=distance, bound=0.2, resamples=10)
    assert result.promised.distance_change.value == 0
    assert result.is_no_gain
    assert result.reason == "on fresh noise times 0.8 is beyond the bound"


def test_more_failures_on_fresh_noise_are_not_the_answer():
    calls = []  # the fourth is of the gain, on fresh noise

    def score(drawn):
        calls.append(drawn)
        scores = np.array(drawn.run.energy.total)
        scores[: 3 * (len(calls) == 4)] = np.nan
        return scores

    result = tuned(constant_gains(0.8), objective=score, bound=0.5)
    assert result.is_no_gain
    assert result.confirmed.num_failed == 3
    assert result.reason == "on fresh noise times 0.8 fails for more samples"


def test_a_setting_that_fails_more_is_no_candidate():
    class Broken:
        def __call__(self, field):
            return lambda t, x, cond=None: jnp.where(x > 2, jnp.nan, 0.5 * field(t, x, cond))

    result = tuned([Setting("broken", Broken())], bound=1.0)
    starts = np.asarray(noise(KEY, np.arange(400), (1,)))
    # A path moves by at most 1/4 before the last step.
    least, most = np.sum(starts > 2), np.sum(starts > 1.75)
    assert least <= result.results[1].num_failed <= most
    assert result.is_no_gain


def test_conditions():
    """One row for all, or a row for each sample, also of the fresh noise."""

    def field(t, x, cond):
        return cond * jnp.ones_like(x)

    given = {"objective": energies, "distance": off_target, "bound": 0.5} | COMMON
    cond = np.linspace(0.5, 1.5, 400, dtype=np.float32)
    result = tune(field, constant_gains(0.8), cond=cond, batch_size=150, **given)
    np.testing.assert_allclose(
        [one.objective for one in result.results], np.mean(cond**2) / 2 * np.array([1, 0.64]), 1e-5
    )
    one_row = tune(field, constant_gains(0.8), cond=np.ones(1, np.float32), **given)
    np.testing.assert_allclose(one_row.confirmed.objective, 0.32, rtol=1e-5)


def test_time_grids_are_tuned_by_the_same_function():
    """v = 8 e^{8t}: Euler's error from the closed form e^8 − 1, less on a grid of its profile."""

    def late(t, x, cond=None):
        return 8 * jnp.exp(8 * t) * jnp.ones_like(x)

    pilot = sample(late, jnp.zeros((4, 1)), num_steps=200)
    settings = profile_grids(pilot, 20, floors=[0.05, 1.0])

    def error(drawn):
        """The error of the path's length, which does not depend on where the path began."""
        return jnp.abs(drawn.run.energy.length - np.float32(np.expm1(8)))

    options = COMMON | {"num_steps": 20}
    result = tune(late, settings, objective=error, distance=lambda rows: 0.0, bound=0.0, **options)
    assert result.setting.name == "profile grid, floor 0.05"
    for one in result.results:
        grid = np.asarray(one.setting.options.get("grid", np.arange(21) / 20), np.float64)
        wanted = np.expm1(8) - np.sum(np.diff(grid) * 8 * np.exp(8 * grid[:-1]))
        np.testing.assert_allclose(one.objective, wanted, rtol=1e-3)
    written = result.as_json()["setting"]
    np.testing.assert_allclose(written["options"]["grid"], result.setting.options["grid"])


@pytest.mark.long
def test_every_gain_leaves_all_copies_of_two_rows():
    """The exact flow of two rows copies under every gain, once completed: no gain is the answer."""
    rows = jnp.array([[2.0, 0.0], [-2.0, 0.0]])
    settings = kts_settings([0.0, 0.1], [0.02, 0.05])
    result = tune(
        EmpiricalField(rows),
        settings,
        objective=copies_of(rows),
        distance=kernel_to(rows),
        bound=1e9,
        key=KEY,
        num_samples=40,
        num_steps=20,
        resamples=10,
    )
    assert [one.objective for one in result.results] == [1.0] * 5
    assert result.is_no_gain


def test_result_as_json():
    """All of it, in numbers that a file can hold."""
    result = tuned(constant_gains(0.8), bound=0.2)
    read = json.loads(json.dumps(result.as_json()))
    assert read == result.as_json()
    assert set(read) == {*result._fields, "is_no_gain", "is_as_promised"}
    np.testing.assert_allclose(read["setting"]["gain"], [0.8] * 11, rtol=1e-6)
    assert read["results"][0]["setting"]["name"] == "no gain"
    change = result.confirmed.objective_change
    assert read["confirmed"]["objective_change"] == change._asdict()


REVERSED = kts(0.0, 0.06, allow_reversal=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": []}, "settings must be a list of Setting, at least one"),
        ({"settings": [1]}, "settings must hold Setting only, got 1"),
        (
            {"settings": [Setting("no gain")]},
            "names of their own, without 'no gain', got 'no gain'",
        ),
        ({"settings": [Setting("a"), Setting("a")]}, "settings must have names of their own"),
        (
            {"settings": [Setting("a", options={"x0": 1})]},
            r"settings \(a\) must have options out of",
        ),
        ({"settings": [Setting("a", REVERSED)]}, r"settings \(a\) must not reverse the flow"),
        (
            {"settings": [Setting("a", chain(identity(), REVERSED, kts(0.1)))]},
            r"settings \(a\) must not reverse the flow: gain must stay finite and above 0",
        ),
        ({"bound": -0.1}, "bound must be at least 0, got -0.1"),
        ({"num_samples": 1}, "num_samples must be a whole number >= 2, got 1"),
        ({"shape": None}, "shape must be given for a field that declares no event_shape"),
        ({"cond": np.ones(3)}, "cond must have as many rows as num_samples, 400"),
        ({"confidence": 1.0}, r"confidence must lie in \(0, 1\)"),
        ({"num_steps": 0}, "num_steps must be a whole number >= 1"),
        (
            {"objective": lambda drawn: jnp.zeros(3)},
            r"objective must return a score for each of 400",
        ),
        ({"objective": lambda drawn: np.full(400, np.inf)}, "objective must be finite, or NaN"),
        ({"objective": lambda drawn: np.full(400, np.nan)}, "objective must score some sample"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes, message, own_messages):
    given = {"settings": constant_gains(0.9)} | changes
    with pytest.raises(ValueError, match=message):
        tuned(**given)


def test_settings_of_kts_that_reverse_are_refused():
    with pytest.raises(ValueError, match="alpha0, beta0 must keep the gain above 0"):
        kts_settings(beta0=[0.06])


def test_distances_need_rows(own_messages):
    with pytest.raises(ValueError, match="held_out must be an array, or come with an embed"):
        frechet_to({"a": np.ones((3, 2))})
    by_part = frechet_to({"a": np.eye(3)}, embed=lambda rows: rows["a"])
    assert by_part(np.eye(3)) == pytest.approx(0.0, abs=1e-12)


def test_picture_of_a_tuning():
    """No gain, each setting by its change, and the answer once more on fresh noise."""
    result = tuned(constant_gains(0.8, 0.9), bound=0.2)
    axes = plotting.tuning_front(result, ylabel="energy").axes[0]
    lines = {one.get_label(): one.lines[0] for one in axes.containers}
    for label, one in (
        ("times 0.9", result.results[2]),
        ("times 0.8, fresh noise", result.confirmed),
    ):
        point = [one.distance_change.value, one.objective]
        np.testing.assert_allclose(lines[label].get_xydata(), [[0.0, 0.5], point], atol=1e-6)
    np.testing.assert_allclose(lines["no gain"].get_xydata(), [[0.0, 0.5]], atol=1e-6)
    assert axes.get_ylabel() == "energy"
    shares = plotting.tuning_front(result).axes[0].containers[-1].lines[0]
    np.testing.assert_allclose(shares.get_xydata(), [[0.0, 50.0]], atol=1e-4)
