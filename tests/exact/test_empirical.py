"""`EmpiricalField` against float64 over all rows at once, and on flows whose end is known."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetic_jax import EmpiricalField, cfg, energy_term, gain, kts, noise, sample

KEY = jax.random.key(0)
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


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_against_float64(query, t):
    """In 784 dimensions, near duplicates included, as well as half an ulp of x determines it."""
    t, e = np.float32(t), np.random.default_rng(5).normal(size=784)
    x = jnp.asarray(query(float(t), e), jnp.float32)
    field = EmpiricalField(ROWS, chunk_size=100)
    velocity, log_density, _ = exact(t, x, ROWS)
    changes = []
    for seed in range(3):
        signs = np.random.default_rng(seed).choice([-0.5, 0.5], size=784)
        moved = exact(t, np.asarray(x, float) + signs * np.spacing(np.abs(np.asarray(x))), ROWS)
        changes.append([np.linalg.norm(moved[0] - velocity), abs(moved[1] - log_density)])
    by_ulp = np.median(changes, axis=0)
    size = max(np.linalg.norm(velocity), np.linalg.norm(x))
    found, found_density = LOOK(field, t, x)
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


@pytest.mark.parametrize("chunk_size", [5, 64])
@pytest.mark.parametrize("t", [0.0, 0.4, 0.8])
@pytest.mark.parametrize(("settings", "cond", "log_weights"), SETTINGS.values(), ids=SETTINGS)
def test_labels_and_weights(settings, cond, log_weights, t, chunk_size):
    t, x = np.float32(t), jnp.asarray(np.random.default_rng(5).normal(size=(2, 3)), jnp.float32)
    field = EmpiricalField(SMALL, chunk_size=chunk_size, **settings)
    cond = None if cond is None else jnp.int32(cond)
    velocity, log_density, weights = exact(t, x, SMALL, log_weights)
    np.testing.assert_allclose(np.ravel(field(t, x, cond)), velocity, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(field.log_density(t, x, cond), log_density, rtol=1e-5)
    order = np.argsort(-weights)
    heaviest = field.posterior(t, x, 4, cond)
    if t > 0:  # before that all weights are equal
        np.testing.assert_array_equal(heaviest.indices, order[:4])
    # Below 1e-37 float32 has no normal numbers.
    np.testing.assert_allclose(heaviest.weights, weights[order[:4]], rtol=1e-4, atol=1e-37)
    epsilon = np.sum(np.sort(weights)[:-1])
    np.testing.assert_allclose(field.dominance(t, x, cond), epsilon, rtol=1e-4, atol=1e-37)


def test_dominance_far_below_rounding():
    """1 − w_k is 0 in float32 long before the sum of the others is."""
    data = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    epsilon = EmpiricalField(data).dominance(0.5, jnp.array([4.0, 0.0]))
    np.testing.assert_allclose(epsilon, np.exp(-2 * 0.5 * 4 / 0.25), rtol=1e-4)


@pytest.mark.parametrize("epsilon", [1e-9, 1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("others", [1, 13, 1000, 50_000])
@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_dominance_spread_over_many_rows(others, epsilon, spread):
    """What is left to the others counts, however many share it, and moves the mean."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([[[1.0, 0.0]], np.tile([-1.0, 0.0], (others, 1))])
    rows[1:] += spread * rng.normal(size=(others, 2))
    rows = rows.astype(np.float32)
    # At t = ½ the log weights of the two places differ by 4 x_0.
    x = np.float32([np.log(others / epsilon) / 4, 0.0])
    velocity, _, weights = exact(0.5, x, rows)
    found = EmpiricalField(rows).values(0.5, jnp.asarray(x))
    np.testing.assert_allclose(found.dominance, weights[1:].sum(), rtol=1e-4)
    assert int(found.heaviest) == 0
    np.testing.assert_allclose(found.shift[0], (weights @ (rows - rows[:1]))[0], rtol=1e-4)
    np.testing.assert_allclose(found.velocity, velocity, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("scale", "t"), [(1, 0.999), (10, 0.99), (10, 0.999), (1000, 0.99)])
