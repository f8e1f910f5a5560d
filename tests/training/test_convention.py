"""One exact denoiser, presented in many ways, is read rightly; models that say nothing fit none."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.integrate import quad

import kinetic_jax as kj
from kinetic_jax.fields import Field, Schedule, ddpm_schedule, vp_schedule
from kinetic_jax.networks import network_field
from kinetic_jax.training import identify_convention
from kinetic_jax.training._evidence import (
    Reference,
    may_be_gaussian,
    products_in_bins,
    reason_against,
    share_of_linear_correction,
)
from kinetic_jax.training._readings import Convention, known_clocks, known_rates, times_of

KEY = jax.random.key(0)
# A mixture of three Gaussians whose coordinates have unit variance together, so that sigma_data is
# 1 for all tests and they share programs.
CENTERS = np.array([[1.3, 0.4], [-0.9, 1.1], [-0.4, -1.5]], np.float32)
SPREAD = 0.25
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 900)
ROWS = (CENTERS[LABELS] + SPREAD * RNG.standard_normal((900, 2))).astype(np.float32)
UNIT = float(np.sqrt(np.mean(ROWS.std(axis=0) ** 2)))
ROWS, CENTERS, SPREAD = ROWS / UNIT, CENTERS / UNIT, SPREAD / UNIT
GAUSSIAN = RNG.standard_normal(ROWS.shape).astype(np.float32)
GAUSSIAN /= np.sqrt(np.mean(GAUSSIAN.std(axis=0) ** 2))


def posterior_mean(alpha, sigma, x, label=None):
    """E[x1 | alpha x1 + sigma x0 = x], of one component if its label is given."""
    variance = alpha**2 * SPREAD**2 + sigma**2
    left = x[None, :] - alpha * CENTERS
    logits = -jnp.sum(left**2, axis=1) / (2 * variance)
    if label is not None:
        logits = jnp.where(jnp.arange(3) == label, logits, -jnp.inf)
    return jax.nn.softmax(logits) @ (CENTERS + alpha * SPREAD**2 / variance * left)


def means(alpha, sigma, x, label=None):
    data = posterior_mean(alpha, sigma, x, label)
    return data, (x - alpha * data) / sigma


def velocity(t, x, label=None):
    data, noise = means(t, 1 - t, x, label)
    return data - noise


ALPHAS_CUMPROD = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def vp(r, largest=20.0):  # Song et al. 2021, eq. 11 and 33
    integral = 0.1 * r + (largest - 0.1) * r**2 / 2
    return jnp.exp(-integral / 2), jnp.sqrt(-jnp.expm1(-integral))


# Stable Diffusion's, and those of Nichol & Dhariwal 2021, eq. 17.
SCALED = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
STEPS = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
COSINES = np.cumprod(1 - np.minimum(1 - STEPS[1:] / STEPS[:-1], 0.999))


def in_bins(alphas_cumprod, n):
    squares = jnp.asarray(alphas_cumprod, jnp.float32)[n.astype(int)]
    return jnp.sqrt(squares), jnp.sqrt(1 - squares)


def ddpm(n):
    return in_bins(ALPHAS_CUMPROD, n)


def stable(n):
    return in_bins(SCALED, n)


def squared(n):
    return in_bins(COSINES, n)


def cosine(r):
    return jnp.cos(jnp.pi / 2 * r), jnp.sin(jnp.pi / 2 * r)


def noise_of(path, r, x, label):
    return means(*path(r), x, label)[1]


def score_of(path, r, x, label):
    return -noise_of(path, r, x, label) / path(r)[1]


def v_of(path, r, x, label):
    alpha, sigma = path(r)
    data, noise = means(alpha, sigma, x, label)
    return alpha * noise - sigma * data


def preconditioned(c_noise, scaled, label):
    """F of Karras et al. 2022, eq. 7, with sigma_data = 0.5."""
    sigma = jnp.exp(4 * c_noise)
    total = jnp.sqrt(sigma**2 + 0.25)
    x = scaled * total
    data = posterior_mean(1.0, sigma, x, label)
    return (data - 0.25 / total**2 * x) * total / (sigma * 0.5)


def towards_data(r, x, label):
    """dx/dr of x = sin(pi r/2) x1 + cos(pi r/2) x0, from noise to data (SiT's GVP)."""
    alpha, sigma = jnp.sin(jnp.pi / 2 * r), jnp.cos(jnp.pi / 2 * r)
    data, noise = means(alpha, sigma, x, label)
    return jnp.pi / 2 * (sigma * data - alpha * noise)


LINEAR, VP, COSINE = "on the linear path, clock 0", "on the variance-preserving path, clock 0", (
    "on the cosine path, clock 0"
)  # fmt: skip
BINS = "in DDPM's 1,000 bins, 0 at data"
SQUARED = "in 1,000 bins of squared cosines, 0 at data"
STABLE = "in Stable Diffusion's 1,000 bins, 0 at data"
# The model, and the names that are right.
WAYS = [
    (velocity, {f"velocity {LINEAR} (noise) to 1 (data)"}),
    (lambda r, x, c: -velocity(r / 1000, x, c),
     {f"minus velocity {LINEAR} (noise) to 1,000 (data)"}),
    (lambda r, x, c: -velocity(1 - r, x, c), {f"velocity {LINEAR} (data) to 1 (noise)"}),
    (lambda r, x, c: velocity(1 - r / 1000, x, c),
     {f"minus velocity {LINEAR} (data) to 1,000 (noise)"}),
    (lambda r, x, c: posterior_mean(r, 1 - r, x, c), {f"data {LINEAR} (noise) to 1 (data)"}),
    (lambda r, x, c: posterior_mean(*vp(r / 999), x, c),
     {f"data {VP} (data) to 999 (noise)", f"data {BINS}"}),
    (lambda r, x, c: score_of(vp, r, x, c), {f"score {VP} (data) to 1 (noise)"}),
    (lambda r, x, c: noise_of(ddpm, r, x, c),
     {f"noise {BINS}", f"noise {VP} (data) to 999 (noise)"}),
    (lambda r, x, c: -noise_of(cosine, r / 1000, x, c),
     {f"minus noise {COSINE} (data) to 1,000 (noise)", f"minus noise {SQUARED}"}),
    (lambda r, x, c: v_of(cosine, r, x, c), {f"v {COSINE} (data) to 1 (noise)"}),
    (towards_data, {f"velocity {COSINE} (noise) to 1 (data)"}),
    (lambda r, x, c: posterior_mean(1.0, r, x, c), {"data on EDM's path, clock sigma"}),
    (lambda r, x, c: score_of(lambda r: (1.0, r), r, x, c), {"score on EDM's path, clock sigma"}),
    (preconditioned, {"a network that EDM preconditions, sigma_data 0.5"}),
    (lambda r, x, c: noise_of(stable, r, x, c), {f"noise {STABLE}"}),
    (lambda r, x, c: v_of(stable, r, x, c), {f"v {STABLE}"}),
    (lambda r, x, c: noise_of(squared, r, x, c),
     {f"noise {COSINE} (data) to 1,000 (noise)", f"noise {SQUARED}"}),
]  # fmt: skip

NETWORK = network_field("mlp", (2,), key=KEY, num_classes=3, width=4, depth=1)
HIDDEN = [RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 32), (1, 32), (32, 2))]


