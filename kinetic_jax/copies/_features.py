"""Features of samples for a detector of copies, with the settings that they were made with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree

from kinetic_jax._checks import conditions_of, require, require_key, short, whole_number
from kinetic_jax._digest import digest
from kinetic_jax._progress import check_progress, progress_bar
from kinetic_jax.copies._paths import Profile, profile_features
from kinetic_jax.copies._registry import STATISTICS
from kinetic_jax.fields import VelocityField, as_field
from kinetic_jax.sampling._probes import held_arrays

PROFILE = "profile"
# Statistics that need an earlier checkpoint, and others, by how well they recognise copies.
WITH_EARLIER, ALONE = ("snap", "self_consistency", "spread"), ("self_consistency", "spread")
_OF_MODEL = ("model", "earlier")


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
        settings: what the features depend on besides the sample, by name: bins, steps, the digests
            of the models.
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

    def rows(self, chosen: Any) -> "CopyFeatures":
        """The features of some samples, by their numbers or a mask."""
        return self._replace(values=self.values[chosen])

    def joined(self, others: Sequence["CopyFeatures"]) -> "CopyFeatures":
        """These and others, which have the same names and settings, as one."""
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
    """The features by which `CopyDetector` tells copies, of the samples of a run.

    The logarithm of the profile in `bins` parts (see `profile_features`; none of adaptive steps),
    and statistics of `STATISTICS`.

    Args:
        field: the model that was sampled.
        run: what `sample` returned.
        key: of the noise of the statistics, which all samples share.
        earlier: a checkpoint of the model from before it copied, for `snap`.
        cond: the conditions of the run.
        statistics: names of statistics; by default snap (with an earlier checkpoint),
            self_consistency and spread. They may need `field`, `earlier`, `x1`, `cond` and `key`.
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
    settings = _settings(field, earlier, run, count)
    is_other = settings["earlier"] != settings["model"]
    require(is_other, "earlier", "the model itself", "be a checkpoint from before it copied")
    columns, names = [], []
    profile = run.profile
    if count and profile is not None:
        columns.append(np.asarray(profile_features(profile, count), np.float64))
        parts = [f"{part / count:.2f}" for part in range(count)]
        names += [f"{kind} {part}" for kind in ("speed", "bending") for part in parts]
    given = {"field": field, "earlier": earlier, "key": key}
    with progress_bar("features", size, show=progress) as update:
        parts_of: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
        for start in range(0, size, step):
            rows = slice(start, min(start + step, size))
            own = {"x1": _rows(run.x1, rows), "cond": _rows(cond, rows)}
            for name, scores in parts_of.items():
                scores.append(np.asarray(STATISTICS[name](**given, **own), np.float64))
            update(rows.stop, "")
    for name in chosen:
        columns.append(np.concatenate(parts_of[name])[:, None])
        names.append(name)
    require(bool(columns), "statistics", "none", "not be empty without a profile")
    values = np.concatenate(columns, axis=1)
    is_known = np.isfinite(values).all(axis=1) & (np.asarray(run.status) == 0)
    values[~is_known] = np.nan
    return CopyFeatures(values, tuple(names), settings)


def _rows(tree: PyTree[Any], rows: slice) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _settings(
    field: VelocityField, earlier: VelocityField | None, run: Samples, bins: int
) -> dict[str, Any]:
    """What features depend on."""
    profile = run.profile
    return {
        "bins": bins,
        "steps": None if profile is None else len(profile.ts),
        "model": model_digest(field),
        "earlier": None if earlier is None else model_digest(earlier),
    }


def model_digest(field: VelocityField) -> str:
    """A digest of the arrays of a model: 16 hexadecimal digits."""
    return digest(held_arrays(field))[:16]