def test_compiled_dominance(scale, t):
    """A compiler rounds scores in one way for a sum and in another for a maximum."""
    rng = np.random.default_rng(0)
    data = (scale * rng.normal(size=(500, 8))).astype(np.float32)
    x = np.float32((1 - t) * rng.normal(size=(256, 8)) + t * data[rng.integers(0, 500, 256)])
    look = jax.jit(lambda field, t, x: jax.vmap(lambda x: field.values(t, x))(x))
    found = look(EmpiricalField(data), jnp.float32(t), jnp.asarray(x))
    for i in range(256):
        _, log_density, weights = exact(np.float32(t), x[i], data)
        np.testing.assert_allclose(found.dominance[i], 1 - weights.max(), atol=1e-5)
        # x − t x_j is (x − x_j) + (1 − t) x_j; without a fused multiply-add, which the compiler
        # may or may not use, the last term is rounded: by 6e-7 at a scale of 1,000.
        off = 1e-4 + 1e-6 * scale
        np.testing.assert_allclose(found.log_density[i], log_density, rtol=1e-5, atol=off)


@pytest.mark.usefixtures("own_messages")
def test_numbers_of_other_kinds():
    """Whole numbers beyond 32 bits, bytes in another order, lists and tuples."""
    rows = np.array([[2.0**32, 1.0], [3.0, 3.0]])
    for data in (rows.astype(np.int64), rows.astype(">f4"), rows.astype(">i8"), rows.tolist(),
                 tuple(map(tuple, rows.tolist()))):  # fmt: skip
        np.testing.assert_array_equal(EmpiricalField(data).data, rows.astype(np.float32))
    velocity = EmpiricalField(np.ones((1, 2))).__call__(0.5, jnp.zeros(2, int))
    np.testing.assert_array_equal(velocity, [2.0, 2.0])
    with pytest.raises(ValueError, match="data must hold real numbers, got dtype complex128"):
        EmpiricalField(np.ones((3, 2), complex))
    with pytest.raises(ValueError, match=r"labels must be below 2³¹, got 2199023255552"):
        EmpiricalField(np.ones((2, 2)), labels=np.array([0, 2**41]))


def test_float32_where_float64_is_allowed(x64):
    data, x = jnp.asarray(SMALL), jnp.asarray(SMALL[3], jnp.float32)
    field = EmpiricalField(data, labels=LABELS)
    values = field.values(0.5, x, jnp.int32(1))
    assert values.velocity.dtype == values.log_density.dtype == jnp.float32
    assert sample(EmpiricalField(data), data[:2], num_steps=3).x1.dtype == jnp.float32


def test_log_densities_by_class_keep_to_the_chunk():
    def memory(rows):
        def loss(x, c, data, labels):
            field = EmpiricalField(data, labels=labels, chunk_size=64)
            return jax.vmap(lambda x, c: field.log_density(jnp.float32(0.5), x, c))(x, c)

        arguments = (jnp.ones((256, 8)), jnp.ones(256, jnp.int32), jnp.ones((rows, 8)),
                     jnp.ones(rows, jnp.int32))  # fmt: skip
        return jax.jit(loss).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert memory(8192) <= memory(1024) + 2 * 4 * 8192


def test_calls_one_at_a_time_compile_once(compilations):
    field = EmpiricalField(SMALL)
    for seed in range(3):
        x = jnp.asarray(np.random.default_rng(seed).normal(size=(2, 3)), jnp.float32)
        field(0.1 * seed, x), field.posterior(0.1 * seed, x, 3)
        if seed == 0:
            before = compilations()
    assert compilations() == before


