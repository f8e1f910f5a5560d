"""Empirical flow matching: the exact flow of a finite data set."""

import contextlib
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from kinetic_jax._checks import (
    as_array,
    float_array,
    float_scalar,
    is_concrete,
    numbers,
    require,
    require_finite,
    whole_number,
)
from kinetic_jax._dtypes import at_least_float32, clock_stop, last_stage
from kinetic_jax._mesh import alone_on, gathered, placed, refuse_split
from kinetic_jax._progress import check_progress
from kinetic_jax._streaming import (
    Rows,
    Shards,
    as_numbers,
    center_of,
    centered_squares,
    checked_labels,
    checked_log_weights,
    checked_rows,
    checked_shards,
    is_on_host,
    read_rows,
    split_rows,
)
from kinetic_jax.exact._empirical_values import (
    EmpiricalValues,
    HeaviestAtoms,
    checked_batch,
    heaviest_at,
    log_totals_of,
    posterior_on_batch,
    values_at,
    values_of,
    values_on_batch,
)
from kinetic_jax.exact._posterior import Atoms, Beside
from kinetic_jax.fields import Field

ROWS_AT_ONCE = 2048


class EmpiricalField(Field):
    """The velocity field whose flow carries N(0, I) to the data set itself, on the linear path.

    It is what flow matching would learn without any error (the closed-form optimum):

    `v*(t, x) = (Σ_i w_i x_i − x)/(1 − t)`, `w = softmax_i(−||x − t x_i||²/(2 (1 − t)²))`.

    Every path ends on a data row. One pass over the data in chunks with an online softmax; the
    heaviest rows are recomputed by differences, so that near duplicates stay distinct up
    to the rounding of x. Nothing of size batch × rows is held beyond a chunk, under `grad` neither.

    At t = 1, v* is 0/0. The field stays finite there, as its clock stops at 1 − √ε of the dtype;
    for stages beyond `arrival`, `sample` takes the limit along the arriving path, so that solvers
    which look at t = 1 (Heun, Tsit5) arrive where they should.

    Args:
        data: the rows, shape (rows, *event), finite. A NumPy memmap (or any array-like with a
            shape, slices and rising lists of rows) is left on the host, for `on_batch` alone.
        labels: integer classes, shape (rows,), not negative: the field's `cond` is then a class,
            and only its rows count. No `cond`, or −1 (`null_cond`), is the whole data set.
        weights: of the rows, shape (rows,), not negative. Default: equal.
        chunk_size: rows looked at together.
        mesh: split the rows over the devices of a mesh, each of which looks at its own; what they
            find is merged once an evaluation. A memmap is then read into their memory.
        axis: the axis of the mesh that the rows are split over, if it has several; the others
            are left for the batch (`sample` with that mesh).

    Raises:
        ValueError: for empty or non-finite data, labels or weights that do not fit; when called,
            for a class that has no rows, or a batch of data on the host.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import EmpiricalField, noise, sample
        >>> data = jnp.array([[4.0, 1.0], [-1.0, 4.0], [-4.0, -4.0]])
        >>> x0 = noise(jax.random.key(0), jnp.arange(3), (2,))
        >>> sample(EmpiricalField(data), x0).x1.round(2)
        Array([[ 4.,  1.],
               [-4., -4.],
               [ 4.,  1.]], dtype=float32)
    """

    data: Any  # an array, or the host's rows
    squares: Float[Array, " rows"] | None
    center: Float[Array, " size"] | None
    labels: Int[Array, " rows"] | None
    log_weights: Float[Array, " rows"] | None
    chunk_size: int = eqx.field(static=True)
    shards: Shards | None = eqx.field(static=True)

    def __init__(
        self,
        data: Rows | Sequence[Any],
        *,
        labels: Int[ArrayLike, " rows"] | None = None,
        weights: Float[ArrayLike, " rows"] | None = None,
        chunk_size: int = ROWS_AT_ONCE,
        mesh: Mesh | None = None,
        axis: str | None = None,
    ):
        shape = checked_rows("data", data)
        if isinstance(data, Sequence) or not hasattr(data, "shape"):
            data = numbers("data", data)
        self.chunk_size = whole_number("chunk_size", chunk_size, 1)
        self.labels = None if labels is None else checked_labels(labels, shape[0])
        self.log_weights = None if weights is None else checked_log_weights(weights, shape[0])
        self.shards = shards = checked_shards(mesh, axis, shape[0])
        if shards is None:
            refuse_split("data", data)
            if is_on_host(data):
                self.data, self.squares, self.center = data, None, None
                return
        with contextlib.nullcontext() if shards is None else alone_on(shards.mesh, data):
            if shards is None:
                rows = jnp.asarray(as_numbers(data))
            else:
                arrays = (data, self.labels, self.log_weights)
                arrays = jax.tree.map(lambda array: split_rows(array, shards), arrays)
                rows, self.labels, self.log_weights = arrays
            self.data = rows.astype(at_least_float32(rows.dtype))
            self.center, self.squares = centered_squares(self.data, shape[0])
            if shards is not None:
                self.center = placed(self.center, shards.mesh, PartitionSpec())
            finite = jnp.isfinite(self.squares)
            if is_concrete(finite) and not bool(jnp.all(finite)):
                row = int(jnp.argmin(finite))
                raise ValueError(
                    f"data must be finite, and so must its rows' squared norms, got row {row}"
                )

    def __call__(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """v* at one sample; `cond` is a class, or None.

        Raises:
            ValueError: if x has not the shape of a row, the data are on the host, or the class is
                known and has no rows.
        """
        velocity = self.values(t, x, cond).velocity
        dtype = jnp.asarray(x).dtype
        return velocity.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else velocity

    def log_density(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, ""]:
        """The log-density log p_t(x) of the bridge, a mixture of N(t x_i, (1 − t)² I), in nats.

        For t < 1 − √ε of the dtype (0.9997 in float32), where the field's clock stops.
        `logsumexp_i(−||x − t x_i||²/(2 (1 − t)²)) − log N − d log(1 − t) − (d/2) log 2π`.
        """
        return self.values(t, x, cond).log_density

    def dominance(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, ""]:
        """ε, the sum of all weights but the greatest: 0 where one row decides.

        Summed, not 1 − w_k, which would round to 0 long before ε does.
        """
        return self.values(t, x, cond).dominance

    def values(
        self, t: Float[ArrayLike, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> EmpiricalValues:
        """Velocity, log-density, dominance and the heaviest row, in one pass over the data.

        Raises:
            ValueError: as `__call__`.
        """
        return values_at(self, *self._checked(t, x, cond))

    def posterior(
        self,
        t: Float[ArrayLike, ""],
        x: Float[Array, "*event"],
        k: int,
        cond: PyTree[Any] | None = None,
    ) -> HeaviestAtoms:
        """The k heaviest rows given x at time t, with their weights.

        With classes, rows of others come last, with a weight of 0.

        Raises:
            ValueError: as `__call__`, or if k lies outside [1, rows].
        """
        k = whole_number("k", k, 1, self.rows, why=", the number of rows")
        return heaviest_at(self, *self._checked(t, x, cond), k)

    def on_batch(
        self,
        t: Float[ArrayLike, "..."],
        x: Float[ArrayLike, "batch *event"],
        cond: Int[ArrayLike, " batch"] | None = None,
        *,
        progress: bool | None = None,
    ) -> EmpiricalValues:
        """`values` at a batch of points, driven from the host.

        For data too large for memory: reads them a chunk at a time, each row once, with a progress
        bar. Not for use under `jit`.

        Args:
            t: times, a number or shape (batch,).
            x: points, shape (batch, *event).
            cond: classes, shape (batch,), or None.
            progress: whether to draw the bar; None: on a terminal only.

        Raises:
            ValueError: if shapes do not fit, or a row of the data is not finite.
        """
        check_progress(progress)
        t, x, cond = gathered("t", t), gathered("x", x), gathered("cond", cond)
        if cond is not None:
            self.check_cond(cond)
        event = self.event_shape
        times, points, classes = checked_batch(t, x, cond, event)
        if self.shards is not None:
            return values_on_batch(self, times, points.reshape(-1, *event), classes)
        times = jnp.minimum(times, 1 - self.stop(points.dtype))
        center = self.center
        if center is None:
            center = center_of(read_rows(self.data, slice(0, self.chunk_size)))
        statistics = posterior_on_batch(
            self.data,
            self.log_weights,
            self.labels,
            times,
            points,
            classes,
            center=center,
            chunk_size=self.chunk_size,
            progress=progress,
        )
        totals = log_totals_of(self._without_host(), classes, points.dtype)
        return values_of(statistics, points, 1 - times, totals, (points.shape[0], *event))

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.data.shape[0] if self.shards is None else self.shards.total

    @property
    def mesh(self) -> Mesh | None:
        """The mesh that the rows are split over, or None."""
        return None if self.shards is None else self.shards.mesh

    def partition_specs(self) -> list[PartitionSpec]:
        """The layout of the arrays on `mesh`: all split but the centre."""
        split = PartitionSpec() if self.shards is None else self.shards.spec
        return [PartitionSpec() if leaf is self.center else split for leaf in jax.tree.leaves(self)]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.data.shape[1:])

    @property
    def null_cond(self) -> Int[Array, ""] | None:
        """The class that stands for the whole data set, for `cfg`; None without labels."""
        return None if self.labels is None else jnp.array(-1, jnp.int32)

    def arrival(self, dtype: DTypeLike) -> float:
        """The last time at which a stage of `sample` evaluates the field, 1 − ε^(1/3)."""
        return last_stage(dtype)

    def closing_rate(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """1/(1 − t), up to the time at which the clock stops."""
        return 1 / jnp.maximum(1 - t, self.stop(t.dtype))

    def stop(self, dtype: DTypeLike) -> float:
        """The time before t = 1 at which the clock stops, √ε: x − t x_i keeps half its digits."""
        return clock_stop(dtype)

    def check_cond(self, cond: PyTree[Any], name: str = "cond") -> None:
        """Refuses classes without rows, where they are concrete."""
        if self.labels is None:
            raise ValueError(f"{name} must be None for an EmpiricalField without labels")
        if is_concrete(cond, self.labels) and self.labels.is_fully_addressable:
            check_classes(name, cond, self.labels)

    def atoms(self) -> Atoms:
        """The rows and what is known of each.

        Raises:
            ValueError: if the data are on the host.
        """
        if self.squares is None or self.center is None:
            raise ValueError(
                f"data must be in memory to be sampled or compiled, got {type(self.data).__name__} "
                f"of shape {self.data.shape}: use on_batch, or pass the rows as an array"
            )
        rows = self.data.reshape(self.data.shape[0], -1)
        beside = Beside(self.squares, self.log_weights, self.labels)
        return Atoms(rows, self.center, beside, self.shards)

    def _without_host(self) -> "EmpiricalField":
        """The field for programs that do not look at the rows, which may be no array of JAX's."""
        if self.squares is not None:
            return self
        shape = jax.ShapeDtypeStruct(self.data.shape, self.data.dtype)
        return eqx.tree_at(lambda field: field.data, self, shape)

    def _checked(
        self, t: ArrayLike, x: ArrayLike, cond: PyTree[Any]
    ) -> tuple[Array, Array, Array | None]:
        """Time, point and class as arrays, at least in float32."""
        self.atoms()  # refuses data on the host
        point, expected = float_array(x, "x"), f"have the data's shape, {self.event_shape}"
        require(point.shape == self.event_shape, "x", f"shape {point.shape}", expected)
        point = point.astype(at_least_float32(point.dtype))
        if cond is not None:
            self.check_cond(cond)
            cond = as_array("cond", cond)
        time = float_scalar(t, "t").astype(point.dtype)
        require_finite("t", time)
        if self.shards is None:
            return time, point, cond
        return placed((time, point, cond), self.shards.mesh, PartitionSpec())


def check_classes(name: str, cond: ArrayLike, labels: Int[Array, " rows"]) -> None:
    """Checks that classes are −1 or those of rows.

    Raises:
        ValueError: naming the classes that have no rows.
    """
    given, known = np.unique(numbers(name, cond)), np.unique(np.asarray(labels))
    require(given.dtype.kind in "iu", name, given, "be whole numbers, classes")
    unknown = given[(given != -1) & ~np.isin(given, known)]
    require(not unknown.size, name, unknown, f"be classes that have rows, or −1: {known}")
