"""Settings on the same noise, compared where the answers are known."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kinetic_jax.metrics import paired_difference
from kinetic_jax.metrics._comparison import beaten_by, resampled

N = 2_000


def flags(share, *, seed=None):
    """Exact shares, nested; or independent draws."""
    ranks = np.arange(N) / N if seed is None else np.random.default_rng(seed).uniform(size=N)
    return (ranks < share).astype(float)


def pairs(less, more, same):
    """Flags under a setting and a baseline, with so many differences of −1, 1 and 0."""
    values = np.array([0.0] * less + [1.0] * more + [1.0] * same)
    return values, np.array([1.0] * less + [0.0] * more + [1.0] * same)


class TestPairedDifference:
    def test_many_pairs_have_nearly_walds_interval(self):
        change = paired_difference(*pairs(60, 20, 920))
        half = 1.96 * np.std([-1.0] * 60 + [1.0] * 20 + [0.0] * 920) / np.sqrt(1000)
        assert change.value == pytest.approx(-0.04)
        assert change.low == pytest.approx(-0.04 - half, abs=1e-3)
        assert change.high == pytest.approx(-0.04 + half, abs=1e-3)

    def test_few_pairs_show_nothing(self):
        assert paired_difference(*pairs(4, 0, 996)).high > 0  # p = 0.125 by McNemar
        none = paired_difference(*pairs(0, 0, 100))
        assert none.low < 0 < none.high

    def test_failed_samples_leave_their_pairs_out(self):
        change = paired_difference(np.array([1, np.nan, 0, 1]), np.array([0, 1, np.nan, 1]))
        assert (change.value, change.number) == (0.5, 2)
        nothing = paired_difference(np.array([np.nan]), np.ones(1))
        assert np.isnan(nothing[:3]).all()
        assert nothing.number == 0

    def test_other_numbers_are_resampled(self):
        draws = np.random.default_rng(0)
        values, baseline = draws.normal(1.0, 1.0, 400), draws.normal(0.0, 1.0, 400)
        change = paired_difference(values, baseline)
        half = 1.96 * (values - baseline).std() / 20
        assert change.low == pytest.approx(change.value - half, abs=0.01)
        assert change.high == pytest.approx(change.value + half, abs=0.01)
        same = paired_difference(values, values, interval="bootstrap")
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)

    @pytest.mark.parametrize("interval", ["share", "bootstrap"])
    def test_intervals_cover(self, interval):
        draws, inside = np.random.default_rng(1), 0
        for _ in range(100):
            before = draws.random(100) < 0.4
            after = before & (draws.random(100) < 0.75)
            change = paired_difference(after, before, interval=interval, resamples=300)
            inside += change.low <= -0.1 <= change.high
        assert inside >= 88


class TestResampled:
    def test_the_same_noise_is_drawn_for_every_setting(self):
        rows = np.random.default_rng(0).normal(size=(50, 2))
        is_valid = np.arange(50) % 7 > 0
        everything = resampled(np.mean, rows, resamples=5)
        valid = resampled(np.mean, rows[is_valid], is_valid=is_valid, resamples=5)
        draws = np.random.default_rng(0)
        for whole, part in zip(everything, valid, strict=True):
            drawn = draws.integers(50, size=50)
            assert whole == rows[drawn].mean()
            assert part == rows[drawn[is_valid[drawn]]].mean()

    def test_spread_of_a_mean(self):
        rows = np.random.default_rng(0).normal(size=400)
        assert resampled(np.mean, rows).std() == pytest.approx(rows.std() / 20, rel=0.15)


class TestBeatenBy:
    def test_groups_are_compared_with_each_other(self):
        shares, distances = [0.3, 0.1, 0.2, 0.2, 0.4, 0.15], [1.0, 2.0, 0.9, 1.1, 1.0, 2.5]
        beaten = beaten_by(
            np.array([flags(share) for share in shares]),
            np.array(distances),
            groups=["ours", "ours", *["control"] * 4],
            confidence=0.95,
        )
        # The third has fewer copies than the first and is nearer; the fourth is farther off.
        assert beaten == [[2], [], [], [], [0], [1]]

    def test_many_settings_are_no_luck(self):
        """Twelve settings and four that are truly alike: none beats another, in 95% of tries."""
        groups, lucky = ["ours"] * 12 + ["control"] * 4, 0
        for trial in range(20):
            copied = np.array([flags(0.3, seed=trial * 100 + at) for at in range(16)])
            lucky += any(beaten_by(copied, np.ones(16), groups=groups, confidence=0.95))
        assert lucky <= 4  # of 20 at 5%: more than 4 once in 390

    def test_failed_samples_are_left_out(self):
        ours, control = flags(0.3), flags(0.2)
        ours[:600] = np.nan  # of the rest neither copies
        assert beaten_by(np.array([ours, control]), np.ones(2), confidence=0.95) == [[], []]

    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
    def test_front_is_what_none_beats(self, points):
        beaten = beaten_by(*np.array(points, float).T)
        assert not all(beaten), "one is always on the front"
        for (share, distance), by in zip(points, beaten, strict=True):
            assert by == [
                at for at, (a, b) in enumerate(points)
                if a <= share and b <= distance and (a < share or b < distance)
            ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference(np.zeros(3), np.zeros(2)), r"baseline must have the values'"),
        (lambda: paired_difference(np.array([np.inf]), np.zeros(1)), "values must be finite or"),
        (lambda: paired_difference(np.array([0.5]), np.zeros(1), interval="share"), "be 0 or 1"),
        (lambda: paired_difference(np.zeros(1), np.zeros(1), interval="wald"), "interval must"),
        (lambda: resampled(np.mean, np.zeros(3), is_valid=np.ones(2)), "is_valid must mark the 3"),
        (lambda: beaten_by(np.zeros((2, 3)), np.zeros(2)), r"copied must have shape \(settings,\)"),
        (lambda: beaten_by(np.zeros(2), np.zeros(3)), r"distance must have shape \(2,\)"),
        (lambda: beaten_by(np.zeros(2), np.zeros(2), groups=["a"]), "groups must be 2, got 1"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