@pytest.mark.parametrize("settings", [{}, {"labels": LABELS, "weights": WEIGHTS}], ids=str)
def test_rows_on_the_host(tmp_path, settings):
    """A memmap, a chunk at a time, gives what the same rows in memory give one by one."""
    mapped = np.memmap(tmp_path / "rows", np.float32, "w+", shape=SMALL.shape)
    mapped[:] = SMALL
    x = np.random.default_rng(5).normal(size=(9, 2, 3)).astype(np.float32)
    cond = jnp.asarray(np.random.default_rng(5).integers(-1, 3, 9)) if settings else None
    t = jnp.asarray(np.random.default_rng(5).uniform(0, 0.95, 9), jnp.float32)
    near, far = EmpiricalField(SMALL, **settings), EmpiricalField(mapped, chunk_size=10, **settings)
    wanted = jax.vmap(near.values)(t, jnp.asarray(x), cond)
    for field in (near, far):
        for found, want in zip(field.on_batch(t, x, cond), wanted, strict=True):
            np.testing.assert_allclose(found, want, rtol=2e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"field must be in memory, got a numpy\.memmap"):
        sample(far, jnp.asarray(x), cond)
    mapped[5, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r"data must be finite.* got row 5"):
        far.on_batch(t, x, cond)


def test_log_density_integrates_to_one():
    field = EmpiricalField(jnp.array([[1.0, 0.5], [-1.5, 0.0], [0.0, -1.0]]))
    grid = np.linspace(-6, 6, 241, dtype=np.float32)
    points = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)
    for t in (0.0, 0.5, 0.9):
        density = jnp.exp(jax.vmap(lambda x, t=t: field.log_density(t, x))(points))
        np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]) ** 2, 1.0, rtol=1e-3)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8])
def test_score_and_velocity_are_one(t, x64):
    """∇ log p_t = (t mean − x)/(1 − t)², with the mean that v = (mean − x)/(1 − t) tells."""
    data = jnp.asarray(SMALL.reshape(37, 6), jnp.float64)
    field, x, t = (
        EmpiricalField(data, chunk_size=8),
        jnp.asarray(np.random.default_rng(5).normal(size=6)),
        jnp.array(t),
    )
    mean = x + (1 - t) * field(t, x)
    score = jax.grad(lambda x: field.log_density(t, x))(x)
    np.testing.assert_allclose(score, (t * mean - x) / (1 - t) ** 2, rtol=1e-9)


@pytest.mark.parametrize("what", ["velocity", "log_density"])
@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_derivatives_against_difference_quotients(what, mode, x64):
    """In x, in t, in the data and in the weights."""
    rng = np.random.default_rng(3)
    data, x = jnp.asarray(rng.normal(size=(11, 3))), jnp.asarray(rng.normal(size=3))
    t, weights = jnp.array(0.6), jnp.asarray(rng.uniform(0.5, 2, 11))
    aim = jnp.asarray(rng.normal(size=3))

    def value(inputs):
        data, t, x, weights = inputs
        field = EmpiricalField(data, weights=weights, chunk_size=4)
        if what == "log_density":
            return field.log_density(t, x)
        return jnp.sum(aim * field(t, x))

    inputs = (data, t, x, weights)
    step = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), inputs)
    if mode == "forward":
        slope = jax.jvp(value, (inputs,), (step,))[1]
    else:
        gradient = jax.grad(value)(inputs)
        slope = sum(
            jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (gradient, step)), strict=True)
        )

    def moved(h):
        return value(jax.tree.map(lambda a, b: a + h * b, inputs, step))

    quotient = (moved(1e-5) - moved(-1e-5)) / 2e-5
    np.testing.assert_allclose(slope, quotient, rtol=1e-6)