def untrained(r, x, c):
    """A network with random weights, and outputs of order 1."""
    first, clock, last = map(jnp.asarray, HIDDEN)
    return jnp.tanh(x @ first + jnp.sin(r) * clock[0]) @ last / 6


SILENT = {
    "untrained": untrained,
    "small outputs": lambda r, x, c: 0.01 * untrained(r, x, c),
    "zero": lambda r, x, c: jnp.zeros_like(x),
    "constant": lambda r, x, c: jnp.ones_like(x),
    "infinite": lambda r, x, c: jnp.full_like(x, jnp.inf),
}


# A noise prediction that is a little off: its velocity is off by 1/t times as much.
ROUGH = lambda r, x, c: noise_of(vp, r, x, c) + 0.1 * jnp.sin(9 * x)  # noqa: E731

# Exact models that no convention reads rightly, and a part of what is wrong with the nearest.
WRONG = {
    "another variance-preserving path": (
        lambda r, x, c: noise_of(lambda r: vp(r, 10.0), r, x, c), "of the smoothed flow of other",
    ),
    "0.7 of the velocity": (
        lambda r, x, c: 0.7 * velocity(r, x, c), "of the smoothed flow of other",
    ),
    "a clock of its own": (
        lambda r, x, c: posterior_mean(1.0, jnp.exp(r), x, c), "of the smoothed flow of other",
    ),
    "a clock off by 0.1": (
        lambda r, x, c: velocity(jnp.clip(r + 0.1, 0, 0.99), x, c), "of the smoothed flow of other",
    ),
    "no time": (lambda r, x, c: posterior_mean(0.5, 0.5, x, c), "of the smoothed flow of other"),
    "the identity": (lambda r, x, c: x, "no better than a Gaussian flow"),
    "a small correction of the identity": (
        lambda r, x, c: x + 0.1 * untrained(r, x, c), "no better than a Gaussian flow",
    ),
}  # fmt: skip


