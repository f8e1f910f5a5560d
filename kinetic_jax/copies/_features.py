"""Features of samples for a detector of copies, with the settings that they were made with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import conditions_of, require, require_key, short, whole_number
from kinetic_jax._digest import digest
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax.copies._paths import Profile, profile_features
from kinetic_jax.copies._registry import STATISTICS
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.sampling import KineticProfile
from kinetic_jax.sampling._probes import held_arrays

PROFILE = "profile"
# Statistics that need an earlier checkpoint, and others, by how well they recognise copies.
WITH_EARLIER, ALONE = ("snap", "self_consistency", "spread"), ("self_consistency", "spread")
_OF_MODEL = ("model", "earlier")
_OF_PROFILE = ("speed ", "bending ")  # beginnings of names
_WITHOUT_PROFILE: dict[str, Any] = {"bins": 0, "steps": None, "grid": None}
DIGITS = 16  # of a digest


@runtime_checkable
class Samples(Protocol):
    """The result of `sample`, or a shard of a job: `x1`, `status` and perhaps a `profile`."""

    @property
    def x1(self) -> PyTree[Any]: ...

    @property
    def status(self) -> Any: ...

    @property
    def profile(self) -> Profile | None: ...


class CopyFeatures(NamedTuple):
    """Features of samples; see `copy_features`.

    Attributes:
        values: shape (n, features); NaN for samples that are not finite.
        names: of the features, such as "snap" or "speed 0.20".
        settings: what the features depend on besides the sample, by name: the bins of the profile
            (with the number of its steps and a digest of its grid, None without bins), and digests
            of the noise of the statistics, of the model and of the earlier one (None for functions
            without arrays, which have none).
    """

    values: Float[np.ndarray, "n features"]
    names: tuple[str, ...]
    settings: Mapping[str, Any]

    def column(self, name: str) -> Float[np.ndarray, " n"]:
        """One feature of every sample.

        Raises:
            ValueError: if there is none of this name.
        """
        require(name in self.names, "name", repr(name), f"be one of {list(self.names)}")
        return self.values[:, self.names.index(name)]

    def only(self, names: Sequence[str]) -> "CopyFeatures":
        """Some of the features; without any of the profile its settings are left out.

        Raises:
            ValueError: if there is none of a name.
        """
        values = np.stack([self.column(name) for name in names], axis=1)
        settings = dict(self.settings)
        if not any(name.startswith(_OF_PROFILE) for name in names):
            settings |= _WITHOUT_PROFILE
        return CopyFeatures(values, tuple(names), settings)

    def rows(self, chosen: Any) -> "CopyFeatures":
        """The features of some samples, by their numbers or a mask."""
        return self._replace(values=self.values[chosen])

    def joined(self, others: Sequence["CopyFeatures"]) -> "CopyFeatures":
        """These and others as one.

        Raises:
            ValueError: naming the setting, if one has other features or settings.
        """
        for part in others:
            require_alike(part, self.names, self.settings, "of the first")
        return self._replace(values=np.concatenate([part.values for part in (self, *others)]))


def copy_features(
    field: VelocityField,
    run: Samples,
    *,
    key: PRNGKeyArray,
    earlier: VelocityField | None = None,
    cond: PyTree[Any] | None = None,
    statistics: Sequence[str] | None = None,
    bins: int = 20,
    batch_size: int = 500,
    progress: bool | None = None,
) -> CopyFeatures:
    """The features of the samples of a run, for `CopyDetector`.

    The logarithm of the profile in `bins` parts (see `profile_features`; none of adaptive steps),
    and statistics of `STATISTICS`.

    Args:
        field: the model that was sampled.
        run: what `sample` returned.
        key: of the noise of the statistics, which all samples share.
        earlier: a checkpoint of the model from before it copied, for `snap`.
        cond: the conditions of the run.
        statistics: names of statistics; by default snap (with an earlier checkpoint),
            self_consistency and spread. They may need `field`, `earlier`, `x1`, `cond`, `key` and
            `profile`.
        bins: parts of the profile; 0 for none of it.
        batch_size: samples in memory together.
        progress: show a progress bar; by default on a terminal.

    Returns:
        The features, on the host.

    Raises:
        ValueError: if a statistic is not known or needs something else, `earlier` is the model
            itself, the profile has fewer than two steps in a part, or samples do not fit the
            models.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import GaussianField, noise, sample
        >>> from kinetic_jax.copies import copy_features
        >>> x0 = noise(jax.random.key(0), jnp.arange(3), (2,))
        >>> field = GaussianField(jnp.zeros(2), 0.5)
        >>> features = copy_features(
        ...     field, sample(field, x0, num_steps=40), key=jax.random.key(1), bins=2
        ... )
        >>> features.names
        ('speed 0.00', 'speed 0.50', 'bending 0.00', 'bending 0.50', 'self_consistency', 'spread')
    """
    as_field(field)
    check_progress(progress)
    if earlier is not None:
        as_field(earlier, "earlier")
    require_key("key", key)
    require(isinstance(run, Samples), "run", short(run), "be what sample returned, or a shard")
    is_list = statistics is None or isinstance(statistics, list | tuple)
    require(is_list, "statistics", short(statistics), "be names of statistics")
    chosen = (ALONE if earlier is None else WITH_EARLIER) if statistics is None else statistics
    for name in chosen:
        require(name in STATISTICS, "statistics", repr(name), f"be of {list(STATISTICS)}")
    step = whole_number("batch_size", batch_size, 1)
    size, count = len(run.status), whole_number("bins", bins, 0)
    cond = conditions_of(cond, size, "run")
    profile = run.profile if count else None
    settings = _settings(field, earlier, profile, count, key)
    is_other = settings["earlier"] is None or settings["earlier"] != settings["model"]
    require(is_other, "earlier", "the model itself", "be a checkpoint from before it copied")
    columns, names = [], []
    if profile is not None:
        columns.append(np.asarray(profile_features(profile, count), np.float64))
        names += _profile_names(count)
    given = {"field": field, "earlier": earlier, "key": key}
    with progress_bar("features", size, show=progress) as update:
        parts_of: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
        for start in range(0, size, step):
            # The last batch is filled up, so that nothing is compiled for its size.
            rows = np.minimum(np.arange(start, start + min(step, size)), size - 1)
            own = {"x1": _rows(run.x1, rows), "cond": _rows(cond, rows)}
            if run.profile is not None:
                own["profile"] = _profile_rows(run.profile, rows)
            for name, scores in parts_of.items():
                score = np.asarray(STATISTICS[name](**given, **own), np.float64)
                scores.append(score[: size - start])
            update(int(rows[-1]) + 1, "")
    for name in chosen:
        columns.append(np.concatenate(parts_of[name])[:, None])
        names.append(name)
    require(bool(columns), "statistics", "none", "not be empty without a profile")
    values = np.concatenate(columns, axis=1)
    is_known = np.isfinite(values).all(axis=1) & (np.asarray(run.status) == 0)
    values[~is_known] = np.nan
    return CopyFeatures(values, tuple(names), settings)


def _profile_names(bins: int) -> list[str]:
    parts = [f"{part / bins:.2f}" for part in range(bins)]
    return [f"{kind}{part}" for kind in _OF_PROFILE for part in parts]


def _profile_rows(profile: Profile, rows: np.ndarray) -> KineticProfile:
    own = profile.speed2[rows], profile.bend2[rows]
    return KineticProfile(*map(jnp.asarray, (profile.ts, *own)))


def _rows(tree: PyTree[Any], rows: np.ndarray) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _settings(
    field: VelocityField,
    earlier: VelocityField | None,
    profile: Profile | None,
    bins: int,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """The settings that features depend on; a digest of the key stands for the noise."""
    ts = None if profile is None else np.asarray(profile.ts, np.float32)
    of_profile = _WITHOUT_PROFILE
    if ts is not None:
        of_profile = {"bins": bins, "steps": len(ts), "grid": digest([ts])[:DIGITS]}
    return of_profile | {
        "noise": digest([key])[:DIGITS],
        "model": model_digest(field),
        "earlier": None if earlier is None else model_digest(earlier),
    }


def features_digest(features: CopyFeatures) -> str:
    """A digest of the features of samples."""
    return digest([features.values])[:DIGITS]


def model_digest(field: VelocityField) -> str | None:
    """A digest of the arrays of a model; None for a function that holds none."""
    arrays = held_arrays(field)
    return digest(arrays)[:DIGITS] if arrays else None


def require_alike(
    features: CopyFeatures,
    names: tuple[str, ...],
    settings: Mapping[str, Any],
    whose: str,
    *,
    is_other_model: bool = False,
) -> None:
    """Raises for features other than those named; of another model only if that is not expected."""
    for name in sorted(set(settings) | set(features.settings)):
        if is_other_model and name in _OF_MODEL:
            continue
        own, given = settings.get(name), features.settings.get(name)
        require(given == own, "features", f"{name} {given}", f"have the {name} {whose}, {own}")
    require(features.names == names, "features", list(features.names), f"be {list(names)}")