def test_the_posteriors_weights_have_derivatives(x64):
    """Of every one of the heaviest rows, not of the first alone."""
    data = jnp.asarray(np.random.default_rng(1).normal(size=(9, 2)))
    weights = jnp.asarray(np.random.default_rng(2).uniform(0.5, 2, 9))
    x, step = jnp.array([0.3, -0.4]), jnp.array([0.7, 0.2])

    def heaviest(x):
        return EmpiricalField(data, weights=weights, chunk_size=4).posterior(jnp.array(0.5), x, 3)

    slopes = jax.jvp(lambda x: heaviest(x).weights, (x,), (step,))[1]
    quotient = (heaviest(x + 1e-5 * step).weights - heaviest(x - 1e-5 * step).weights) / 2e-5
    np.testing.assert_allclose(slopes, quotient, rtol=1e-6)


def test_second_derivatives(x64):
    """The curvature of log p_t against the difference quotient of its gradient."""
    data = jnp.asarray(np.random.default_rng(1).normal(size=(9, 2)))
    field, x = EmpiricalField(data, chunk_size=4), jnp.array([0.3, -0.4])
    gradient = jax.grad(lambda x: field.log_density(jnp.array(0.5), x))
    hessian = jax.jacfwd(gradient)(x)
    step = 1e-5 * jnp.eye(2)
    rows = [(gradient(x + step[i]) - gradient(x - step[i])) / 2e-5 for i in range(2)]
    np.testing.assert_allclose(hessian, jnp.stack(rows), rtol=1e-6)


def test_gradients_keep_to_the_chunk():
    def memory(rows):
        data = jnp.ones((rows, 32))

        def loss(x, data):
            field = EmpiricalField(data, chunk_size=64)
            return jnp.sum(jax.vmap(lambda x: field(jnp.float32(0.5), x))(x) ** 2)

        compiled = jax.jit(jax.grad(loss)).lower(jnp.ones((16, 32)), data).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # The field's own squared norms are one number a row.
    assert memory(4096) <= memory(512) + 2 * 4 * 4096


ATOM = np.array([[3.0, -1.0, 2.0, 0.5]], np.float32)
X0 = np.asarray(noise(KEY, jnp.arange(5), (4,)))
SOLVERS = [diffrax.Euler(), diffrax.Midpoint(), diffrax.Heun(), diffrax.Bosh3(), diffrax.Tsit5()]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("grid", ["uniform", "cosine"])
def test_one_atom_is_reached_by_every_solver(solver, grid):
    """On [0, 1], where Heun, Bosh3 and Tsit5 look at t = 1, at which v* is 0/0."""
    result = sample(EmpiricalField(ATOM), X0, solver=solver, num_steps=20, grid=grid)
    np.testing.assert_allclose(result.x1, np.broadcast_to(ATOM, X0.shape), atol=2e-4)
    energy = np.sum((ATOM - X0) ** 2, axis=1) / 2
    np.testing.assert_allclose(result.energy.total, energy, rtol=1e-4)


def test_one_atom_under_adaptive_control():
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    result = sample(EmpiricalField(ATOM), X0, controller=controller).check()
    np.testing.assert_allclose(result.x1, np.broadcast_to(ATOM, X0.shape), atol=1e-3)
    energy = np.sum((ATOM - X0) ** 2, axis=1) / 2
    np.testing.assert_allclose(result.energy.total, energy, rtol=1e-3)


@pytest.mark.parametrize("eta", [0.75, 1.0, 1.5, 2.0])
def test_one_atom_under_a_constant_gain(eta, x64):
    """E = η² ||X − x0||²/(2 (2η − 1)), singular at the end for η < 1: hence the fine end."""
    nodes = 1 - np.linspace(1, 0, 2001) ** 4
    x0 = jnp.asarray(X0, jnp.float64)
    result = sample(
        gain(lambda t: eta + 0 * t)(EmpiricalField(ATOM.astype(float))),
        x0, solver=diffrax.Heun(), grid=nodes,
    )  # fmt: skip
    energy = eta**2 * np.sum((ATOM - np.asarray(x0)) ** 2, axis=1) / (2 * (2 * eta - 1))
    np.testing.assert_allclose(result.energy.total, energy, rtol=2e-3)