class Presented(Field):
    """One of the models above by a traced number, so that one program serves all."""

    way: jax.Array

    def __call__(self, t, x, cond=None):
        models = [model for model, _ in WAYS] + [*SILENT.values(), ROUGH]
        models += [model for model, _ in WRONG.values()]
        return jax.lax.switch(self.way, [lambda r, x, m=m: m(r, x, cond) for m in models], t, x)


def presented(way):
    return Presented(jnp.asarray(way, jnp.int32))


def evaluated(code, model, **names):
    """The field that a line of code makes."""
    return eval(code, vars(kj.fields) | {"np": np, "model": model} | names)


@pytest.mark.long
@pytest.mark.parametrize("way", range(len(WAYS)), ids=lambda way: sorted(WAYS[way][1])[0])
def test_each_way_is_named(way):
    model, names = WAYS[way]
    answer = identify_convention(presented(way), ROWS, key=KEY)
    assert answer.fits
    assert answer.convention.name in names
    assert {answer.convention.name, *(each.name for each in answer.equivalents)} <= names
    t, x = jnp.float32(0.6), jnp.array([0.7, -0.4])
    wanted = np.asarray(velocity(t, x))
    by_code = evaluated(answer.convention.code, model)
    for field in (by_code, answer.convention.field(model)):
        np.testing.assert_allclose(field(t, x, None), wanted, atol=2e-2)
    assert f"field = {answer.convention.code}\n" in str(answer)


def test_one_program_serves_all(compilations):
    identify_convention(presented(0), ROWS, key=KEY)
    before = compilations()
    identify_convention(presented(1), ROWS, key=jax.random.key(1))
    assert compilations() == before


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("data", ["mixture", "unit Gaussian"])
def test_models_that_say_nothing(name, data):
    """A zero that predicts v is the exact flow of N(0, I), but a constant does as well as it."""
    rows = ROWS if data == "mixture" else GAUSSIAN
    answer = identify_convention(presented(len(WAYS) + list(SILENT).index(name)), rows, key=KEY)
    assert not answer.fits
    assert str(answer).startswith("None of 124 conventions fits.")
    assert len(answer.losses) == 124
    with pytest.raises(ValueError, match="model must fit one of the conventions tried"):
        answer.field  # noqa: B018
    if name == "infinite":
        assert not np.isfinite(list(answer.losses.values())).any()
        assert "124 are not finite." in str(answer)


@pytest.mark.parametrize("name", WRONG)
def test_readings_that_are_wrong(name):
    number = len(WAYS) + len(SILENT) + 1 + list(WRONG).index(name)
    answer = identify_convention(presented(number), ROWS, key=KEY)
    assert not answer.fits
    assert WRONG[name][1] in answer.reason
    assert answer.reason in str(answer)


@pytest.mark.parametrize(("slope", "wanted"), [(0.0, 0.0), (0.5, 0.2)])
def test_linear_correction(slope, wanted):
    """Of a residual `slope f + e`, with f and e independent, f explains slope²/(1 + slope²)."""
    rng = np.random.default_rng(4)
    f, e, other = rng.standard_normal((3, 4096, 2))
    features = [jnp.asarray(each, jnp.float32) for each in (slope * f + e, f, other)]
    products = products_in_bins(features, jnp.ones(4096))
    assert share_of_linear_correction(np.asarray(products)) == pytest.approx(wanted, abs=0.015)


REASONS = [
    ({}, ""),
    ({"loss": np.nan}, "not finite"),
    ({"loss": 1.1}, "1.1 times that of a Gaussian flow"),
    ({"constant": 0.505}, "a constant in place of"),
    ({"loss": 0.99, "constant": 2.0}, "nothing says that the data are Gaussian"),
    ({"loss": 0.6}, "40.0% below that of a Gaussian flow, that of the smoothed .* 50.0%"),
    ({"correction": 0.04}, "linear correction of its velocities removes 4.0%"),
]


