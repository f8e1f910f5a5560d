"""`EmpiricalField` against float64 over all rows at once, and its derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import EmpiricalField, sample

TIMES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)


def exact(t, x, data, log_weights=0.0):
    """v* and log p_t in float64."""
    data = np.asarray(data, np.float64).reshape(len(data), -1)
    x, t = np.asarray(x, np.float64).reshape(-1), float(t)
    logits = -np.sum((x - t * data) ** 2, axis=1) / (2 * (1 - t) ** 2) + log_weights
    peak = logits.max()
    weights = np.exp(logits - peak)
    total = weights.sum()
    velocity = (weights / total @ data - x) / (1 - t)
    volume = x.size * (np.log(1 - t) + np.log(2 * np.pi) / 2)
    norm = np.log(np.sum(np.exp(log_weights + np.zeros(len(data)))))
    return velocity, peak + np.log(total) - norm - volume, weights / total


RNG = np.random.default_rng(0)
BASE = RNG.uniform(-1, 1, size=(300, 784)).astype(np.float32)
NEAR = (BASE[:40] + 1e-3 * RNG.normal(size=(40, 784))).astype(np.float32)
ROWS = np.concatenate([BASE, NEAR, BASE[:1] + 1e-6, BASE[1:2]])
QUERIES = {
    "on a path": lambda t, e: t * ROWS[5] + (1 - t) * e,
    "on a path between near duplicates": lambda t, e: t * (ROWS[2] + ROWS[302]) / 2 + (1 - t) * e,
    "between near duplicates": lambda t, e: t * (ROWS[3] + ROWS[303]) / 2,
    "between all but equal rows": lambda t, e: t * (ROWS[0] + ROWS[340]) / 2,
    "on an atom": lambda t, e: ROWS[7],
    "on an atom's path": lambda t, e: t * ROWS[8],
    "on an atom that occurs twice": lambda t, e: t * ROWS[1] + (1 - t) * e / 10,
    "far from all": lambda t, e: e,
}


LOOK = jax.jit(lambda field, t, x: (field(t, x), field.log_density(t, x)))


@pytest.fixture(scope="module")
def near_duplicates():
    return EmpiricalField(ROWS, chunk_size=100)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_against_float64(query, t, near_duplicates):
    """In 784 dimensions, near duplicates included, as well as half an ulp of x determines it."""
    t, e = np.float32(t), np.random.default_rng(5).normal(size=784)
    x = np.float32(query(float(t), e))
    velocity, log_density, _ = exact(t, x, ROWS)
    changes = []
    for seed in range(3):
        signs = np.random.default_rng(seed).choice([-0.5, 0.5], size=784)
        moved = exact(t, np.float64(x) + signs * np.spacing(np.abs(x)), ROWS)
        changes.append([np.linalg.norm(moved[0] - velocity), abs(moved[1] - log_density)])
    by_ulp = np.median(changes, axis=0)
    size = max(np.linalg.norm(velocity), np.linalg.norm(x))
    found, found_density = LOOK(near_duplicates, t, x)
    error = np.linalg.norm(np.asarray(found, np.float64) - velocity)
    assert error <= max(1e-4 * size, 4 * by_ulp[0])
    off = abs(float(found_density) - log_density)
    assert off <= max(1e-5 * abs(log_density), 4 * by_ulp[1])


SMALL = RNG.normal(size=(37, 2, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, 37)
WEIGHTS = RNG.uniform(0.1, 2.0, 37)
SETTINGS = {
    "plain": ({}, None, 0.0),
    "weights": ({"weights": WEIGHTS}, None, np.log(WEIGHTS)),
    "class": ({"labels": LABELS}, 1, np.where(LABELS == 1, 0.0, -np.inf)),
    "every class": ({"labels": LABELS}, -1, 0.0),
    "class and weights": (
        {"labels": LABELS, "weights": WEIGHTS},
        2,
        np.where(LABELS == 2, np.log(WEIGHTS), -np.inf),
    ),
}


# In one chunk, and in several of which the last overlaps; that is alike for labels and weights.
CHUNKS = [*((name, 5) for name in SETTINGS), ("plain", 64), ("class and weights", 64)]


@pytest.mark.parametrize("t", [0.0, 0.4, 0.8])
@pytest.mark.parametrize(("name", "chunk_size"), CHUNKS)
def test_labels_and_weights(name, chunk_size, t):
    known, cond, log_weights = SETTINGS[name]
    t, x = np.float32(t), np.float32(np.random.default_rng(5).normal(size=(2, 3)))
    field, point = EmpiricalField(SMALL, chunk_size=chunk_size, **known), jax.device_put(x)
    cond = None if cond is None else np.int32(cond)
    velocity, log_density, weights = exact(t, x, SMALL, log_weights)
    np.testing.assert_allclose(np.ravel(field(t, point, cond)), velocity, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(field.log_density(t, point, cond), log_density, rtol=1e-5)
    order = np.argsort(-weights)
    heaviest = field.posterior(t, point, 4, cond)
    if t > 0:  # before that all weights are equal
        np.testing.assert_array_equal(heaviest.indices, order[:4])
    # Below 1e-37 float32 has no normal numbers.
    np.testing.assert_allclose(heaviest.weights, weights[order[:4]], rtol=1e-4, atol=1e-37)
    epsilon = np.sum(np.sort(weights)[:-1])
    np.testing.assert_allclose(field.dominance(t, point, cond), epsilon, rtol=1e-4, atol=1e-37)


def test_dominance_far_below_rounding():
    """1 − w_k is 0 in float32 long before the sum of the others is."""
    data = np.float32([[1.0, 0.0], [-1.0, 0.0]])
    epsilon = EmpiricalField(data).dominance(0.5, jax.device_put(np.float32([4.0, 0.0])))
    np.testing.assert_allclose(epsilon, np.exp(-2 * 0.5 * 4 / 0.25), rtol=1e-4)


@pytest.mark.parametrize("epsilon", [1e-9, 1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("others", [1, 13, 50_000])
@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_dominance_spread_over_many_rows(others, epsilon, spread):
    """The others' remaining weight counts, however many share it, and moves the mean."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([[[1.0, 0.0]], np.tile([-1.0, 0.0], (others, 1))])
    rows[1:] += spread * rng.normal(size=(others, 2))
    rows = rows.astype(np.float32)
    # At t = ½ the log weights of the two places differ by 4 x_0.
    x = np.float32([np.log(others / epsilon) / 4, 0.0])
    velocity, _, weights = exact(0.5, x, rows)
    found = EmpiricalField(rows).values(0.5, jax.device_put(x))
    np.testing.assert_allclose(found.dominance, weights[1:].sum(), rtol=1e-4)
    assert int(found.heaviest) == 0
    np.testing.assert_allclose(found.shift[0], (weights @ (rows - rows[:1]))[0], rtol=1e-4)
    np.testing.assert_allclose(found.velocity, velocity, rtol=1e-5, atol=1e-6)


