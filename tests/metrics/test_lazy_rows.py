"""Rows that are read as they are asked for (h5py, zarr), and rows in the other order of bytes."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import (
    EmpiricalField,
    frechet_distance,
    kde_support,
    knn_support,
    memorization,
    nearest_neighbors,
    precision_recall,
)
from kinetic_jax.metrics import (
    authpct,
    ct_score,
    energy_groups,
    energy_threshold,
    frechet_floor,
    kernel_distance,
    spearman,
)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


TRAIN, SAMPLES, FRESH = normal(0, 90, 2, 3), normal(1, 12, 2, 3), normal(2, 12, 2, 3)
TRAIN[40] = TRAIN[7]
SAMPLES[:2] = TRAIN[[7, 8]] + 1e-3


class Rising:
    """A shape, a dtype, slices and rising lists, as zarr and h5py have them; no hash."""

    __hash__ = None

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, which):
        if not isinstance(which, slice):
            assert np.all(np.diff(which) > 0)
        return self.rows[which]


@pytest.fixture
def stored(tmp_path):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        yield lambda rows: file.create_dataset("rows", data=rows, chunks=(10, *rows.shape[1:]))


CLASSES = {"labels": np.arange(90) % 2, "weights": np.arange(1.0, 91.0)}
READERS = {  # the seven that read rows of any kind
    "nearest_neighbors": lambda rows: nearest_neighbors(SAMPLES, rows, 3, chunk_size=20),
    "knn_support": lambda rows: knn_support(SAMPLES, rows, 3, chunk_size=20),
    "kde_support": lambda rows: kde_support(SAMPLES, rows, chunk_size=20),
    "memorization": lambda rows: (
        memorization(SAMPLES, rows, held_out=FRESH, merge_duplicates=True, chunk_size=20).ratios
    ),
    "authpct": lambda rows: authpct(SAMPLES, rows, chunk_size=20).authentic,
    "ct_score": lambda rows: ct_score(SAMPLES, FRESH, rows, chunk_size=20),
    "EmpiricalField": lambda rows: EmpiricalField(rows, chunk_size=20, **CLASSES).on_batch(
        0.7, SAMPLES, np.arange(12) % 2
    ),
}


def assert_same(left, right):
    for a, b in zip(left, right, strict=True) if isinstance(left, tuple) else [(left, right)]:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_rows_read_lazily(name, stored):
    wanted = READERS[name](TRAIN)
    assert_same(READERS[name](stored(TRAIN)), wanted)
    assert_same(READERS[name](Rising(TRAIN)), wanted)


def other(array):
    """The array in the other order of bytes."""
    return np.asarray(array).astype(np.asarray(array).dtype.newbyteorder(">"))


FLAT = SAMPLES.reshape(12, 6), FRESH.reshape(12, 6)
ENERGY, COPIED = np.arange(12.0), np.arange(12) > 6
ANY_ORDER = {name: (lambda rows, read=read: read(rows), (TRAIN,)) for name, read in READERS.items()}
ANY_ORDER |= {
    "queries": (lambda x: nearest_neighbors(x, TRAIN, 3, chunk_size=20), (SAMPLES,)),
    "samples": (
        lambda x: memorization(x, TRAIN, held_out=x, chunk_size=20).held_out.ratios,
        (SAMPLES,),
    ),
    "points": (lambda x: kde_support(x, TRAIN, 1.0, chunk_size=20), (SAMPLES,)),
    "on_batch": (
        lambda t, x, cond: EmpiricalField(TRAIN, chunk_size=20, **CLASSES).on_batch(t, x, cond),
        (np.linspace(0, 0.9, 12), SAMPLES, np.arange(12) % 2),
    ),
    "labels": (
        lambda labels, weights: EmpiricalField(TRAIN, labels=labels, weights=weights)(
            0.5, jnp.asarray(SAMPLES[0]), 1
        ),
        tuple(CLASSES.values()),
    ),
    "precision_recall": (lambda a, b: precision_recall(a, b, 2), FLAT),
    "frechet_distance": (frechet_distance, FLAT),
    "frechet_floor": (lambda a, b: frechet_floor(a, b, 10), FLAT),
    "kernel_distance": (lambda a, b: kernel_distance(a, b)[0], FLAT),
    "spearman": (lambda a, b: spearman(a, b, resamples=9).value, (ENERGY, SAMPLES[:, 0, 0])),
    "energy_groups": (lambda a, b: energy_groups(a, b, 2, resamples=9)[0], (ENERGY, ENERGY)),
    "energy_threshold": (lambda a, b: energy_threshold(a, b, resamples=9), (ENERGY, COPIED * 1)),
}


@pytest.mark.parametrize("name", ANY_ORDER)
@pytest.mark.usefixtures("own_messages")
def test_either_order_of_bytes(name):
    function, arrays = ANY_ORDER[name]
    assert_same(function(*map(other, arrays)), function(*arrays))