@pytest.mark.parametrize(("changed", "reason"), REASONS)
def test_reasons(changed, reason):
    right = {"loss": 0.5, "constant": 1.0, "correction": 0.01}
    answer = reason_against(**right | changed, reference=Reference(1.0, 0.5, False))
    assert re.search(reason, answer)
    assert bool(answer) == bool(changed)
    gaussian = Reference(1.0, 1.01, True)
    assert reason_against(loss=1.0, constant=2.0, correction=0.0, reference=gaussian) == ""


def test_data_that_may_be_gaussian():
    rng = np.random.default_rng(5)
    gaussian = rng.standard_normal((1000, 3)) * [1, 2, 0.1] + 5
    ring = gaussian / np.linalg.norm(gaussian - 5, axis=1, keepdims=True)
    correlated = np.stack([gaussian[:, 0], gaussian[:, 0] + gaussian[:, 1]], axis=1)
    assert may_be_gaussian(gaussian)
    for rows in (ring, correlated, ROWS.astype(np.float64), gaussian[:100]):
        assert not may_be_gaussian(rows)


class Plain(Field):
    weights: tuple

    def __call__(self, t, x, cond=None):
        first, clock, middle, last = self.weights
        hidden = jnp.tanh(first @ x + clock @ jnp.stack([t, jnp.sin(t), jnp.cos(t)]))
        return last @ jax.nn.silu(middle @ hidden)


class Untrained(Field):
    """A random network: plain, residual, a correction of x, or preconditioned."""

    network: Plain
    kind: jax.Array

    def __call__(self, t, x, cond=None):
        kinds = (
            lambda t, x: self.network(t, x),
            lambda t, x: x + self.network(t, x),
            lambda t, x: x + 0.1 * self.network(t, x),
            lambda t, x: kj.fields.edm_denoiser(self.network, sigma_data=1.0)(t, x),
        )
        return jax.lax.switch(self.kind, kinds, t, x)


@pytest.mark.long
def test_untrained_networks_of_one_coordinate():
    """Some of 124 readings of a random network beat a Gaussian on a line, by up to 10%."""
    rng = np.random.default_rng(3)
    rows = np.where(rng.random((800, 1)) < 0.4, -1, 0.8) + 0.1 * rng.standard_normal((800, 1))
    rows = (rows / rows.std()).astype(np.float32)
    for seed in range(24):
        draw = np.random.default_rng(seed).standard_normal
        shapes = ((64, 1), (64, 3), (64, 64), (1, 64))
        weights = [jnp.asarray(draw(shape) / shape[1] ** 0.5, jnp.float32) for shape in shapes]
        model = Untrained(Plain(tuple(weights)), jnp.asarray(seed % 4))
        assert not identify_convention(model, rows, key=KEY).fits, seed


@pytest.mark.long
def test_small_errors_of_a_prediction_do_not_decide():
    """Unweighted, those of the noise near t = 0 make the loss greater than the Gaussian's."""
    model, name = presented(len(WAYS) + len(SILENT)), f"noise {VP} (data) to 1 (noise)"
    answer = identify_convention(model, ROWS, key=KEY)
    assert (answer.fits, answer.convention.name) == (True, name)
    unweighted = [
        np.mean(kj.cfm_loss(field, KEY, np.tile(ROWS, (10, 1))))
        for field in (answer.convention.field(ROUGH), kj.GaussianField(ROWS.mean(0), ROWS.std(0)))
    ]
    assert unweighted[0] > 1.5 * unweighted[1]


def test_the_field_declares_what_the_model_declares():
    for clock in known_clocks():
        for convention in clock.conventions():
            field = convention.field(NETWORK)
            assert (field.event_shape, field.num_classes, int(field.null_cond)) == ((2,), 3, 3)


def test_losses_are_sorted_and_those_that_are_not_finite_last():
    answer = identify_convention(presented(12), ROWS, key=KEY)
    losses = np.array(list(answer.losses.values()))
    finite = np.isfinite(losses)
    assert (np.diff(losses[finite]) >= 0).all()
    assert (np.diff(finite.astype(int)) <= 0).all()
    assert answer.losses.keys() == answer.codes.keys()
    assert answer.codes[answer.convention.name] == answer.convention.code