LOOK_AT_ALL = jax.jit(lambda field, t, x: jax.vmap(lambda x: field.values(t, x))(x))


@pytest.mark.parametrize(("scale", "t"), [(1, 0.999), (10, 0.99), (10, 0.999), (1000, 0.99)])
def test_compiled_dominance(scale, t):
    """A compiler rounds scores in one way for a sum and in another for a maximum."""
    rng = np.random.default_rng(0)
    data = (scale * rng.normal(size=(500, 8))).astype(np.float32)
    x = np.float32((1 - t) * rng.normal(size=(256, 8)) + t * data[rng.integers(0, 500, 256)])
    found = LOOK_AT_ALL(EmpiricalField(data), np.float32(t), x)
    _, log_density, weights = zip(*(exact(np.float32(t), point, data) for point in x), strict=True)
    np.testing.assert_allclose(found.dominance, 1 - np.max(weights, axis=1), atol=1e-5)
    # x − t x_j is (x − x_j) + (1 − t) x_j; without a fused multiply-add, which the compiler
    # may or may not use, the last term is rounded: by 6e-7 at a scale of 1,000.
    off = 1e-4 + 1e-6 * scale
    np.testing.assert_allclose(found.log_density, log_density, rtol=1e-5, atol=off)


@pytest.mark.usefixtures("own_messages")
def test_numbers_of_other_kinds():
    """Whole numbers beyond 32 bits, bytes in another order, lists and tuples."""
    rows = np.array([[2.0**32, 1.0], [3.0, 3.0]])
    for data in (rows.astype(np.int64), rows.astype(">f4"), rows.astype(">i8"), rows.tolist(),
                 tuple(map(tuple, rows.tolist()))):  # fmt: skip
        np.testing.assert_array_equal(EmpiricalField(data).data, rows.astype(np.float32))
    velocity = EmpiricalField(np.ones((1, 2))).__call__(0.5, np.zeros(2, int))
    np.testing.assert_array_equal(velocity, [2.0, 2.0])
    with pytest.raises(ValueError, match="data must hold real numbers, got dtype complex128"):
        EmpiricalField(np.ones((3, 2), complex))
    with pytest.raises(ValueError, match=r"labels must be below 2³¹, got 2199023255552"):
        EmpiricalField(np.ones((2, 2)), labels=np.array([0, 2**41]))


