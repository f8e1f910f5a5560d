"""The statistics on flows with closed forms, against NumPy in float64."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, GaussianField, kts, noise, sample
from kinetic_jax import copies as kc
from kinetic_jax.sampling import KineticProfile

D, KEY, T = 6, jax.random.key(4), 0.7
X1 = np.random.default_rng(1).normal(size=(4, D)).astype(np.float32)
DEVIATION = np.array([0.1, 0.3, 0.5, 1.0, 1.5, 2.0])
GAUSSIAN = GaussianField(np.zeros(D, np.float32), DEVIATION.astype(np.float32))
ATOM = np.array([1.0, -2.0, 0.0, 0.5, 3.0, -1.0])
ONE_ROW = EmpiricalField(ATOM.astype(np.float32)[None])
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


def draws_of(draws):
    """The noise of the draws, as the statistics make it."""
    keys = jax.random.split(jax.random.fold_in(KEY, np.uint32(2**32 - 1)), draws)
    return np.stack([np.asarray(jax.random.normal(key, (D,)), np.float64) for key in keys])


def renoised(draws, t=T):
    """Points of the paths, shape (draws, batch, D)."""
    return t * X1.astype(np.float64) + (1 - t) * draws_of(draws)[:, None]


def shrunk(x, t=T, deviation=DEVIATION):
    """E[x1 | x_t = x] of independent normal distributions."""
    return t * deviation**2 / (t**2 * deviation**2 + (1 - t) ** 2) * x


def square(x):
    return np.sum(x**2, axis=-1)


def test_snap():
    own = square(ATOM - X1.astype(np.float64))
    others = square(shrunk(renoised(5)) - X1).mean(axis=0)
    score = kc.snap(ONE_ROW, GAUSSIAN, X1, key=KEY, t=T, draws=5)
    np.testing.assert_allclose(score, np.log(others) - np.log(own), **CLOSE)


def test_snap_of_a_model_against_itself_is_zero():
    np.testing.assert_allclose(kc.snap(GAUSSIAN, GAUSSIAN, X1, key=KEY), 0, atol=1e-5)


def test_snap_of_a_copy_is_large_and_finite():
    copies = ATOM.astype(np.float32)[None]
    score = kc.snap(ONE_ROW, GAUSSIAN, copies, key=KEY)
    assert 10 < score[0] < 20


def test_gains_around_a_model_are_left_out():
    plain = kc.snap(ONE_ROW, GAUSSIAN, X1, key=KEY)
    shaped = kc.snap(kts(0.1, 0.05)(ONE_ROW), kts(0.2)(GAUSSIAN), X1, key=KEY)
    np.testing.assert_array_equal(shaped, plain)


def test_reconstruction():
    at = (0.5, 0.8)
    logs = [np.log(square(shrunk(renoised(3, t), t) - X1).mean(axis=0)) for t in at]
    score = kc.reconstruction(GAUSSIAN, X1, key=KEY, t=at, draws=3)
    np.testing.assert_allclose(score, -np.mean(logs, axis=0), **CLOSE)


def test_spread():
    guesses = shrunk(renoised(5))
    variance = square(guesses - guesses.mean(axis=0)).sum(axis=0) / 4
    score = kc.spread(GAUSSIAN, X1, key=KEY, t=T, draws=5)
    np.testing.assert_allclose(score, -np.log(variance), **CLOSE)


def test_spread_of_guesses_that_are_all_one_row():
    assert np.all(np.asarray(kc.spread(ONE_ROW, X1, key=KEY)) > 12)


def test_self_consistency():
    first = shrunk(renoised(3))
    second = shrunk(T * first + (1 - T) * draws_of(3)[:, None])
    moved = square(second - first).mean(axis=0)
    score = kc.self_consistency(GAUSSIAN, X1, key=KEY, t=T, draws=3)
    np.testing.assert_allclose(score, -np.log(moved), **CLOSE)


def test_flipd_is_the_definition_in_scores():
    """d + σ² (tr ∇s + ||s||²) in y = x/t, where the noise has σ = (1 − t)/t."""
    sigma2 = ((1 - T) / T) ** 2
    variance = DEVIATION**2 + sigma2
    x = X1.astype(np.float64)
    expected = D + sigma2 * (square(x / variance) - np.sum(1 / variance))
    score = kc.flipd(GAUSSIAN, X1, key=KEY, t=T)
    np.testing.assert_allclose(-np.asarray(score), expected, **CLOSE)


@pytest.mark.parametrize("dimension", [1, 3])
def test_flipd_counts_dimensions(dimension):
    thin = np.where(np.arange(D) < dimension, 1.0, 1e-3).astype(np.float32)
    field = GaussianField(np.zeros(D, np.float32), thin)
    score = kc.flipd(field, np.zeros((1, D), np.float32), key=KEY, t=0.98)
    np.testing.assert_allclose(score, -dimension, atol=0.02)


def test_curvature():
    expected = np.sum(1 / (T**2 * DEVIATION**2 + (1 - T) ** 2))
    score = kc.curvature(GAUSSIAN, X1, key=KEY, t=T)
    np.testing.assert_allclose(score, np.full(4, expected), rtol=1e-4)


def test_curvature_difference():
    wide = 2 * DEVIATION
    earlier = GaussianField(np.zeros(D, np.float32), wide.astype(np.float32))
    own, other = (np.sum(1 / (T**2 * s**2 + (1 - T) ** 2)) for s in (DEVIATION, wide))
    score = kc.curvature_difference(GAUSSIAN, earlier, X1, key=KEY, t=T)
    np.testing.assert_allclose(score, np.full(4, own - other), rtol=1e-4)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_p_laplace(p):
    """s = −x/V: div(||s||^(p − 2) s) = −V^(1 − p) ||x||^(p − 2) (d + p − 2)."""
    isotropic = GaussianField(np.zeros(D, np.float32), np.float32(0.5))
    variance = T**2 * 0.25 + (1 - T) ** 2
    size = np.sqrt(square(T * X1.astype(np.float64)))
    expected = variance ** (1 - p) * size ** (p - 2) * (D + p - 2)
    score = kc.p_laplace(isotropic, X1, key=KEY, t=T, p=p, probes=4000)
    np.testing.assert_allclose(score, expected, rtol=1e-4 if p == 2 else 0.03)


class TestGuidance:
    MATRICES = np.random.default_rng(2).normal(size=(2, D, D))
    COND = np.array([1, 0, 1, 1], np.int32)

    def field(self, t, x, cond):
        return jnp.asarray(self.MATRICES.astype(np.float32))[cond] @ x

    def both(self):
        x = X1.astype(np.float64)
        return (np.einsum("bij,bj->bi", self.MATRICES[c], x) for c in (self.COND, 0 * self.COND))

    def test_norm(self):
        given, none = self.both()
        score = kc.guidance_norm(self.field, X1, self.COND, null_cond=np.int32(0))
        np.testing.assert_allclose(score, np.sqrt(square(given - none)), **CLOSE)

    def test_cosine(self):
        given, none = self.both()
        guided = self.COND == 1
        guide, pull = (given - none)[guided], (0.9 * none - X1)[guided]
        expected = np.sum(guide * pull, axis=1) / np.sqrt(square(guide) * square(pull))
        score = kc.guidance_cosine(self.field, X1, self.COND, null_cond=np.int32(0), t=0.9)
        np.testing.assert_allclose(np.asarray(score)[guided], expected, **CLOSE)

    def test_cosine_where_the_condition_changes_nothing(self):
        score = kc.guidance_cosine(lambda t, x, cond: x, X1, self.COND, null_cond=np.int32(0))
        np.testing.assert_array_equal(score, np.zeros(4))

    def test_sharpness(self):
        given, none = self.both()
        change = self.MATRICES[self.COND] - self.MATRICES[0 * self.COND]
        expected = square(np.einsum("bij,bj->bi", change, given - none))
        score = kc.guided_sharpness(self.field, X1, self.COND, null_cond=np.int32(0))
        np.testing.assert_allclose(np.exp(np.asarray(score)), expected, rtol=1e-3, atol=1e-3)

    def test_a_field_without_a_null_condition(self):
        with pytest.raises(ValueError, match="null_cond must be given for a field that declares"):
            kc.guidance_norm(self.field, X1, self.COND)


def test_contraction_of_a_linear_flow():
    """The exact flow of N(0, s²) takes x0 to s x0."""
    field = GaussianField(np.zeros(D, np.float32), np.float32(0.3))
    score = kc.contraction(field, X1, key=KEY, draws=2, num_steps=100, solver=diffrax.Heun())
    np.testing.assert_allclose(score, np.full(4, -2 * np.log(0.3)), atol=1e-3)


def profile(steps=40):
    rng = np.random.default_rng(3)
    ts = np.arange(steps) / steps
    values = rng.uniform(0.5, 4, (2, 3, steps)).astype(np.float32)
    return KineticProfile(jnp.asarray(ts, jnp.float32), *map(jnp.asarray, values))


def test_early_bending():
    given = profile()
    inside = np.asarray(given.bend2, np.float64)[:, 8:16]
    score = kc.early_bending(given)
    np.testing.assert_allclose(score, inside.sum(axis=1) * 40 / 2, rtol=1e-5)


def test_profile_features():
    given = profile()
    speed, bend = np.asarray(given.speed2, np.float64), np.asarray(given.bend2, np.float64)
    rate = bend * 40
    parts = [slice(8 * part, 8 * part + 8) for part in range(5)]
    turns = [slice(1, 8), *parts[1:]]
    expected = np.log(
        [speed[:, part].mean(axis=1) for part in parts]
        + [rate[:, part].mean(axis=1) for part in turns]
    ).T
    np.testing.assert_allclose(kc.profile_features(given, bins=5), expected, rtol=1e-5)


def test_profile_features_of_a_run_on_another_grid():
    x0 = noise(KEY, jnp.arange(3), (D,))
    run = sample(GAUSSIAN, x0, num_steps=64, grid="cosine")
    assert kc.profile_features(run.profile, bins=4).shape == (3, 8)


def test_norm_rule():
    given = profile()
    usual = np.random.default_rng(5).uniform(0.5, 4, (20, 40)).astype(np.float32)
    logs = np.log(usual.astype(np.float64))
    away = np.log(np.asarray(given.speed2, np.float64)) - logs.mean(axis=0)
    expected = np.abs(away / logs.std(axis=0)).max(axis=1)
    np.testing.assert_allclose(kc.norm_rule(given, usual), expected, rtol=1e-4)


def test_total_variation():
    images = np.random.default_rng(6).normal(size=(2, 5, 4, 3)).astype(np.float32)
    expected = np.zeros(2)
    for n in range(2):
        for i in range(5):
            for j in range(4):
                for c in range(3):
                    if i:
                        expected[n] += abs(images[n, i, j, c] - images[n, i - 1, j, c])
                    if j:
                        expected[n] += abs(images[n, i, j, c] - images[n, i, j - 1, c])
    np.testing.assert_allclose(kc.total_variation(images), expected, rtol=1e-5)


def test_train_distance():
    train = np.random.default_rng(7).normal(size=(9, D)).astype(np.float32)
    distances = np.sort(np.sqrt(square(X1[:, None].astype(np.float64) - train[None])), axis=1)
    score = kc.train_distance(X1, train)
    np.testing.assert_allclose(score, -distances[:, 0] / distances[:, 1], rtol=1e-5)
    copies = np.repeat(train[:1], 2, axis=0)
    twins = np.concatenate([train[:1], train[:1], train[1:]])
    np.testing.assert_array_equal(kc.train_distance(copies, twins), [-1.0, -1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kc.snap(ONE_ROW, GAUSSIAN, X1, key=KEY, t=1.0), "t must lie between 0, noise"),
        (lambda: kc.snap(ONE_ROW, GAUSSIAN, X1, key=KEY, draws=0), "draws must be"),
        (lambda: kc.snap(ONE_ROW, GAUSSIAN, X1[:, :3], key=KEY), "x1 must have the field's event"),
        (
            lambda: kc.snap(ONE_ROW, EmpiricalField(np.ones((3, 2), np.float32)), X1, key=KEY),
            r"earlier must be of the event shape of x1, \(6,\), got a field of shape \(2,\)",
        ),
        (lambda: kc.spread(ONE_ROW, X1, key=KEY, draws=1), "draws must be"),
        (lambda: kc.reconstruction(ONE_ROW, X1, key=KEY, t=()), "t must lie between"),
        (lambda: kc.early_bending(profile(2)), "profile must have steps in"),
        (lambda: kc.profile_features(profile(20)), "profile must have at least two steps in each"),
        (lambda: kc.norm_rule(profile(), np.ones((5, 3))), "usual must be"),
        (lambda: kc.contraction(GAUSSIAN, X1, key=KEY, size=0.0), "size must be positive"),
        (lambda: kc.total_variation(X1), "x1 must be images"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
