"""The demo's parts, each against an answer known beforehand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import sample
from kinetic_jax.demo._digits import Classifier, split_digits
from kinetic_jax.demo._rows import DemoSettings, plan_rows, sample_row
from kinetic_jax.demo._statistics import Judge, by_fifth, compare, measure

DIGITS = split_digits(100, seed=0)


@pytest.fixture(scope="module")
def judge():
    return Judge(DIGITS, seed=0)


class TestSplit:
    def test_parts_are_disjoint_and_complete(self):
        rows = np.concatenate([part.images for part in DIGITS]).reshape(1797, -1)
        again = np.concatenate([part.images for part in split_digits(100, seed=1)])
        everything = again.reshape(1797, -1)
        assert [len(part.labels) for part in DIGITS] == [100, 900, 797]

        def sort(a):
            return a[np.lexsort(a.T)]

        np.testing.assert_array_equal(sort(rows), sort(everything))
        assert rows.min() == -1
        assert rows.max() == 1

    def test_seed_decides(self):
        np.testing.assert_array_equal(split_digits(100, 0).train.images, DIGITS.train.images)
        assert np.any(split_digits(100, 1).train.images != DIGITS.train.images)

    def test_size_out_of_range(self):
        with pytest.raises(ValueError, match=r"num_train must lie in \[2, 597\], got 600"):
            split_digits(600, 0)


class TestClassifier:
    def test_features_carry_the_decision(self):
        classifier = Classifier(DIGITS.metric, seed=0)
        model = classifier._model
        logits = classifier.features(DIGITS.held_out.images) @ model.coefs_[-1]
        logits = logits + model.intercepts_[-1]
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely = likely / likely.sum(axis=1, keepdims=True)
        confidence = classifier.confidence(DIGITS.held_out.images)
        np.testing.assert_allclose(likely.max(axis=1), confidence, rtol=1e-6)
        right = np.mean(likely.argmax(axis=1) == DIGITS.held_out.labels)
        assert classifier.accuracy(DIGITS.held_out) == pytest.approx(right)
        assert right > 0.9


class TestRows:
    settings = DemoSettings(num_steps=40, alpha0=0.08, beta0=0.03)

    def test_constant_gain_has_the_same_integral(self):
        plans = {plan.name: plan for plan in plan_rows(self.settings)}
        t = np.arange(40) / 40
        eta = np.where(
            t < 0.6 - 1e-9,
            1 + 0.08 * (1 - t / 0.6),
            1 - 0.03 * np.expm1(3 * (t - 0.6) / 0.4),
        )
        np.testing.assert_allclose(plans["KTS"].gain, eta, atol=1e-6)
        np.testing.assert_allclose(plans["constant gain"].gain, eta.mean(), atol=1e-6)

    def test_each_row_moves_at_its_gain(self):
        def drift(t, x, cond=None):
            return jnp.ones_like(x)

        for plan in plan_rows(self.settings):
            run = sample_row(plan, drift, jnp.zeros((2, 4)), self.settings)
            steps = round(40 * plan.stop_at)
            np.testing.assert_allclose(run.x1, plan.gain[:steps].sum() / 40, rtol=1e-5)
            assert run.profile.ts.shape == (steps,)


def _trajectories(x1):
    """Paths that end at the given images, from noise of zeros."""
    return sample(lambda t, x, cond: cond, jnp.zeros_like(x1), x1, num_steps=4)


def _measured(name, images, judge, completed=None, plain=None):
    completed, plain = (images if x is None else x for x in (completed, plain))
    return measure(name, _trajectories(jnp.asarray(images)), completed, plain, judge)


class TestStatistics:
    @pytest.mark.long
    def test_completed_samples_show_the_copies_that_noise_hid(self, judge):
        train, held_out = DIGITS.train.images[:12], DIGITS.held_out.images[:12]
        draws = np.random.default_rng(0).normal(size=train.shape).astype(np.float32)
        plain = np.concatenate([train[:10], held_out[:10]])
        noisy = np.concatenate([train[:10] + draws[:10], held_out[:10]])
        ends = np.concatenate([train[:9], train[11:], held_out[:10]])  # one at another image
        old = _measured("no gain", plain, judge)
        row = compare(_measured("noise", noisy, judge, ends, plain), old, judge)
        floor = np.mean(judge.memorization(held_out[:10]).memorized)
        assert row.f_mem == pytest.approx(floor / 2)
        assert row.completed.f_mem == pytest.approx((1 + floor) / 2)
        assert row.completed.f_mem_change == 0
        copies = 10 + 10 * floor
        assert row.completed.kept_copies == pytest.approx((copies - 1) / copies)
        assert row.completed.frechet < row.frechet

    def test_copies_are_found_and_bad_samples_left_out(self, judge):
        images = np.concatenate([DIGITS.train.images[:6], DIGITS.held_out.images[:14]])
        images[3] = np.nan
        measured = _measured("planted", images, judge)
        row = compare(measured, measured, judge)
        assert (row.bad_samples, row.samples) == (1, 19)
        np.testing.assert_array_equal(measured.copies.memorized[:5], True)
        assert row.f_mem == pytest.approx(measured.copies.memorized.mean())
        energy = 0.5 * np.sum(images[measured.is_valid] ** 2, axis=(1, 2))
        assert row.energy.total == pytest.approx(energy.mean(), rel=1e-5)

    def test_fifths_go_from_low_to_high(self, judge):
        scale = np.linspace(0.2, 1.0, 20)[:, None, None]
        images = (DIGITS.held_out.images[:20] * scale).astype(np.float32)
        row = _measured("scaled", images, judge)
        fifths = by_fifth(row, "total", judge)
        energy = np.sort(0.5 * np.sum(images.astype(float) ** 2, axis=(1, 2))).reshape(5, 4)
        for fifth, members in zip(fifths, energy, strict=True):
            assert fifth.mean == pytest.approx(members.mean(), rel=1e-5)

    def test_change_is_paired_sample_by_sample(self, judge):
        before = np.concatenate([DIGITS.train.images[:10], DIGITS.held_out.images[:10]])
        after = before.copy()
        after[:4] = DIGITS.held_out.images[20:24]  # four copies fewer
        after[15] = np.nan  # a bad sample leaves its pair out
        old, new = (_measured("row", images, judge) for images in (before, after))
        change = compare(new, old, judge)
        expected = new.copies.memorized - np.delete(old.copies.memorized, 15).astype(float)
        assert change.f_mem_change == pytest.approx(expected.mean())
        low, high = change.f_mem_change_interval
        assert low < expected.mean() < high < 0
        same = compare(old, old, judge)
        assert same.f_mem_change_interval == same.frechet_change_interval == [0.0, 0.0]


def test_settings_are_all_numbers():
    # results.json holds them as they are
    assert all(isinstance(v, int | float) for v in dataclasses.asdict(DemoSettings()).values())