def test_the_loss_in_closed_form():
    """The weighted loss of the exact flow of N(m, s²): d times the variance that is left."""
    scale, size = 0.5, 48
    mean = RNG.standard_normal(size).astype(np.float32)
    rows = (mean + scale * RNG.standard_normal((2000, size))).astype(np.float32)
    answer = identify_convention(kj.GaussianField(mean, scale), rows, key=KEY)
    assert answer.fits
    assert answer.convention.code == "model"
    assert isinstance(answer.field, kj.GaussianField)
    assert "No better than a Gaussian flow" in str(answer)

    def weighted(t):
        return 30 * (t * (1 - t)) ** 2 * scale**2 / (t**2 * scale**2 + (1 - t) ** 2)

    wanted = size * quad(weighted, 0.02, 0.98)[0] / 0.96
    assert answer.losses[answer.convention.name] == pytest.approx(wanted, rel=0.05)
    assert answer.gaussian_loss == pytest.approx(wanted, rel=0.05)


@pytest.mark.long
def test_names_codes_and_rates_agree():
    """For each convention: the field it makes and what was measured; for some their code."""

    def model(r, x, cond=None):
        return jnp.sin(3 * x + r / 100)

    number, place = 256, 100
    t = jnp.asarray(times_of(number, "float32")[place])
    x = jnp.array([0.3, -1.2])
    conventions = [clock.conventions() for clock in known_clocks()]
    names = [each.name for of_clock in conventions for each in of_clock]
    assert len(set(names)) == len(names) == 124
    reading, size, of_x, of_output = known_rates(number, "float32")
    for i, of_clock in enumerate(conventions):
        output = model(jnp.asarray(reading[i, place]), size[i, place] * x)
        for j, convention in enumerate(of_clock):
            measured = of_x[i, j, place] * x + of_output[i, j, place] * output
            assert isinstance(convention, Convention)
            made = convention.field(model)(t, x)
            np.testing.assert_allclose(made, measured, rtol=1e-3, atol=1e-4)
            if (i + j) % 4 == 0:
                by_code = evaluated(convention.code, model)(t, x, None)
                np.testing.assert_allclose(by_code, made, rtol=1e-5, atol=1e-6)


def test_conditions():
    """A model of classes is right with the labels, and no better than a Gaussian without them."""
    model, cond = presented(7), LABELS
    answer = identify_convention(model, ROWS, key=KEY, cond=cond)
    assert answer.fits
    assert answer.convention.name in WAYS[7][1]
    marginal = identify_convention(model, ROWS, key=KEY).losses[answer.convention.name]
    assert answer.losses[answer.convention.name] < 0.8 * marginal
    shuffled = identify_convention(model, ROWS, key=KEY, cond=np.roll(cond, 1))
    assert not shuffled.fits


@pytest.mark.long
def test_schedules_of_ones_own_and_data_of_another_scale():
    """Preconditioned by the data's own scale; an unknown path is tried where it is given."""
    rows = 3 * ROWS
    circle = Schedule(jnp.sin, jnp.cos, (0.0, jnp.pi / 2))

    class Other(Field):
        way: jax.Array

        def __call__(self, t, x, cond=None):
            def on_circle(r, x):
                alpha, sigma = jnp.sin(r), jnp.cos(r)
                return 3 * posterior_mean(3 * alpha, sigma, x)

            def network(c_noise, scaled):
                sigma = jnp.exp(4 * c_noise)
                total = jnp.sqrt(sigma**2 + 9)
                data = 3 * posterior_mean(3.0, sigma, scaled * total)
                return (data - 9 / total * scaled) * total / (sigma * 3)

            return jax.lax.switch(self.way, (on_circle, network), t, x)

    schedules = {"circle": circle}
    for way, name in enumerate(
        ("data on schedules['circle']", "a network that EDM preconditions, sigma_data 3")
    ):
        model = Other(jnp.asarray(way))
        answer = identify_convention(model, rows, key=KEY, schedules=schedules)
        assert answer.fits
        assert answer.convention.name == name
        field = evaluated(answer.convention.code, model, schedules=schedules)
        t, x = jnp.float32(0.6), jnp.array([0.7, -0.4])
        wanted = (3 * posterior_mean(3 * t, 1 - t, x) - x) / (1 - t)
        np.testing.assert_allclose(field(t, x), wanted, rtol=1e-3, atol=1e-3)


