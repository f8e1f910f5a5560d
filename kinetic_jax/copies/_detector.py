"""A detector of copies: the probability that a sample is one, from features of how it was made."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from kinetic_jax._checks import numbers, real_number, require, require_flag, short, whole_number
from kinetic_jax._files import PathLike, local_path, with_size, write_whole
from kinetic_jax.copies._features import CopyFeatures, features_digest, require_alike
from kinetic_jax.copies._fits import FOLDS, Odds, by_labels, by_ratio, by_snap

FORMAT = 1
LABELS, NEGATIVES, SNAP = "labels", "negatives", "snap"  # what a detector was fitted on


@dataclasses.dataclass(frozen=True, eq=False)
class CopyDetector:
    """The probability that a sample is a copy, from its features; see `copy_features`.

    `CopyDetector.fit` makes one from labelled samples, `CopyDetector.without_labels` from others.

    Attributes:
        names: of the features.
        settings: those of the features that it was fitted on.
        kind: "labels", "negatives" or "snap": what it was fitted on.
        mean: of the features, shape (features,).
        scale: their standard deviation, shape (features,).
        weights: of the standardised features, shape (features,).
        bias: added to their sum.
        floor: with negatives, the least of the densities' ratio, a share of samples that are none.
        fitted_on: a digest of the features that it was fitted on, by which they are recognised.
    """

    names: tuple[str, ...]
    settings: dict[str, Any]
    kind: str
    mean: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]
    weights: Float[np.ndarray, " features"]
    bias: float
    floor: float = 0.0
    fitted_on: str = ""

    @classmethod
    def fit(
        cls, features: CopyFeatures, labels: Shaped[np.ndarray, " n"], *, seed: int = 0
    ) -> "CopyDetector":
        """Fits a detector on samples that are known to be copies, or not to be.

        A logistic regression on standardised features, whose odds are then calibrated by a second
        one of its scores out of fold, with Platt's smoothed targets: no risk is 0 or 1. Samples
        that are not finite are left out.

        Args:
            features: of the samples.
            labels: whether each is a copy, such as `memorization(...).memorized`, shape (n,).
            seed: of the folds.

        Raises:
            ValueError: if there are fewer than 5 copies or 5 others, or the sizes differ.

        Example:
            >>> import numpy as np
            >>> from kinetic_jax.copies import CopyDetector, CopyFeatures
            >>> values = np.linspace(-3, 3, 40)[:, None]
            >>> features = CopyFeatures(values, ("snap",), {"steps": 100})
            >>> detector = CopyDetector.fit(features, values[:, 0] > 0)
            >>> risk = detector.score(features)
            >>> bool(risk[0] < 0.1), bool(risk[-1] > 0.9)
            (True, True)

        References:
            Platt, Probabilistic outputs for support vector machines, 1999.
        """
        _require_features("features", features)
        seed = whole_number("seed", seed, 0)
        is_copy = _flags(labels, len(features.values))
        is_known = np.isfinite(features.values).all(axis=1)
        rows, is_copy = features.values[is_known], is_copy[is_known]
        for name, count in (("copies", is_copy.sum()), ("others", (~is_copy).sum())):
            require(bool(count >= FOLDS), "labels", f"{count} {name}", f"mark at least {FOLDS}")
        return cls._of(features, LABELS, by_labels(rows, is_copy, seed))

    @classmethod
    def without_labels(
        cls, features: CopyFeatures, negatives: CopyFeatures | None = None, *, seed: int = 0
    ) -> "CopyDetector":
        """Fits a detector on samples of which it is not known which are copies.

        With `negatives`, features of samples that are no copies (held-out data, re-noised and
        denoised by the model), a logistic regression estimates the ratio of the densities p of the
        model's samples and q of the negatives, and the probability is `1 − s q/p`, with s the share
        of samples that are none, the least of p/q (its 5% quantile): a rank rather than a
        probability, as ln p/q is no linear function of features. Without, two normal distributions
        of one variance are fitted to `snap`, and the probability is that of the one with the
        greater mean: some samples must be copies, and some not. It is calibrated as far as copies
        are the only samples with a high snap, which is not so before a model copies many.

        Args:
            features: of the model's samples.
            negatives: of samples that are no copies, with the same settings: such as those of
                `negatives`, without a profile, as their paths begin late.
            seed: of the fit.

        Raises:
            ValueError: if there are fewer than 10 samples, or of the negatives; the settings of the
                two differ; or, without negatives, there is no snap among the features, no share of
                the samples snaps clearly (see `check_earlier`), the median snap is negative, or
                one normal distribution fits 500 samples or more as well (by AIC).

        Example:
            >>> import numpy as np
            >>> from kinetic_jax.copies import CopyDetector, CopyFeatures
            >>> snap = np.concatenate([np.linspace(-1, 1, 30), np.linspace(4, 6, 20)])[:, None]
            >>> features = CopyFeatures(snap, ("snap",), {"steps": 100})
            >>> risk = CopyDetector.without_labels(features).score(features)
            >>> int((risk > 0.5).sum())
            20

        References:
            Elkan and Noto, Learning classifiers from only positive and unlabeled data, 2008 (with
            the negatives in the place of the positives).
        """
        rows, seed = _known("features", features), whole_number("seed", seed, 0)
        if negatives is None:
            place = _place_of_snap(features)
            return cls._of(features, SNAP, by_snap(rows[:, place], seed).at(place, rows.shape[1]))
        others = _known("negatives", negatives)
        require_alike(features, negatives.names, negatives.settings, "of negatives")
        return cls._of(features, NEGATIVES, by_ratio(rows, others))

    @classmethod
    def _of(cls, features: CopyFeatures, kind: str, odds: Odds) -> "CopyDetector":
        own, settings = features_digest(features), dict(features.settings)
        return cls(features.names, settings, kind, *odds, fitted_on=own)

    def score(
        self, features: CopyFeatures, *, is_other_model: bool = False
    ) -> Float[np.ndarray, " n"]:
        """The probability that each sample is a copy, shape (n,); NaN where it is not known.

        Args:
            features: of the samples, with the settings that the detector was fitted on.
            is_other_model: accept features of another model, to which the detector is transferred;
                its probabilities are then not calibrated.

        Raises:
            ValueError: naming the setting, if the features are of other bins, steps or models, or
                are others.
        """
        _require_features("features", features)
        require_flag("is_other_model", is_other_model)
        require_alike(
            features,
            self.names,
            self.settings,
            "of the detector",
            is_other_model=is_other_model,
        )
        odds = (features.values - self.mean[None]) / self.scale[None] @ self.weights + self.bias
        if self.kind != NEGATIVES:
            return 1 / (1 + np.exp(-np.clip(odds, -700, 700)))
        return np.clip(1 - self.floor * np.exp(-np.clip(odds, -700, 700)), 0, 1)

    def save(self, path: PathLike) -> None:
        """Writes the detector to a JSON file, atomically.

        Raises:
            OSError: if the file cannot be written.
        """
        content = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        text = json.dumps({"format": FORMAT, **content}, indent=1)
        write_whole(local_path("path", path), text.encode())

    @classmethod
    def load(cls, path: PathLike) -> "CopyDetector":
        """Reads a detector that `save` wrote.

        Raises:
            ValueError: naming the file and its size, if it is damaged or of another format.
            FileNotFoundError: if there is no such file.
        """
        file = local_path("path", path)
        try:
            content = json.loads(file.read_bytes())
            require(isinstance(content, dict), "its content", type(content).__name__, "be a dict")
            version = content.pop("format", None)
            require(version == FORMAT, "format", version, f"be {FORMAT}")
            return cls(**content | _checked(content))
        except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
            raise ValueError(
                f"{with_size(Path(file))} is no detector of copies, or damaged: {error}"
            ) from error


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """The attributes that JSON holds otherwise; raises for values that no detector has."""
    names, settings, kind = content["names"], content["settings"], content["kind"]
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    require(is_list, "names", short(names), "be a list of names")
    require(isinstance(settings, dict), "settings", short(settings), "be a dict")
    require(kind in (LABELS, NEGATIVES, SNAP), "kind", short(kind), "be known")
    arrays = {name: np.array(content[name], float) for name in ("mean", "scale", "weights")}
    for name, array in arrays.items():
        fits = array.shape == (len(names),) and bool(np.isfinite(array).all())
        require(fits, name, f"shape {array.shape}", f"be {len(names)} finite numbers")
    require(bool((arrays["scale"] > 0).all()), "scale", short(content["scale"]), "be positive")
    bias, floor = (real_number(name, content[name]) for name in ("bias", "floor"))
    require(bool(np.isfinite(bias)), "bias", bias, "be finite")
    require(0 <= floor <= 1, "floor", floor, "lie in [0, 1]")
    own = content.get("fitted_on", "")
    require(isinstance(own, str), "fitted_on", short(own), "be a digest")
    return arrays | {"names": tuple(names), "bias": bias, "floor": floor}


def _place_of_snap(features: CopyFeatures) -> int:
    has_snap = "snap" in features.names
    expected = "have snap among them, for which an earlier checkpoint is needed, or give negatives"
    require(has_snap, "features", list(features.names), expected)
    return features.names.index("snap")


def _require_features(name: str, features: object) -> None:
    require(isinstance(features, CopyFeatures), name, short(features), "be of copy_features")


def _known(name: str, features: CopyFeatures) -> Float[np.ndarray, "n features"]:
    _require_features(name, features)
    rows = features.values[np.isfinite(features.values).all(axis=1)]
    least = 2 * FOLDS
    require(len(rows) >= least, name, f"{len(rows)} finite samples", f"be at least {least}")
    return rows


def _flags(labels: Shaped[np.ndarray, " n"], number: int) -> Bool[np.ndarray, " n"]:
    flags = numbers("labels", labels)
    fits = flags.shape == (number,) and flags.dtype == np.bool_
    require(fits, "labels", f"{flags.dtype} of shape {flags.shape}", f"be bool, ({number},)")
    return flags
