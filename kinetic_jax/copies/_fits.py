"""Odds of being a copy, fitted on features: by labels, by snap alone, and against negatives."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from kinetic_jax._checks import require
from kinetic_jax.copies._checkpoints import share_snapped

FOLDS = 5
TWO_GROUPS = "have two groups of snap"
ENOUGH = 500  # samples, from which on two groups have to show
LEAST_SNAPPED, CONFIDENCE = 0.01, 0.95  # as in `compare`
STRENGTH = 0.3  # of scikit-learn's logistic regression: the inverse of its penalty


class Odds(NamedTuple):
    """Logarithms of odds, linear in standardised features; see `CopyDetector`."""

    mean: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]
    weights: Float[np.ndarray, " features"]
    bias: float
    floor: float = 0.0

    def at(self, place: int, size: int) -> "Odds":
        """Those of one feature as those of `size`, of which the others have no weight."""
        mean, scale, weights = np.zeros(size), np.ones(size), np.zeros(size)
        mean[place], scale[place], weights[place] = self.mean[0], self.scale[0], self.weights[0]
        return self._replace(mean=mean, scale=scale, weights=weights)


def by_labels(
    rows: Float[np.ndarray, "n features"], is_copy: Bool[np.ndarray, " n"], seed: int
) -> Odds:
    """A logistic regression, calibrated by its scores out of fold."""
    from sklearn.linear_model import LogisticRegression  # of the extra `demo`
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, rows, is_copy, cv=folds, method="decision_function")
    slope, offset = _platt(scores, is_copy)
    scaler, classifier = model.fit(rows, is_copy)
    bias = slope * float(classifier.intercept_[0]) + offset
    return Odds(scaler.mean_, scaler.scale_, slope * classifier.coef_[0], bias)


def _platt(scores: Float[np.ndarray, " n"], is_copy: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """Slope and offset of the calibrated odds.

    Each sample counts as a copy by its target, (n₊ + 1)/(n₊ + 2) or 1/(n₋ + 2), and as none by the
    rest.
    """
    from sklearn.linear_model import LogisticRegression  # of the extra `demo`

    number, others = int(is_copy.sum()), int((~is_copy).sum())
    targets = np.where(is_copy, (number + 1) / (number + 2), 1 / (others + 2))
    both, is_one = (
        np.concatenate([scores, scores])[:, None],
        np.arange(2 * len(scores)) < len(scores),
    )
    weights = np.concatenate([targets, 1 - targets])
    model = LogisticRegression(C=1e6).fit(both, is_one, sample_weight=weights)
    return max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])


def by_snap(snap: Float[np.ndarray, " n"], seed: int) -> Odds:
    """Two normal distributions of one variance, whose odds are linear in snap.

    Raises:
        ValueError: if the samples have no two groups of snap, copies and others.
    """
    from sklearn.mixture import GaussianMixture  # of the extra `demo`

    _require_two_groups(snap)
    mean, scale = _moments(snap[:, None])
    standard = (snap[:, None] - mean[None]) / scale[None]
    options = {"covariance_type": "tied", "random_state": seed}
    mixture = GaussianMixture(2, n_init=5, **options).fit(standard)
    one = GaussianMixture(1, **options).fit(standard)
    expected = f"{TWO_GROUPS}: one normal distribution fits them as well"
    # Few samples do not show two groups that overlap.
    is_mixed = len(snap) < ENOUGH or mixture.aic(standard) < one.aic(standard)
    require(bool(is_mixed), "features", f"{len(snap)} samples", expected)
    low, high = np.argsort(mixture.means_[:, 0])
    ends, variance = mixture.means_[:, 0], float(mixture.covariances_[0, 0])
    slope = (ends[high] - ends[low]) / variance
    bias = np.log(mixture.weights_[high] / mixture.weights_[low])
    bias -= (ends[high] ** 2 - ends[low] ** 2) / (2 * variance)
    return Odds(mean, scale, np.array([slope]), float(bias))


def _require_two_groups(snap: Float[np.ndarray, " n"]) -> None:
    """Refuses samples of which clearly none, or not enough, are copies by their snap."""
    middle, got = float(np.median(snap)), f"{len(snap)} samples"
    expected = f"{TWO_GROUPS}: the earlier model guesses the median sample better"
    require(middle >= 0, "features", got, expected)
    share = share_snapped(snap, CONFIDENCE)
    got += f" of which {100 * share.value:.2g}% snap"
    expected = (
        f"{TWO_GROUPS}, one of clearly more than {100 * LEAST_SNAPPED:g}% that snap: perhaps none "
        "is a copy, which labels or negatives would say"
    )
    require(share.low > LEAST_SNAPPED, "features", got, expected)


def by_ratio(
    rows: Float[np.ndarray, "n features"], negatives: Float[np.ndarray, "m features"]
) -> Odds:
    """A ratio of densities by logistic regression; its odds are those of equal numbers of both."""
    from sklearn.linear_model import LogisticRegression  # of the extra `demo`

    mean, scale = _moments(negatives)
    both = (np.concatenate([rows, negatives]) - mean[None]) / scale[None]
    is_own = np.arange(len(both)) < len(rows)
    model = LogisticRegression(C=STRENGTH, max_iter=1000, class_weight="balanced")
    model.fit(both, is_own)
    odds = model.decision_function(both[is_own])
    floor = float(min(np.exp(np.quantile(odds, 0.05)), 1.0))
    return Odds(mean, scale, model.coef_[0], float(model.intercept_[0]), floor)


def _moments(rows: Float[np.ndarray, "n features"]) -> tuple[np.ndarray, np.ndarray]:
    deviation = rows.std(axis=0)
    return rows.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
