"""The exact denoiser of a Gaussian has one energy, whatever it predicts on whatever schedule."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kinetic_jax import GaussianField, cfm_loss, kts, sample
from kinetic_jax.fields import (
    Field,
    Schedule,
    cosine_schedule,
    ddpm_schedule,
    edm_denoiser,
    edm_schedule,
    from_prediction,
    linear_schedule,
    vp_schedule,
)

MEAN, SCALE = np.array([1.5, -0.5, 0.3], np.float32), 0.6
MEANS = np.array([[2.0, 0.0, 0.0], [-1.0, 1.0, 0.5]], np.float32)
ALPHAS_CUMPROD = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SCHEDULES = {
    "linear": linear_schedule(),
    "reversed": linear_schedule(reverse=True, time_scale=1000.0),
    "variance preserving": vp_schedule(time_scale=999.0),
    "cosine": cosine_schedule(),
    "ddpm": ddpm_schedule(ALPHAS_CUMPROD),
    "edm": edm_schedule(),
}
PREDICTIONS = ["velocity", "data", "noise", "v", "score"]
FOUR = ["linear", "variance preserving", "ddpm", "edm"]
X0 = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)


LAWS = {"gaussian": MEAN[None], "mixture": MEANS}


def of_each(law, alpha, sigma, x):
    """Posterior weights of the Gaussians of a law, x less their means on the path, its variance."""
    variance, left = alpha**2 * SCALE**2 + sigma**2, x[None, :] - alpha * LAWS[law]
    weights = jax.nn.softmax(-jnp.sum(left**2, axis=1) / (2 * variance))
    return weights, left, variance


class Denoiser(eqx.Module):
    """A model that knows Gaussians of deviation SCALE and predicts any quantity."""

    schedule: Schedule
    predicts: str = eqx.field(static=True)
    law: str = eqx.field(static=True, default="gaussian")

    def __call__(self, reading, x, cond=None):
        r = reading / self.schedule.time_scale
        alpha, sigma = self.schedule.alpha(r), self.schedule.sigma(r)
        weights, left, variance = of_each(self.law, alpha, sigma, x)
        data = weights @ (LAWS[self.law] + alpha * SCALE**2 / variance * left)
        left = weights @ left
        noise = sigma / variance * left
        if self.predicts == "velocity":
            return (
                jax.grad(self.schedule.alpha)(r) * data + jax.grad(self.schedule.sigma)(r) * noise
            )
        if self.predicts == "v":
            return alpha * noise - sigma * data
        return {"data": data, "noise": noise, "score": -noise / sigma}[self.predicts]


def field_of(schedule, predicts, law="gaussian"):
    path = SCHEDULES[schedule]
    return from_prediction(Denoiser(path, predicts, law), predicts=predicts, schedule=path)


def exact_velocity(t, x, cond=None):
    """The mixture's flow on the linear path: the mean of its Gaussians' velocities."""
    weights, left, variance = of_each("mixture", t, 1 - t, x)
    return weights @ (MEANS + (t * SCALE**2 - (1 - t)) / variance * left)


class Chosen(Field):
    """One of several cases, so that one program runs them all."""

    number: jax.Array
    cases: tuple = eqx.field(static=True)
    event_shape = (3,)

    def arrival(self, dtype):
        return jnp.stack([field_of(*case).arrival(dtype) for case in self.cases])[self.number]

    def __call__(self, t, x, cond=None):
        fields = [field_of(*case) for case in self.cases]
        return jax.lax.switch(self.number, [lambda t, x, f=f: f(t, x) for f in fields], t, x)


SOLVES = {
    "euler": {"solver": diffrax.Euler(), "num_steps": 200},
    "heun": {"solver": diffrax.Heun(), "num_steps": 100},
    "adaptive": {
        "solver": diffrax.Heun(),
        "controller": diffrax.PIDController(rtol=1e-4, atol=1e-4),
    },
}


def runs_of(cases, settings, x0=X0):
    """The runs of all cases, by one program."""

    @jax.jit
    def runs(x0):
        def of_case(number):
            return sample(Chosen(number, cases), x0, **settings)

        # One after the other: under vmap every case would be computed for every number.
        return jax.lax.map(of_case, jnp.arange(len(cases)))

    everything = runs(x0)
    for number in range(len(cases)):
        yield jax.tree.map(lambda leaf, number=number: np.asarray(leaf[number]), everything)


@pytest.mark.parametrize(
    "solve",
    ["euler", *(pytest.param(name, marks=pytest.mark.long) for name in SOLVES if name != "euler")],
)
def test_one_energy(solve):
    settings, is_euler = SOLVES[solve], solve == "euler"
    schedules = SCHEDULES if is_euler else FOUR
    cases = tuple((schedule, predicts) for schedule in schedules for predicts in PREDICTIONS)
    exact = sample(GaussianField(MEAN, SCALE), X0, num_steps=200)
    energy, x1 = np.asarray(exact.energy.total), np.asarray(exact.x1)
    if not is_euler:
        square, shift = (X0**2).sum(1), X0 @ MEAN
        energy = (MEAN @ MEAN + (1 + SCALE**2 - np.pi * SCALE / 2) * square) / 2
        energy, x1 = energy + (SCALE - 1) * shift, MEAN + SCALE * X0
    for (schedule, predicts), run in zip(cases, runs_of(cases, settings), strict=True):
        assert (run.status == 0).all(), (schedule, predicts)
        error = np.abs(run.energy.total / energy - 1).max()
        apart = np.abs(run.x1 - x1).max()
        assert error < 1e-3, (schedule, predicts)
        assert apart < 4e-3, (schedule, predicts)


@pytest.mark.long
@pytest.mark.parametrize("solve", SOLVES)
def test_mixture_of_two_gaussians(solve):
    """Posterior means that are not linear in x."""
    cases = tuple((schedule, predicts, "mixture") for schedule in FOUR for predicts in PREDICTIONS)
    fine = SOLVES["euler"] if solve == "euler" else {"solver": diffrax.Heun(), "num_steps": 400}
    x0, settings = X0, SOLVES[solve]
    if solve == "adaptive":  # many steps: on whole bins the velocity jumps
        controller = diffrax.PIDController(rtol=1e-6, atol=1e-6)
        x0, settings = X0[:16], settings | {"controller": controller, "max_steps": 16_384}
    exact = sample(exact_velocity, x0, **fine)
    for (schedule, predicts, _), run in zip(cases, runs_of(cases, settings, x0), strict=True):
        error = np.abs(run.energy.total / exact.energy.total - 1).max()
        apart = np.abs(run.x1 - exact.x1).max()
        on_bins = schedule == "ddpm" and predicts in ("noise", "score")
        assert error < (1e-2 if on_bins else 1e-3), (schedule, predicts)
        assert apart < (2e-2 if on_bins else 4e-3), (schedule, predicts)


class Scaled(eqx.Module):
    weight: jax.Array

    def __call__(self, r, x, cond=None):
        return self.weight * x


@pytest.mark.long
@pytest.mark.parametrize("predicts", ["velocity", "data"])
def test_gradients_are_finite(predicts):
    """Also in the schedule's numbers: one NaN there makes a clipped gradient all NaN."""
    field = from_prediction(
        Scaled(jnp.float32(0.5)), predicts=predicts, schedule=SCHEDULES["variance preserving"]
    )
    loss = lambda field: cfm_loss(field, jax.random.key(0), X0).mean()  # noqa: E731
    gradient = eqx.filter_grad(loss)(field)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert float(gradient.field.function.weight) != 0
    slope = jax.jvp(
        lambda t: field(t, jnp.asarray(X0[0])), (jnp.float32(1.0),), (jnp.float32(1.0),)
    )[1]
    assert np.isfinite(slope).all()


