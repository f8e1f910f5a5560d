"""`compare` against closed forms: flows of Gaussians, and of a few points as models that copy."""

import csv
import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import kinetic_jax as kj
from kinetic_jax.comparison import ModelReport
from kinetic_jax.copies._checkpoints import snapped
from kinetic_jax.metrics import Estimate

pytestmark = pytest.mark.long

KEY = jax.random.key(3)
N = 400
SCALES = {1: 3.0, 10: 1.5, 100: 0.5}
POINTS = 4.0 * np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
HELD_OUT = 4.0 * np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)


def gaussian(scale):
    return kj.GaussianField(jnp.zeros(2), scale)


@pytest.fixture(scope="module")
def gaussians():
    models = {step: gaussian(scale) for step, scale in reversed(SCALES.items())}
    return kj.compare(
        models, key=KEY, num_samples=N, num_steps=64, fewer=(4, 16), event_shape=(2,),
        batch_size=150, tolerance=0.02, train=SCALES[100] * HELD_OUT / 4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def copying():
    """Two Gaussians, and then the exact flow of the points, whose samples are all copies."""
    models = {1: gaussian(4.2), 2: gaussian(4.0), 8: kj.EmpiricalField(POINTS)}
    return kj.compare(
        models, key=KEY, num_samples=N, num_steps=32, fewer=(), train=POINTS, held_out=HELD_OUT,
        limit=0.6,
    )  # fmt: skip


def steps_by_hand(scale, num_steps):
    """Euler's method for N(0, s²) in NumPy: the samples, and sums of squares along each path."""
    x0 = np.asarray(kj.noise(KEY, jnp.arange(N), (2,)), np.float64)
    x, h, path = x0, 1 / num_steps, []
    for t in np.arange(num_steps) * h:
        path.append((t * scale**2 - (1 - t)) / (t**2 * scale**2 + (1 - t) ** 2) * x)
        x = x + h * path[-1]
    u = np.stack(path, axis=1)
    energy = 0.5 * h * np.sum(u**2, axis=(1, 2))
    straightness = h * np.sum((u - (x - x0)[:, None]) ** 2, axis=(1, 2))
    bending = 0.5 / h * np.sum(np.diff(u, axis=1) ** 2, axis=(1, 2))
    return x0, x, energy, straightness, bending


@pytest.mark.parametrize("step", SCALES)
def test_means_of_a_gaussians_flow(step, gaussians):
    model, scale = gaussians[step], SCALES[step]
    x0, x1, energy, straightness, bending = steps_by_hand(scale, 64)
    shown = model.energy
    for name, wanted in {
        "total": energy,
        "straightness": straightness,
        "bending": bending,
        "displacement": np.sum((x1 - x0) ** 2, axis=1) / 2,
        "excess": straightness / 2,
    }.items():
        estimate = getattr(shown, name)
        np.testing.assert_allclose(estimate.value, wanted.mean(), rtol=2e-4)
        assert estimate.low < estimate.value < estimate.high
    np.testing.assert_allclose(shown.launch.value + shown.landing.value, shown.total.value)
    errors = {}
    for few in (4, 16):
        other = steps_by_hand(scale, few)[1]
        errors[few] = np.sqrt(np.mean((other - x1) ** 2) / np.mean((x1 - x0) ** 2))
    shorter = {one.num_steps: one.error for one in model.few_steps}
    np.testing.assert_allclose(list(shorter.values()), list(errors.values()), rtol=1e-3)
    assert list(shorter) == [4, 16]
    assert model.steps_needed == next((few for few in errors if errors[few] <= 0.02), None)


def test_more_steps_than_the_largest_tried_are_needed(gaussians):
    """Nothing is known between the largest number tried, 16, and all 64 steps."""
    first, second, third = gaussians.models
    second = dataclasses.replace(second, steps_needed=16)
    # At 16 steps no sample of the third one was finite.
    third = dataclasses.replace(third, few_steps=third.few_steps[:1])
    shown = dataclasses.replace(gaussians, models=(first, second, third)).to_markdown()
    header, _, *lines = (line.split(" | ") for line in shown.splitlines()[:5])
    column = header.index("steps for 2%")
    assert [line[column] for line in lines] == ["> 16", "16", "> 16"]


def test_efficiency_is_that_of_the_metric(gaussians):
    """The data have no deviation but 0.5 up to chance: the floor over the mean energy."""
    rows = SCALES[100] * HELD_OUT / 4
    bounds = kj.metrics.transport_bounds(rows)
    energy = steps_by_hand(SCALES[100], 64)[2]
    np.testing.assert_allclose(
        gaussians[100].efficiency.value, bounds.floor / energy.mean(), rtol=1e-3
    )


def test_steps_are_put_in_order_and_models_by_name_are_not(gaussians):
    assert [model.step for model in gaussians.models] == [1, 10, 100]
    assert gaussians.earliest == "1"
    names = kj.compare(
        {"b": gaussian(1.0), "a": gaussian(1.0)}, key=KEY, num_samples=N, num_steps=4, fewer=(),
        event_shape=(2,),
    )  # fmt: skip
    assert [(model.name, model.step) for model in names.models] == [("b", None), ("a", None)]
    assert (names.earliest, names.recommended) == ("b", "a")
    with pytest.raises(KeyError, match="c"):
        names["c"]


def test_snap_is_that_of_copies_against_the_earliest(gaussians):
    """Guesses of a Gaussian flow in closed form: D(x) = t s² x / (t² s² + (1 − t)²)."""
    first = gaussians[1]
    assert (first.snap, first.snapped) == (None, None)
    t, samples = 0.65, jnp.asarray(steps_by_hand(SCALES[100], 64)[1], jnp.float32)
    scores = kj.copies.snap(gaussian(0.5), gaussian(3.0), samples, key=KEY)
    np.testing.assert_allclose(gaussians[100].snap.value, scores.mean(), rtol=1e-3)

    def error(scale, noisy):
        guess = t * scale**2 / (t**2 * scale**2 + (1 - t) ** 2) * noisy
        return np.mean(np.sum((guess - samples[None]) ** 2, axis=-1), axis=0)

    key = jax.random.fold_in(KEY, np.uint32(2**32 - 1))
    draws = [jax.random.normal(each, (2,)) for each in jax.random.split(key, 8)]
    noisy = t * samples[None] + (1 - t) * np.stack(draws)[:, None]
    by_hand = np.log(error(3.0, noisy) / error(0.5, noisy))
    np.testing.assert_allclose(gaussians[100].snap.value, by_hand.mean(), rtol=1e-3)


def test_a_model_of_the_points_copies_and_the_one_before_is_taken(copying):
    of_held_out = kj.memorization(HELD_OUT, POINTS)
    held_out = Estimate(of_held_out.fraction, of_held_out.low, of_held_out.high)
    assert copying.held_out == held_out
    assert copying[8].f_mem.value == 1.0
    assert copying[8].over_held_out.low > 0
    assert copying[2].f_mem.high < 0.6
    assert (copying.recommended, copying.by_data, copying.by_snap) == ("2", "2", "2")
    assert copying.reason.startswith("Take 2. By the data: F_mem is ")
    assert "and 100.0% [99.0%, 100.0%] at 8; the limit is 60%" in copying.reason
    assert "The two agree." in copying.reason
    assert copying[8].snapped.value > 0.9
    assert copying[2].snapped.value == 0.0


def test_kernel_distance_and_embedding(copying):
    assert copying[8].distance > copying[2].distance
    models = {1: gaussian(4.0), 2: gaussian(4.1)}
    options = {"key": KEY, "num_samples": N, "num_steps": 4, "fewer": (), "event_shape": (2,)}
    shifted = kj.compare(models, held_out=HELD_OUT, embed=lambda rows: rows + 1, **options)
    x1 = np.asarray(kj.sample(models[1], kj.noise(KEY, jnp.arange(N), (2,)), num_steps=4).x1)
    wanted = kj.metrics.kernel_distance(x1.astype(np.float64) + 1, HELD_OUT + 1.0)
    np.testing.assert_allclose(shifted[1].distance, wanted.value, rtol=1e-4)
    with pytest.raises(ValueError, match=r"embed must return one row of features .* 200 held_out"):
        kj.compare(models, held_out=HELD_OUT, embed=lambda rows: rows[:3], **options)


def test_a_table_in_three_forms_and_a_picture(copying):
    lines = copying.to_markdown().splitlines()
    assert lines[0].startswith("| model | valid | energy E | ")
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| 1", "| **2**", "| 8"]
    assert lines[-1] == copying.reason
    rows = list(csv.DictReader(io.StringIO(copying.to_csv())))
    assert [row["step"] for row in rows] == ["1", "2", "8"]
    assert float(rows[2]["f_mem_low"]) == copying[8].f_mem.low
    assert rows[0]["snap"] == ""
    read = json.loads(json.dumps(copying.as_json()))
    assert read["held_out"] == dataclasses.asdict(copying.held_out)
    assert read["models"][2]["energy"]["total"]["value"] == copying[8].energy.total.value
    assert read["recommended"] == "2"
    figure = kj.plotting.comparison_figure(copying)
    assert isinstance(figure, Figure)
    panels = {axes.get_title(): axes for axes in figure.axes}
    np.testing.assert_allclose(
        panels["F_mem"].lines[0].get_xydata(),
        [[model.step, model.f_mem.value] for model in copying.models],
    )
    assert "dotted: step 2" in figure._supxlabel.get_text()


def test_conditions_and_batches_do_not_change_samples():
    """A model whose condition is its mean; one row of conditions is every sample's."""

    def model(t, x, cond):
        return jnp.broadcast_to(cond, x.shape)

    models = {1: model, 2: lambda t, x, cond: 2 * model(t, x, cond)}
    options = {"key": KEY, "num_samples": N, "num_steps": 4, "fewer": (), "event_shape": (2,)}
    rows = jnp.asarray(HELD_OUT[:1])
    one, all_of_them = (
        kj.compare(models, cond=cond, batch_size=size, **options)
        for cond, size in ((rows, 64), (jnp.tile(rows, (N, 1)), 1000))
    )
    wanted = np.sum(HELD_OUT[0].astype(np.float64) ** 2) / 2
    for comparison in (one, all_of_them):
        energies = [model.energy.total.value for model in comparison.models]
        np.testing.assert_allclose(energies, [wanted, 4 * wanted], rtol=1e-5)


def test_models_that_fail_are_left_out():
    broken = {1: gaussian(1.0), 2: gaussian(1.1), 3: lambda t, x, cond: x * jnp.nan}
    comparison = kj.compare(
        broken, key=KEY, num_samples=N, num_steps=4, fewer=(2,), event_shape=(2,)
    )
    assert comparison[3] == ModelReport("3", 3, N, 0)
    assert comparison.recommended == "2"
    assert comparison.reason.endswith("too few valid samples to be judged: 3.")
    assert "| 3 | 0/400 | – |" in comparison.to_markdown()


def test_samples_that_snap():
    """Above ln 4, or ln 2 above the median, whichever is less."""
    np.testing.assert_array_equal(snapped(np.array([0.0, 0.1, 0.2, 0.88, 0.9])), [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(snapped(np.array([1.3, 1.38, 1.39, 3.0])), [0, 0, 1, 1])
    assert not snapped(np.zeros(0)).any()


TWO = {1: gaussian(1.0), 2: gaussian(2.0)}
BAD = {
    "fields must hold at least two models, got 1": {"fields": {1: gaussian(1.0)}},
    "fields must have steps as keys, or names": {"fields": {1: gaussian(1.0), "a": gaussian(1.0)}},
    "fields must hold models by training step or by name": {"fields": [gaussian(1.0)]},
    r"num_samples must be a whole number >= 2, got 1": {"num_samples": 1},
    r"num_samples must be at least 381 to show a share of copies below the limit, 0.01, got 380": {
        "num_samples": 380
    },
    r"earliest must be one of \[1, 2\], got 5": {"earliest": 5},
    "event_shape must be given without data": {"event_shape": None},
    r"train must have two or more rows of shape \(2,\), got shape \(5, 3\)": {
        "train": np.zeros((5, 3))
    },
    "train must be finite": {"train": np.full((5, 2), np.nan)},
    "held_out must have two or more rows": {"held_out": np.zeros((1, 2))},
    r"fewer must be below num_steps, 8, got \(4, 8\)": {"fewer": (8, 4)},
    "tolerance must be positive": {"tolerance": 0.0},
    r"limit must lie in \(0, 1\), got 1.0": {"limit": 1.0},
    "embed must be given with held_out": {"embed": np.asarray},
    "folder must be None with embed": {"embed": np.asarray, "held_out": HELD_OUT, "folder": "x"},
    "cond must have as many rows": {"cond": jnp.zeros(3)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message, own_messages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"fields": TWO, "key": KEY, "num_samples": N, "num_steps": 8, "event_shape": (2,)}
    arguments |= {"fewer": (4,)} | BAD[message]
    with pytest.raises(ValueError, match=message):
        kj.compare(**arguments)


def test_an_earliest_that_copies_is_refused():
    models = {1: gaussian(4.0), 8: kj.EmpiricalField(POINTS), 9: kj.EmpiricalField(POINTS)}
    with pytest.raises(ValueError, match=r"earliest must be a model from before copying, got 8, "):
        kj.compare(models, key=KEY, num_samples=N, num_steps=32, earliest=8, event_shape=(2,))


def test_models_before_the_earliest_do_not_snap():
    models = {1: gaussian(1.0), 2: gaussian(1.01), 3: gaussian(1.02)}
    comparison = kj.compare(
        models, key=KEY, num_samples=N, num_steps=4, fewer=(), earliest=2, event_shape=(2,)
    )
    assert [one.snap is None for one in comparison.models] == [True, True, False]
    assert comparison.earliest == "2"


def test_finished_models_are_kept(tmp_path, monkeypatch):
    """Interrupted at the second model, the same call measures that one alone, to the same end."""
    make = kj.networks.network_field
    models = {
        step: make("mlp", (2,), key=jax.random.key(step), width=4, depth=1) for step in (1, 2)
    }
    options = {"key": KEY, "num_samples": N, "num_steps": 4, "fewer": ()}
    wanted = kj.compare(models, **options)
    from kinetic_jax.comparison import _compare

    measured, measures = _compare.measured, []

    def until(stop):
        def count(name, *rest):
            if name == stop:
                raise KeyboardInterrupt
            measures.append(name)
            return measured(name, *rest)

        return count

    monkeypatch.setattr(_compare, "measured", until("2"))
    with pytest.raises(KeyboardInterrupt):
        kj.compare(models, folder=tmp_path, **options)
    monkeypatch.setattr(_compare, "measured", until(None))
    assert kj.compare(models, folder=tmp_path, **options) == wanted
    assert measures == ["1", "2"]
    assert kj.compare({"a": models[1], "b": models[2]}, folder=tmp_path, **options)["b"].snap
    assert measures == ["1", "2"]  # names do not matter
    kj.compare(models, folder=tmp_path, **options | {"num_steps": 5})
    assert measures == ["1", "2"] * 2
    for file in tmp_path.iterdir():
        file.write_text(file.read_text()[:40])
    assert kj.compare(models, folder=tmp_path, **options) == wanted
    assert measures == ["1", "2"] * 3