ERRORS = {
    "model": ({"model": nnx.Linear(2, 2, rngs=nnx.Rngs(0))}, "model must be .*from_nnx"),
    "its output": ({"model": lambda r, x, c: x[0]}, "the field's output must have the shape"),
    "an integer clock": (
        {"model": lambda n, x, c: jnp.arange(1000.0)[n] * x, "cond": None},
        "model must take its clock as a floating JAX number .* got TypeError: Indexer must have",
    ),
    "Python's clock": (
        {"model": lambda n, x, c: int(n) * x, "cond": None},
        "model must take its clock as a floating JAX number .* got ConcretizationTypeError",
    ),
    "labels are missing": (
        {"model": lambda r, x, c: velocity(r, x, None) + jnp.asarray(CENTERS)[c], "cond": None},
        "cond is None: a model of classes needs their labels",
    ),
    "no coordinates": (
        {"data": np.ones((5, 0)), "cond": None, "model": lambda r, x, c: x},
        r"data must have coordinates, got shape \(5, 0\)",
    ),
    "data": ({"data": np.full((4, 2), np.nan)}, "data must be finite"),
    "one row": ({"data": np.ones((900, 2), np.float32)}, "data must hold rows that differ"),
    "shape": ({"data": ROWS[:, :1]}, "data must have the field's event shape"),
    "key": ({"key": 0}, "key must be one JAX random key"),
    "cond": ({"cond": LABELS[:5]}, "cond must have 900"),
    "labels": ({"cond": LABELS + 4}, r"cond must lie in \[0, 3\]"),
    "num_samples": ({"num_samples": 16}, r"num_samples must be a whole number in \[64, 65536\]"),
    "schedules": ({"schedules": [vp_schedule()]}, "schedules must be a mapping"),
    "a schedule": ({"schedules": {"mine": "vp"}}, "schedules must map names to Schedules"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, own_messages, compilations):
    changed, message = ERRORS[name]
    right = {"model": NETWORK, "data": ROWS, "key": KEY, "cond": LABELS}
    if name == "its output":
        right |= {"cond": None}
    before = compilations()
    with pytest.raises(ValueError, match=message):
        identify_convention(**right | changed)
    assert compilations() <= before + 2  # conversions


def test_not_inside_jit(own_messages):
    with pytest.raises(ValueError, match="data must be concrete"):
        jax.jit(lambda rows: identify_convention(NETWORK, rows, key=KEY))(ROWS)


@pytest.mark.long
def test_an_included_model():
    """In three ways; the third evaluates it in DDPM's bins."""
    clothes = kj.pretrained("fashion-mnist")
    images = kj.data.load_images("fashion-mnist-1024")
    path = ddpm_schedule(ALPHAS_CUMPROD)

    def as_noise(n, x, label):
        alpha, sigma = path.alpha(n), path.sigma(n)
        t, x = alpha / (alpha + sigma), x / (alpha + sigma)
        return x - t * clothes(t, x, label)

    ways = {
        f"velocity {LINEAR} (noise) to 1 (data)": clothes,
        f"velocity {LINEAR} (data) to 1,000 (noise)": (
            lambda r, x, label: -clothes(1 - r / 1000, x, label)
        ),
        f"noise {VP} (data) to 999 (noise)": as_noise,
    }
    for name, model in ways.items():
        answer = identify_convention(
            model, images.images, key=KEY, cond=images.labels, num_samples=64
        )
        assert answer.fits
        assert name in {answer.convention.name, *(each.name for each in answer.equivalents)}


def test_pytrees():
    """A minus sign in front of a pytree, in the field and in the printed code."""
    rows = {"a": ROWS[:, :1], "b": ROWS[:, 1:]}

    def minus(r, x, cond=None):
        joint = velocity(1 - r / 1000, jnp.concatenate([x["a"], x["b"]]))
        return {"a": joint[:1], "b": joint[1:]}

    answer = identify_convention(minus, rows, key=KEY)
    assert answer.convention.name in WAYS[3][1]
    t, x = jnp.float32(0.6), {"a": jnp.array([0.7]), "b": jnp.array([-0.4])}
    wanted = np.asarray(velocity(t, jnp.array([0.7, -0.4])))
    by_code = evaluated(answer.convention.code, minus, jax=jax, jnp=jnp)
    for field in (answer.field, by_code):
        got = field(t, x)
        np.testing.assert_allclose([got["a"][0], got["b"][0]], wanted, atol=1e-3)


@pytest.mark.long
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_data_of_another_magnitude():
    """Losses overflow in float32, without NumPy's warnings."""
    rows = (1e20 * ROWS).astype(np.float32)
    answer = identify_convention(presented(0), rows, key=KEY)
    assert (answer.fits, answer.reason) == (False, "its loss is not finite")