def test_one_atom_under_a_linear_launch(x64):
    """||X − x(τ)|| = ||X − x0|| (1 − τ)^{1 + α0 (1 − 1/τ)} e^{−α0}."""
    x0, alpha0, tau = jnp.asarray(X0, jnp.float64), 0.3, 0.6
    result = sample(
        kts(alpha0=alpha0)(EmpiricalField(ATOM.astype(float))),
        x0, solver=diffrax.Tsit5(), num_steps=100, t1=tau,
    )  # fmt: skip
    left = np.linalg.norm(ATOM - np.asarray(result.x1), axis=1) / np.linalg.norm(
        ATOM - np.asarray(x0), axis=1
    )
    np.testing.assert_allclose(left, (1 - tau) ** (1 + alpha0 * (1 - 1 / tau)) * np.exp(-alpha0))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 999))
def test_paths_end_on_rows(seed):
    data = jnp.asarray(np.random.default_rng(seed).normal(size=(20, 3)) * 3, jnp.float32)
    x0 = noise(jax.random.key(seed), jnp.arange(6), (3,))
    x1 = sample(EmpiricalField(data), x0, solver=diffrax.Heun(), num_steps=60).x1
    nearest = np.min(np.linalg.norm(np.asarray(x1)[:, None] - np.asarray(data)[None], axis=2), 1)
    assert (nearest < 2e-2).all()


def test_numbers_do_not_recompile(compilations):
    x0 = noise(KEY, jnp.arange(4), (6,))
    for seed in range(3):
        rows = np.random.default_rng(seed).normal(size=(30, 6)).astype(np.float32)
        sample(kts(0.01 * seed)(EmpiricalField(rows)), x0, num_steps=3)
        if seed == 0:
            before = compilations()
    assert compilations() == before


def test_guided_by_class():
    data = jnp.array([[4.0, 0.0], [0.0, 4.0], [-4.0, 0.0]])
    field = EmpiricalField(data, labels=jnp.array([0, 1, 1]))
    guided = cfg(1.5, field.null_cond)(field)
    x0 = noise(KEY, jnp.arange(8), (2,))
    x1 = sample(guided, x0, jnp.zeros(8, int), num_steps=100).x1
    np.testing.assert_allclose(x1, jnp.broadcast_to(data[0], (8, 2)), atol=0.1)


def test_half_precision_points():
    field, x = EmpiricalField(SMALL), jnp.asarray(SMALL[0], jnp.bfloat16)
    velocity = field(jnp.array(0.5), x)
    assert velocity.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        velocity.astype(float), field(jnp.array(0.5), x.astype(jnp.float32)), rtol=1e-2, atol=1e-2
    )


def test_other_peoples_solves_stay_finite():
    """A Diffrax solve of their own looks at t = 1 itself: v* is finite there, 0 on an atom."""
    field = EmpiricalField(ATOM)
    np.testing.assert_array_equal(field(jnp.array(1.0), jnp.asarray(ATOM[0])), jnp.zeros(4))
    rates = energy_term(field).vf(1.0, _state(jnp.asarray(ATOM[0])), None)
    assert np.isfinite(rates.energy)


def _state(x):
    from kinetic_jax import energy_state

    return energy_state(x)


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
    x = jnp.asarray(SMALL[:2])
    with pytest.raises(ValueError, match=r"cond must be classes that have rows, or −1: \[0 1 2\]"):
        sample(field, x, jnp.array([0, 7]))
    with pytest.raises(ValueError, match=r"cond must be None for an EmpiricalField without labels"):
        sample(EmpiricalField(SMALL), x, jnp.array([0, 1]))
    with pytest.raises(ValueError, match=r"k must be a whole number in \[1, 37\], the number of"):
        field.posterior(0.5, x[0], 38)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, 2, 3\)"):
        field.on_batch(0.5, x[0])
    with pytest.raises(ValueError, match=r"t must be a number or have shape \(2,\)"):
        field.on_batch(np.zeros(3), x)