def test_a_velocity_whose_scale_has_an_infinite_slope():
    """α = √(1 − r), σ = √r, with α' infinite at noise and σ' at data."""
    path = Schedule(lambda r: jnp.sqrt(1 - r), jnp.sqrt, (1.0, 0.0))
    exact = Denoiser(path, "velocity")
    field = from_prediction(exact, predicts="velocity", schedule=path)
    run = sample(field, X0, num_steps=100, solver=diffrax.Heun())
    assert (run.status == 0).all()
    np.testing.assert_allclose(run.x1, MEAN + SCALE * X0, atol=4e-3)


def test_kts_acts_at_the_same_signal_to_noise_ratio():
    shaped = kts(0.3, 0.02, 0.6)
    wanted = sample(shaped(GaussianField(MEAN, SCALE)), X0, num_steps=100).energy
    energy = sample(shaped(field_of("variance preserving", "v")), X0, num_steps=100).energy
    np.testing.assert_allclose(energy.launch, wanted.launch, rtol=1e-3)
    np.testing.assert_allclose(energy.landing, wanted.landing, rtol=1e-3)


def test_preconditioning_of_edm():
    """F is what makes the exact denoiser of it (Karras et al. 2022, eq. 7), in NumPy."""
    sigma_data = 0.5

    def network(c_noise, x, cond=None):
        sigma = jnp.exp(4 * c_noise)
        total = jnp.sqrt(sigma**2 + sigma_data**2)
        point = x * total
        data = MEAN + SCALE**2 / (SCALE**2 + sigma**2) * (point - MEAN)
        return (data - (sigma_data / total) ** 2 * point) * total / (sigma * sigma_data)

    denoiser = edm_denoiser(network, sigma_data=sigma_data)
    for sigma in (0.01, 1.0, 40.0):
        x = X0[0] * sigma
        wanted = MEAN + SCALE**2 / (SCALE**2 + sigma**2) * (x - MEAN)
        denoised = denoiser(jnp.float32(sigma), jnp.asarray(x))
        np.testing.assert_allclose(denoised, wanted, rtol=1e-4, atol=1e-4)


def test_glue_and_its_arrays():
    """`call` reorders arguments; `args` are traced; a Flax NNX model is wrapped."""
    path = linear_schedule()
    of_atom = lambda model, atom, r, x, cond: model(x, atom)  # noqa: E731
    towards = from_prediction(
        lambda x, atom: atom, predicts="data", schedule=path, call=of_atom, args=jnp.asarray(MEAN),
        event_shape=(3,),
    )  # fmt: skip
    assert towards.event_shape == (3,)
    np.testing.assert_allclose(towards(0.5, jnp.zeros(3)), 2 * MEAN, rtol=1e-6)
    layer = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    still = from_prediction(
        layer, predicts="velocity", schedule=path, call=lambda m, t, x, c: 0 * m(x)
    )
    np.testing.assert_array_equal(still(0.5, jnp.ones(3)), np.zeros(3))


ERRORS = {
    "predicts": ({"predicts": "energy"}, "predicts must be one of velocity, data, noise, v, score"),
    "schedule": ({"schedule": "vp"}, "schedule must be a Schedule, got str"),
    "args": ({"args": 1.0}, "args must come with a call"),
    "model": ({"model": 3}, "model must be callable as field"),
    "call": ({"call": lambda x: x}, "call must be callable as call"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, own_messages):
    changed, message = ERRORS[name]
    right = {"model": lambda r, x, cond: x, "predicts": "data", "schedule": linear_schedule()}
    with pytest.raises(ValueError, match=message):
        from_prediction(**right | changed)