def test_float32_where_float64_is_allowed(x64):
    field = EmpiricalField(SMALL, labels=LABELS)
    values = field.values(0.5, jax.device_put(SMALL[3]), np.int32(1))
    assert values.velocity.dtype == values.log_density.dtype == np.float32
    assert sample(EmpiricalField(SMALL), SMALL[:2], num_steps=3).x1.dtype == np.float32


def test_log_densities_by_class_keep_to_the_chunk():
    def memory(rows):
        def loss(x, c, data, labels):
            field = EmpiricalField(data, labels=labels, chunk_size=64)
            return jax.vmap(lambda x, c: field.log_density(jnp.float32(0.5), x, c))(x, c)

        numbers = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
        classes = functools.partial(jax.ShapeDtypeStruct, dtype=np.int32)
        arguments = numbers((256, 8)), classes((256,)), numbers((rows, 8)), classes((rows,))
        return jax.jit(loss).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert memory(8192) <= memory(1024) + 2 * 4 * 8192


def test_calls_one_at_a_time_compile_once(compilations):
    field = EmpiricalField(SMALL, chunk_size=5)
    for seed in range(3):
        x = jax.device_put(np.float32(np.random.default_rng(seed).normal(size=(2, 3))))
        field(0.1 * seed, x), field.posterior(0.1 * seed, x, 4)
        if seed == 0:
            before = compilations()
    assert compilations() == before


@pytest.mark.parametrize("name", ["plain", "class and weights"])
def test_rows_on_the_host(tmp_path, name):
    """A memmap, a chunk at a time, gives what the same rows in memory give one by one."""
    mapped = np.memmap(tmp_path / "rows", np.float32, "w+", shape=SMALL.shape)
    mapped[:] = SMALL
    rng, known = np.random.default_rng(5), SETTINGS[name][0]
    x, t = rng.normal(size=(9, 2, 3)).astype(np.float32), np.float32(rng.uniform(0, 0.95, 9))
    cond = np.int32(rng.integers(-1, 3, 9)) if known else None
    near, far = (
        EmpiricalField(SMALL, chunk_size=5, **known),
        EmpiricalField(mapped, chunk_size=5, **known),
    )
    one_by_one = [
        near.values(t[i], jax.device_put(x[i]), None if cond is None else cond[i]) for i in range(9)
    ]
    for field in (near, far):
        for found, *wanted in zip(field.on_batch(t, x, cond), *one_by_one, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"field must be in memory, got a numpy\.memmap"):
        sample(far, x, cond)
    mapped[5, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r"data must be finite.* got row 5"):
        far.on_batch(t, x, cond)


def test_log_density_integrates_to_one():
    field = EmpiricalField(np.float32([[1.0, 0.5], [-1.5, 0.0], [0.0, -1.0]]))
    grid = np.linspace(-6, 6, 121, dtype=np.float32)  # a step of 0.1, where kernels have as much
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    look = jax.jit(jax.vmap(field.log_density, in_axes=(None, 0)))
    for t in (0.0, 0.5, 0.9):
        density = np.exp(np.float64(look(np.float32(t), points)))
        np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]) ** 2, 1.0, rtol=1e-3)


@jax.jit
def local(field, t, x):
    """The velocity, and the gradient and curvature of log p_t."""

    def score(x):
        found = jax.grad(lambda x: field.log_density(t, x))(x)
        return found, found

    curvature, found = jax.jacfwd(score, has_aux=True)(x)
    return field(t, x), found, curvature


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8])
def test_score_and_velocity_are_one(t, x64):
    """∇ log p_t = (t mean − x)/(1 − t)², with the mean that v = (mean − x)/(1 − t) tells."""
    field = EmpiricalField(np.float64(SMALL.reshape(37, 6)), chunk_size=8)
    x = np.random.default_rng(5).normal(size=6)
    velocity, score, _ = local(field, t, x)
    mean = x + (1 - t) * np.asarray(velocity)
    np.testing.assert_allclose(score, (t * mean - x) / (1 - t) ** 2, rtol=1e-9)


def test_second_derivatives(x64):
    """The curvature of log p_t against the difference quotient of its gradient."""
    field = EmpiricalField(np.float64(SMALL.reshape(37, 6)), chunk_size=8)
    x = np.random.default_rng(5).normal(size=6)
    hessian = local(field, 0.5, x)[2]
    for i, step in enumerate(1e-5 * np.eye(6)):
        above, below = (np.asarray(local(field, 0.5, moved)[1]) for moved in (x + step, x - step))
        np.testing.assert_allclose(hessian[i], (above - below) / 2e-5, rtol=1e-6)


