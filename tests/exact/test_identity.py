"""The energy–density identity against float64 NumPy, and its bound in a thousand cases."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from kinetic_jax import EmpiricalField, GaussianField
from kinetic_jax.exact import energy_identity

TERMS = ("neg_log_density", "row_square", "cross", "volume", "log_prior", "neg_log_weight")
LOOK = jax.jit(energy_identity)


def by_hand(t, x, data, k, shares):
    """Every part of the identity, in float64 from the definitions."""
    data, x, left = np.asarray(data, np.float64), np.asarray(x, np.float64), 1 - float(t)
    logits = -np.sum((x - t * data) ** 2, axis=1) / (2 * left**2) + np.log(shares)
    volume = -x.size * (np.log(left) + np.log(2 * np.pi) / 2)
    weights = np.exp(logits - logsumexp(logits))
    row = data[k]
    v_k, v = (row - x) / left, (weights @ data - x) / left
    others = np.delete(weights, k).sum()
    delta = others * np.linalg.norm(data - row, axis=1).max() / left
    return {
        "row_energy": v_k @ v_k / 2,
        "neg_log_density": -(logsumexp(logits) + volume),
        "row_square": row @ row / 2,
        "cross": -row @ (x - t * row) / left,
        "volume": volume,
        "log_prior": np.log(shares[k]),
        "neg_log_weight": logsumexp(logits) - logits[k],
        "energy": v @ v / 2,
        "gap": v @ v / 2 - v_k @ v_k / 2,
        "dominance": others,
        "bound": np.linalg.norm(v_k) * delta + delta**2 / 2,
    }


def drawn(seed, rows, size):
    """Rows, a time, a point on a path or off it, and a row: the heaviest or any."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(rows, size)) * rng.choice([0.3, 1, 3])
    if rng.random() < 0.3:  # near duplicates
        data[0] = data[-1] + 1e-2 * rng.normal(size=size)
    t = rng.choice([0.0, rng.random(), 0.9, 0.99])
    x = t * data[rng.integers(rows)] + rng.choice([0.1, 1.0]) * (1 - t) * rng.normal(size=size)
    return data, t, x, rng.integers(rows) if rng.random() < 0.7 else None


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weights"])
@pytest.mark.parametrize("seed", range(20))
def test_every_term_in_float64(seed, weighted):
    data, t, x, k = drawn(seed, 30, 12)
    weights = np.random.default_rng(seed).uniform(0.2, 3, 30) if weighted else np.ones(30)
    field = EmpiricalField(data, weights=weights if weighted else None, chunk_size=7)
    found = energy_identity(field, t, jax.device_put(x), k)
    want = by_hand(t, x, data, int(found.index), weights / weights.sum())
    largest = max(abs(want[name]) for name in (*TERMS, "row_energy"))
    assert abs(found.row_energy - found.from_density) <= 1e-10 * largest
    for name in ("row_energy", *TERMS, "energy", "gap"):
        assert abs(float(getattr(found, name)) - want[name]) <= 1e-10 * largest, name
    # exp of a difference of large terms: what float64 leaves of it.
    np.testing.assert_allclose(found.dominance, want["dominance"], rtol=1e-8, atol=1e-300)
    np.testing.assert_allclose(found.bound, want["bound"], rtol=1e-8, atol=1e-300)
    if k is None:
        assert want["neg_log_weight"] == min(
            by_hand(t, x, data, i, weights / weights.sum())["neg_log_weight"] for i in range(30)
        )


@pytest.mark.parametrize("size", [2, 784])
@pytest.mark.parametrize("seed", range(20))
def test_the_identity_in_float32(seed, size):
    data, t, x, k = drawn(seed, 50, size)
    data, t, x = np.float32(data), np.float32(t), np.float32(x)
    found = LOOK(EmpiricalField(data), t, x, k)
    largest = max(abs(float(getattr(found, name))) for name in (*TERMS, "row_energy"))
    assert abs(float(found.row_energy - found.from_density)) <= 1e-4 * largest
    want = by_hand(float(t), x, data, int(found.index), np.full(50, 1 / 50))
    for name in ("row_energy", "from_density", *TERMS, "energy"):
        wanted = want["row_energy" if name == "from_density" else name]
        assert abs(float(getattr(found, name)) - wanted) <= 1e-4 * largest, name


