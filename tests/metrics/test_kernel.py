"""The kernel distance by scikit-learn's kernel, pair by pair."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from kinetic_jax.metrics import kernel_distance


def by_pairs(a, b):
    """The unbiased estimate, each pair of different rows once."""

    def kernel(x, y):
        return polynomial_kernel(x, y, degree=3, gamma=1 / x.shape[1], coef0=1)

    def off(x):
        return kernel(x, x)[~np.eye(len(x), dtype=bool)].mean()

    return off(a) + off(b) - 2 * kernel(a, b).mean()


@pytest.mark.parametrize("seed", range(5))
def test_of_whole_sets(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(30, 7)), 1.3 * rng.normal(size=(45, 7)) + 0.2
    found = kernel_distance(a, b)
    assert found.value == pytest.approx(by_pairs(a, b), rel=1e-10)
    assert np.isnan(found.std)


def test_of_subsets():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(90, 4)), rng.normal(size=(70, 4)) + 0.5
    found = kernel_distance(a, b, subset_size=80, num_subsets=6, seed=9)
    draws, wanted = np.random.default_rng(9), []
    for _ in range(6):
        one = a[draws.choice(90, 80, replace=False)]
        wanted.append(by_pairs(one, b[draws.choice(70, 70, replace=False)]))
    assert found == pytest.approx((np.mean(wanted), np.std(wanted, ddof=1)), rel=1e-10)


def test_no_bias_of_few_samples():
    """Equal distributions: 0 on average, however few there are; Fréchet's distance never is."""
    values = []
    for seed in range(100):
        a, b = np.random.default_rng(seed).normal(size=(2, 10, 2))
        values.append(kernel_distance(a, b).value)
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    assert min(values) < 0


GOOD = np.random.default_rng(0).normal(size=(6, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": GOOD[:1]}, r"a must be features of shape \(n >= 2, d >= 1\), got shape \(1, 3\)"),
        ({"b": GOOD[:, :2]}, "b must have the 3 features of a, got 2 features"),
        ({"b": GOOD * np.inf}, "b must be finite, got 6 rows that are not"),
        ({"subset_size": 1}, "subset_size must be a whole number >= 2, got 1"),
        ({"num_subsets": 0}, "num_subsets must be a whole number >= 1, got 0"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(**({"a": GOOD, "b": GOOD} | change))