def test_derivatives_against_difference_quotients(x64):
    """Derivatives of velocity and log density in x, t, data and weights; forward and reverse."""
    rng = np.random.default_rng(3)
    inputs = (rng.normal(size=(11, 3)), rng.uniform(0.5, 2, 11), rng.normal(size=3), np.array(0.6))
    step = tuple(rng.normal(size=leaf.shape) for leaf in inputs)
    aim = rng.normal(size=3)

    def value(inputs):
        data, weights, x, t = inputs
        field = EmpiricalField(data, weights=weights, chunk_size=4)
        return jnp.sum(aim * field(t, x)) + 1.3 * field.log_density(t, x)

    @jax.jit
    def slopes(inputs, step):
        return *jax.jvp(value, (inputs,), (step,)), jax.grad(value)(inputs)

    def moved(h):
        at = tuple(a + h * b for a, b in zip(inputs, step, strict=True))
        return float(slopes(at, step)[0])

    _, forward, gradient = slopes(inputs, step)
    reverse = sum(np.sum(a * b) for a, b in zip(gradient, step, strict=True))
    quotient = (moved(1e-5) - moved(-1e-5)) / 2e-5
    np.testing.assert_allclose([forward, reverse], quotient, rtol=1e-6)


def test_the_posteriors_weights_have_derivatives(x64):
    """Every one of the heaviest rows has derivatives, not the first alone."""
    data = np.random.default_rng(1).normal(size=(9, 2))
    weights = np.random.default_rng(2).uniform(0.5, 2, 9)
    x, step = np.array([0.3, -0.4]), np.array([0.7, 0.2])
    field = EmpiricalField(data, weights=weights, chunk_size=4)

    @jax.jit
    def look(x):
        return jax.jvp(lambda x: field.posterior(0.5, x, 3).weights, (x,), (step,))

    above, below = (np.asarray(look(x + h * step)[0]) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(look(x)[1], (above - below) / 2e-5, rtol=1e-6)


def test_gradients_keep_to_the_chunk():
    def memory(rows):
        def loss(x, data):
            field = EmpiricalField(data, chunk_size=64)
            return jnp.sum(jax.vmap(lambda x: field(jnp.float32(0.5), x))(x) ** 2)

        numbers = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
        compiled = jax.jit(jax.grad(loss)).lower(numbers((16, 32)), numbers((rows, 32))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # The field's own squared norms are one number a row.
    assert memory(4096) <= memory(512) + 2 * 4 * 4096


def test_half_precision_points():
    field, x = EmpiricalField(SMALL, chunk_size=5), SMALL[0].astype(jnp.bfloat16)
    velocity = field(0.5, jax.device_put(x))
    assert velocity.dtype == jnp.bfloat16
    wanted = field(0.5, jax.device_put(np.float32(x)))
    np.testing.assert_allclose(np.float64(velocity), wanted, rtol=1e-2, atol=1e-2)


BAD = {
    "no rows": ({"data": np.zeros((0, 2), np.float32)}, r"data must have rows, got shape \(0, 2\)"),
    "a scalar": ({"data": np.float32(1)}, r"data must have a leading axis of rows"),
    "nan": ({"data": np.array([[1.0, np.nan]], np.float32)}, r"data must be finite"),
    "empty rows": ({"data": np.zeros((3, 0), np.float32)}, r"data must have rows that are not emp"),
    "text": ({"data": np.array(["a"])}, r"data must hold real numbers"),
    "labels": ({"labels": np.zeros(3, int)}, r"labels must have shape \(37,\), got shape \(3,\)"),
    "float labels": ({"labels": np.zeros(37)}, r"labels must be whole numbers, got dtype float"),
    "negative labels": ({"labels": np.full(37, -1)}, r"labels must not be negative"),
    "weights": ({"weights": np.ones(3)}, r"weights must have shape \(37,\), got shape \(3,\)"),
    "negative weights": ({"weights": -np.ones(37)}, r"weights must not be negative, got -1"),
    "zero weights": ({"weights": np.zeros(37)}, r"weights must be positive somewhere"),
    "chunk": ({"chunk_size": 0}, r"chunk_size must be a whole number >= 1, got 0"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("own_messages")
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        EmpiricalField(**({"data": SMALL} | change))


def test_errors_of_calls():
    field = EmpiricalField(SMALL, labels=LABELS)
    x = SMALL[:2]
    with pytest.raises(ValueError, match=r"cond must be classes that have rows, or −1: \[0 1 2\]"):
        sample(field, x, np.array([0, 7]))
    with pytest.raises(ValueError, match=r"cond must be None for an EmpiricalField without labels"):
        sample(EmpiricalField(SMALL), x, np.array([0, 1]))
    with pytest.raises(ValueError, match=r"k must be a whole number in \[1, 37\], the number of"):
        field.posterior(0.5, jax.device_put(x[0]), 38)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 2, 3\)"):
        field.on_batch(0.5, x[0])
    with pytest.raises(ValueError, match=r"t must be a number or have shape \(2,\)"):
        field.on_batch(np.zeros(3), x)