@jax.jit
@jax.vmap
def look_at_all(data, t, x, k):
    return energy_identity(EmpiricalField(data), t, x, k)


def test_the_bound_is_never_violated():
    """Dominated or not, along with rows in a line, where the bound is an equality."""
    cases = {"of a row": [], "of the heaviest": []}
    for seed in range(1000):
        data, t, x, k = drawn(seed, 6, 4)
        if seed % 3 == 0:  # v_k, v* and the rows' differences all point the same way
            data[:, 1:], x[1:] = 0, 0
        if seed % 2 == 0:
            data[2:] = data[1]  # two places in all: every row but k is the farthest
        of = cases["of the heaviest" if k is None else "of a row"]
        of.append((np.float32(data), np.float32(t), np.float32(x), *([] if k is None else [k])))
    for drawn_cases in cases.values():
        data, t, x, *k = (np.stack(part) for part in zip(*drawn_cases, strict=True))
        found = jax.tree.map(np.float64, look_at_all(data, t, x, np.int32(k[0]) if k else None))
        assert np.all(np.abs(found.gap) <= found.bound)
        for i in range(len(t)):
            want = by_hand(t[i], x[i], data[i], int(found.index[i]), np.full(6, 1 / 6))
            # The true gap, as well as float64 can tell it from none.
            noise = 1e-13 * max(want["energy"], want["row_energy"])
            assert abs(want["gap"]) <= found.bound[i] * (1 + 1e-3) + noise


def test_the_bound_where_it_is_an_equality():
    field = EmpiricalField(np.float32([[1.0, 0.0], [-1.0, 0.0]]))
    found = energy_identity(field, 0.5, jax.device_put(np.float32([-0.2, 0.0])), 0)
    change = -float(found.dominance) * 2 / 0.5
    assert float(found.gap) == pytest.approx(change * 1.2 / 0.5 + change**2 / 2, rel=1e-5)
    found = energy_identity(field, 0.5, jax.device_put(np.float32([3.0, 0.0])), 0)
    assert float(found.bound) == pytest.approx(float(found.gap), rel=1e-4)
    assert float(found.gap) <= float(found.bound)


