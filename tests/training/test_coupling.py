"""Couplings of noise and rows in `fit`: the pairing, what it costs, fixed pairs, and resuming."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment
from scipy.special import binom
from scipy.stats import norm

import kinetic_jax.training._fit as fit_module
from kinetic_jax import cfm_loss, fit, sample
from kinetic_jax.training._coupling import optimal_pairing

pytestmark = pytest.mark.long

KEY = jax.random.key(0)
ADAM, SGD = optax.adam(1e-2), optax.sgd(1e-2)
DATA = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
LABELS = np.arange(12, dtype=np.int32) % 3
PLAIN = {"key": KEY, "optimizer": ADAM, "batch_size": 4}
pairing = jax.jit(optimal_pairing)


class Affine(eqx.Module):
    """v = A x + t b + E[label]."""

    matrix: jax.Array
    slope: jax.Array
    table: jax.Array

    def __call__(self, t, x, cond=None):
        velocity = self.matrix.astype(x.dtype) @ x + t.astype(x.dtype) * self.slope.astype(x.dtype)
        return velocity if cond is None else velocity + self.table[cond]


def affine(dtype=np.float32):
    rng = np.random.default_rng(1)
    return Affine(*(jnp.asarray(rng.normal(size=s), dtype) for s in ((2, 2), 2, (4, 2))))


def assert_same(first, second):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


def squared_distances(x0, x1):
    return np.sum((np.float64(x0)[:, None] - np.float64(x1)[None]) ** 2, axis=-1)


SETS = {
    "one": lambda rng: (rng.normal(size=(1, 3)), rng.normal(size=(1, 3))),
    "two": lambda rng: (rng.normal(size=(2, 3)), rng.normal(size=(2, 3))),
    "many": lambda rng: (rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 2),
    "far away": lambda rng: (rng.normal(size=(60, 2)), 0.1 * rng.normal(size=(60, 2)) + 300),
    "many dimensions": lambda rng: (rng.normal(size=(32, 500)), rng.normal(size=(32, 500))),
    "ties": lambda rng: tuple(rng.integers(-1, 2, size=(2, 40, 2)).astype(float)),
    "one row over and over": lambda rng: (rng.normal(size=(20, 2)), np.ones((20, 2))),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SETS)
def test_the_pairing_is_that_of_scipy(name, seed):
    x0, x1 = (each.astype(np.float32) for each in SETS[name](np.random.default_rng(seed)))
    of_rows = np.asarray(pairing(x0, x1))
    assert sorted(of_rows) == list(range(len(x0)))
    costs = squared_distances(x0, x1)
    least = costs[linear_sum_assignment(costs)].sum()
    got = costs[of_rows, np.arange(len(x1))].sum()
    assert got == pytest.approx(least, rel=1e-6)


def test_one_dimension_is_sorted():
    x0, x1 = np.random.default_rng(0).normal(size=(2, 50, 1)).astype(np.float32)
    want = np.argsort(x0[:, 0])[np.argsort(np.argsort(x1[:, 0]))]
    np.testing.assert_array_equal(pairing(x0, x1), want)


@pytest.mark.parametrize("huge", [1e31, 3e38])
def test_rows_whose_products_overflow_are_paired_somehow(huge):
    x1 = np.full((4, 2), huge, np.float32) * np.array([[1], [-1], [1], [-1]], np.float32)
    assert sorted(np.asarray(pairing(np.ones((4, 2), np.float32), x1))) == [0, 1, 2, 3]


def order_statistic(i, n):
    """The mean of the i-th smallest of n standard normal numbers."""
    weight = n * binom(n - 1, i)
    density = lambda x: (  # noqa: E731
        x * weight * norm.cdf(x) ** i * norm.sf(x) ** (n - 1 - i) * norm.pdf(x)
    )
    return quad(density, -9, 9)[0]


def test_energy_of_batches_in_one_dimension():
    """½ E||x1 − x0||² = (μ² + 1 + s² − 2 s Σ m_i²/n)/2 with the order statistics m; to W2²/2."""
    mean, scale, number = 1.5, 0.5, 500
    paired = jax.jit(jax.vmap(lambda x0, x1: jnp.mean((x1 - x0[optimal_pairing(x0, x1)]) ** 2) / 2))
    energies = []
    for size in (2, 32):
        x0, x1 = np.random.default_rng(size).normal(size=(2, number, size, 1))
        got = np.asarray(paired(x0.astype(np.float32), (mean + scale * x1).astype(np.float32)))
        kept = sum(order_statistic(i, size) ** 2 for i in range(size)) / size
        want = (mean**2 + 1 + scale**2 - 2 * scale * kept) / 2
        assert abs(got.mean() - want) < 4 * got.std() / np.sqrt(number)
        energies.append(want)
    transport, independent = (mean**2 + (1 - scale) ** 2) / 2, (mean**2 + 1 + scale**2) / 2
    assert independent > energies[0] > energies[1] > transport
    assert energies[1] - transport < (independent - transport) / 12


def test_given_noise_of_the_loss():
    """The same times and formula: at the noise that is drawn, the loss of none given."""
    x0 = jax.random.normal(jax.random.split(KEY)[1], DATA.shape)
    loss = jax.jit(lambda x0: cfm_loss(affine(), KEY, DATA, x0=x0))
    np.testing.assert_allclose(loss(x0), cfm_loss(affine(), KEY, DATA), rtol=1e-5)
    # v = x1 − x0 leaves nothing: with x0 = −x1 that is 2 x1.
    still = jax.jit(lambda x1: cfm_loss(lambda t, x, c: 2 * c, KEY, x1, x1, x0=-x1))
    np.testing.assert_allclose(still(DATA), 0, atol=1e-10)


def test_given_noise_is_differentiable_and_may_be_a_pytree():
    def loss(x0):
        return jnp.mean(cfm_loss(lambda t, x, c: jax.tree.map(jnp.zeros_like, x), KEY, x1, x0=x0))

    x1 = {"a": DATA, "b": DATA[:, :1]}
    slope = jax.grad(loss)(jax.tree.map(jnp.zeros_like, x1))
    np.testing.assert_allclose(slope["b"], -2 * x1["b"] / 12, rtol=1e-6)


@functools.partial(jax.jit, static_argnums=1)
def draws(step, size):
    """The rows, times and noise of a step of `fit`."""
    draw, _, rest = jax.random.split(jax.random.fold_in(KEY, step), 3)
    key_time, key_noise = jax.random.split(rest)
    rows = jax.random.randint(draw, (size,), 0, len(DATA))
    return rows, jax.random.uniform(key_time, (size,)), jax.random.normal(key_noise, (size, 2))


def loss_by_hand(field, t, x0, x1, table):
    matrix, slope = np.float64(field.matrix), np.float64(field.slope)
    t = np.float64(t)[:, None]
    x = (1 - t) * np.float64(x0) + t * np.float64(x1)
    return np.mean(np.sum((x @ matrix.T + t * slope + table - (x1 - x0)) ** 2, axis=1))


@pytest.mark.parametrize("coupling", ["minibatch_ot", "pairs"])
def test_the_loss_of_a_step_by_hand(coupling):
    """Labels stay with their rows; the noise is that of "independent", in another order."""
    size = 7
    rows, t, x0 = map(np.asarray, draws(0, size))
    noise = np.random.default_rng(3).normal(size=DATA.shape).astype(np.float32)
    if coupling == "pairs":
        x0 = noise[rows]
    else:
        x0 = x0[linear_sum_assignment(squared_distances(x0, DATA[rows]).T)[1]]
    want = loss_by_hand(affine(), t, x0, DATA[rows], np.asarray(affine().table)[LABELS[rows]])
    given = noise if coupling == "pairs" else coupling
    settings = {"key": KEY, "optimizer": SGD, "batch_size": size, "cond": LABELS, "num_steps": 1}
    history = fit(affine(), DATA, coupling=given, **settings).history
    np.testing.assert_allclose(history.loss, [want], rtol=1e-5)


NOISE = np.random.default_rng(4).normal(size=DATA.shape).astype(np.float32)
COUPLINGS = {"minibatch_ot": "minibatch_ot", "pairs": NOISE}


@pytest.fixture(scope="module", params=COUPLINGS)
def undisturbed(request):
    options = PLAIN | {"coupling": COUPLINGS[request.param]}
    options |= {"cond": LABELS, "null_cond": np.int32(3), "cond_dropout": 0.3}
    return fit(affine(), DATA, num_steps=20, **options), options


def test_resumed_runs_are_bitwise_the_same(undisturbed, tmp_path):
    want, options = undisturbed
    for steps in (7, 8, 20):
        got = fit(affine(), DATA, num_steps=steps, checkpoint_dir=tmp_path, **options)
    assert got.resumed_at == 8
    assert_same((got.field, got.ema_field, got.history), (want.field, want.ema_field, want.history))


def test_killed_runs_are_bitwise_the_same(undisturbed, tmp_path, monkeypatch):
    """The checkpoint of step 10 is complete, and nothing after it."""
    want, options = undisturbed
    write = fit_module.write_checkpoint

    def killed(folder, step, *rest):
        write(folder, step, *rest)
        if step == 10:
            raise SystemExit

    folder = {"checkpoint_dir": tmp_path, "checkpoint_every": 5}
    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "write_checkpoint", killed)
        with pytest.raises(SystemExit):
            fit(affine(), DATA, num_steps=20, **folder, **options)
    got = fit(affine(), DATA, num_steps=20, **folder, **options)
    assert got.resumed_at == 10
    assert_same((got.field, got.ema_field, got.history), (want.field, want.ema_field, want.history))


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["one step a call", "doubling"])
def test_calls_do_not_change_the_numbers(seconds, undisturbed, monkeypatch):
    want, options = undisturbed
    monkeypatch.setattr(fit_module, "SECONDS_PER_CALL", seconds)
    got = fit(affine(), DATA, num_steps=20, **options)
    assert_same((got.field, got.history), (want.field, want.history))


CHANGES = {
    ("independent", "minibatch_ot"): r"'independent', got 'minibatch_ot': resume with",
    ("minibatch_ot", "pairs"): r"got another: resume with",
    ("pairs", "other pairs"): r"got another: resume with",
}


@pytest.mark.parametrize(("change", "message"), CHANGES.items(), ids=map(" to ".join, CHANGES))
def test_another_coupling_is_refused(change, message, tmp_path):
    couplings = {"pairs": NOISE, "other pairs": NOISE + 1}
    first, second = (couplings.get(name, name) for name in change)
    options = PLAIN | {"num_steps": 2, "checkpoint_dir": tmp_path}
    fit(affine(), DATA, coupling=first, **options)
    with pytest.raises(ValueError, match=f"coupling must be what the checkpoints .*{message}"):
        fit(affine(), DATA, coupling=second, **options)
    fit(affine(), DATA, coupling=first, **options | {"num_steps": 3})


def test_checkpoints_of_older_versions_are_independent(tmp_path, monkeypatch):
    stored = fit_module.stored_settings

    def before(*args):
        return {name: value for name, value in stored(*args).items() if name != "coupling"}

    options = PLAIN | {"checkpoint_dir": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "stored_settings", before)
        fit(affine(), DATA, num_steps=2, **options)
    with pytest.raises(ValueError, match=r"coupling must be .*'independent', got 'minibatch_ot'"):
        fit(affine(), DATA, num_steps=4, coupling="minibatch_ot", **options)
    got = fit(affine(), DATA, num_steps=4, **options)
    assert got.resumed_at == 2
    assert_same(got.field, fit(affine(), DATA, num_steps=4, **PLAIN).field)


class Parts(eqx.Module):
    """`Affine` of a pytree with the same numbers."""

    inner: Affine

    def __call__(self, t, x, cond=None):
        velocity = self.inner(t, jnp.concatenate([x["a"], x["b"][:, 0]]), cond)
        return {"a": velocity[:1], "b": velocity[1:, None]}


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_samples_of_several_arrays(coupling):
    def parts(rows):
        return {"a": rows[:, :1], "b": rows[:, 1:, None]}

    given = COUPLINGS[coupling]
    want = fit(affine(), DATA, num_steps=5, coupling=given, **PLAIN)
    given = given if isinstance(given, str) else parts(given)
    got = fit(Parts(affine()), parts(DATA), num_steps=5, coupling=given, **PLAIN)
    np.testing.assert_allclose(got.history.loss, want.history.loss, rtol=1e-6)
    np.testing.assert_allclose(got.field.inner.matrix, want.field.matrix, rtol=1e-5)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_double_precision(coupling, x64):
    data = DATA.astype(np.float64)
    got = fit(affine(np.float64), data, num_steps=3, coupling=COUPLINGS[coupling], **PLAIN)
    assert got.field.matrix.dtype == np.float64
    # The precision of the data decides, whatever the default is.
    again = fit(affine(), DATA, num_steps=3, coupling=COUPLINGS[coupling], **PLAIN)
    assert again.field.matrix.dtype == np.float32
    want = cfm_loss(affine(np.float64), KEY, data, x0=NOISE)
    assert want.dtype == np.float64


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_half_precision(coupling):
    """Weights and data of 16 bits: the noise is drawn, paired and subtracted in float32."""
    data, given = jnp.asarray(DATA, jnp.bfloat16), COUPLINGS[coupling]
    wide = fit(affine(), np.asarray(data, np.float32), num_steps=1, coupling=given, **PLAIN)
    for rows in (data, np.asarray(data, np.float32)):
        got = fit(affine(jnp.bfloat16), rows, num_steps=1, coupling=given, **PLAIN)
        assert got.field.matrix.dtype == jnp.bfloat16
        np.testing.assert_allclose(got.history.loss, wide.history.loss, rtol=0.03)


WRONG = {
    "a name": ("optimal", r"be 'independent', 'minibatch_ot' or the noise .*, got 'optimal'"),
    "none": (None, "be an array of numbers, got None"),
    "a number": (1.0, r"have the shape of data, \(12, 2\), got shape \(\)"),
    "fewer rows": (NOISE[:5], r"have the shape of data, \(12, 2\), got shape \(5, 2\)"),
    "another event": (NOISE[:, :1], r"have the shape of data, \(12, 2\), got shape \(12, 1\)"),
    "integers": (np.ones((12, 2), int), "be floating, got dtype int"),
    "not finite": (np.full((12, 2), np.nan, np.float32), r"be finite, got nan \(at \(0, 0\)"),
    "a pytree": ({"a": NOISE}, "be an array of numbers"),
}


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(("coupling", "message"), WRONG.values(), ids=WRONG)
def test_wrong_couplings(coupling, message, tmp_path):
    options = PLAIN | {"num_steps": 1, "checkpoint_dir": tmp_path / "new"}
    with pytest.raises(ValueError, match=f"coupling must {message}"):
        fit(affine(), DATA, coupling=coupling, **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("own_messages")
def test_wrong_noise_of_pytrees_and_files(tmp_path):
    data = {"a": DATA}
    for coupling, message in (
        (NOISE, "be a pytree of arrays, as data"),
        ({"b": NOISE}, "have the structure"),
        ({"a": NOISE[:, :1]}, "have rows of the shapes"),
        ({"a": NOISE[:5]}, "have the shape of data"),
    ):
        with pytest.raises(ValueError, match=f"coupling must {message}"):
            fit(lambda t, x, c: x, data, num_steps=1, coupling=coupling, **PLAIN)
    mapped = np.memmap(tmp_path / "noise", np.float32, "w+", shape=DATA.shape)
    with pytest.raises(ValueError, match=r"coupling must be in memory, got a numpy\.memmap"):
        fit(affine(), DATA, num_steps=1, coupling=mapped, **PLAIN)
    for x0, message in (
        (NOISE[:5], r"have the shape of x1, \(12, 2\)"),
        (np.ones((12, 2), int), "be floating"),
        (mapped, "be in memory"),
        ({"a": NOISE}, "be an array of numbers"),
    ):
        with pytest.raises(ValueError, match=f"x0 must {message}"):
            cfm_loss(affine(), KEY, DATA, x0=x0)


class Straight(eqx.Module):
    """The velocity of the straight lines from x0 to m + s x0, in one dimension."""

    m: jax.Array
    s: jax.Array

    def __call__(self, t, x, cond=None):
        return self.m + (self.s - 1) * (x - t * self.m) / (1 - t + t * self.s)


def test_a_gaussian_is_carried_along_straight_lines():
    """In one dimension the least loss is that of the optimal map, whose energy is W2²/2."""
    mean, scale = 1.5, 0.5
    data = np.random.default_rng(0).normal(mean, scale, (4000, 1)).astype(np.float32)
    mean, scale = float(data.mean()), float(data.std())
    start = Straight(jnp.zeros(()), jnp.ones(()))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 300))
    options = {"key": KEY, "num_steps": 300, "optimizer": optimizer, "batch_size": 64}
    result = fit(start, data, coupling="minibatch_ot", **options)
    x0 = np.random.default_rng(1).normal(size=(2000, 1)).astype(np.float32)
    energy = np.asarray(sample(result.field, x0, num_steps=20).energy.total)
    want = np.mean((mean + (scale - 1) * x0) ** 2) / 2
    assert np.mean(energy) == pytest.approx(want, rel=0.03)
    independent = fit(start, data, **options)
    assert result.history.loss[-50:].mean() < independent.history.loss[-50:].mean() / 10