@pytest.mark.parametrize("others", [13, 50_000])
def test_the_bound_where_many_rows_share_what_is_left(others):
    """All of them at one place, in line with v_k: the bound is an equality."""
    data = np.concatenate([[[1.0, 0.0]], np.tile([-1.0, 0.0], (others, 1))])
    for epsilon in (1e-9, 1e-6, 1e-5, 1e-4):
        x = np.float32([np.log(others / epsilon) / 4, 0.0])
        found = energy_identity(EmpiricalField(np.float32(data)), 0.5, jax.device_put(x))
        want = by_hand(0.5, x, data, 0, np.full(others + 1, 1 / (others + 1)))
        assert float(found.gap) <= float(found.bound)
        np.testing.assert_allclose(found.dominance, want["dominance"], rtol=1e-4)
        np.testing.assert_allclose(found.bound, want["bound"], rtol=1e-3)
        shift = want["dominance"] * 2 / 0.5
        exact_gap = shift * np.sqrt(2 * want["row_energy"]) + shift**2 / 2
        np.testing.assert_allclose(found.gap, exact_gap, rtol=1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("index", [None, 2])
def test_derivatives_of_every_term(index):
    """In t, x and the data at once, as one vector."""
    rng = np.random.default_rng(1)
    point = {"t": np.array(0.6), "x": rng.normal(size=3), "data": rng.normal(size=(6, 3))}
    names = ("row_energy", "from_density", *TERMS, "energy", "gap", "dominance", "bound")
    value, unravel = jax.flatten_util.ravel_pytree(jax.device_put(point))

    def terms(value):
        at = unravel(value)
        field = EmpiricalField(at["data"], chunk_size=4)
        identity = energy_identity(field, at["t"], at["x"], index)
        found = jnp.stack([getattr(identity, name) for name in names])
        return found, found

    look = jax.jit(jax.jacrev(terms, has_aux=True))
    value, step = np.asarray(value), 1e-6
    jacobian = look(value)[0]
    for i, change in enumerate(step * np.eye(value.size)):
        above, below = (np.asarray(look(value + moved)[1]) for moved in (change, -change))
        quotient = (above - below) / (2 * step)
        np.testing.assert_allclose(jacobian[:, i], quotient, rtol=1e-5, atol=1e-6)


def test_a_gap_far_below_rounding():
    """ε of 1e-14: the gap is told, though v* and v_k are the same float32 numbers."""
    data = np.float32([[1.0, 0.0], [-1.0, 0.0]])
    found = energy_identity(EmpiricalField(data), 0.5, jax.device_put(np.float32([8.0, 0.0])), 0)
    assert float(found.energy) == float(found.row_energy)
    delta = np.exp(-2 * 0.5 * 8 / 0.25) * 2 / 0.5
    assert float(found.gap) == pytest.approx(14 * delta, rel=1e-3)  # v_k = −14, both rows behind it


def test_classes_and_a_batch():
    rng = np.random.default_rng(3)
    data, labels = rng.normal(size=(40, 3, 2)).astype(np.float32), np.arange(40) % 4
    x, cond = np.float32(rng.normal(size=(5, 3, 2))), np.arange(5, dtype=np.int32) % 4
    whole = EmpiricalField(data, labels=labels)
    look = jax.jit(jax.vmap(lambda x, c: energy_identity(whole, 0.6, x, None, c)))
    found = look(x, cond)
    for i in range(5):
        own = np.flatnonzero(labels == int(cond[i]))
        one = energy_identity(EmpiricalField(data[own]), 0.6, jax.device_put(x[i]))
        assert own[int(one.index)] == int(found.index[i])
        for name in ("row_energy", "from_density", "energy", "dominance", "bound", "log_prior"):
            np.testing.assert_allclose(
                getattr(found, name)[i], getattr(one, name), rtol=1e-4, err_msg=name
            )


def test_it_can_be_exported():
    field, t, x = (
        EmpiricalField(np.eye(3, dtype=np.float32)),
        np.float32(0.5),
        np.ones(3, np.float32),
    )
    look = jax.jit(lambda t, x: energy_identity(field, t, x))
    found = jax.export.export(look, platforms=["tpu", "cuda", "cpu"])(t, x)
    again = jax.export.deserialize(found.serialize())
    assert again.platforms == ("tpu", "cuda", "cpu")
    np.testing.assert_array_equal(again.call(t, x).from_density, look(t, x).from_density)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 3}, r"index must be a whole number in \[0, 2\], a row.s number, got 3"),
        ({"t": 1.5}, r"t must lie in \[0, 1\], got 1.5"),
        ({"x": np.ones(4, np.float32)}, r"x must have the data's shape, \(3,\), got shape \(4,\)"),
        (
            {"x": np.ones((2, 3), np.float32)},
            r"x must have the data's shape, \(3,\), got shape \(2, 3\)",
        ),
        ({"cond": np.int32(1)}, "cond must be None for an EmpiricalField without labels"),
        (
            {
                "labels": np.array([0, 1, 1]),
                "index": 0,
                "cond": np.int32(1),
            },
            "index must be a row of class 1, not 0, got 0",
        ),
        ({"index": -1}, r"index must be a whole number in \[0, 2\], a row.s number, got -1"),
        ({"field": GaussianField}, "field must be EmpiricalField, got Gauss"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    change = dict(change)
    labels, field = change.pop("labels", None), change.pop("field", EmpiricalField)
    field = field(np.eye(3), labels=labels) if field is EmpiricalField else field(np.ones(3), 0.5)
    arguments = {"field": field, "t": 0.5, "x": np.ones(3, np.float32)} | change
    with pytest.raises(ValueError, match=message):
        energy_identity(**arguments)
