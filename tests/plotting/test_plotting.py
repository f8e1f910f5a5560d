"""Pictures show the numbers they are given, and refuse what does not fit."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from kinetic_jax import plotting, sample
from kinetic_jax.metrics import EnergyGroup, memorization

STEPS = 4
GROUPS = [EnergyGroup(0.0, 1.0, 5, 0.2, 0.1, 0.4), EnergyGroup(1.0, 2.0, 5, 0.6, 0.5, 0.9)]


@pytest.fixture(scope="module")
def run():
    """Three samples at constant speed, ||u||² = 2, 8 and NaN."""
    velocities = jnp.array([[1.0, 1.0], [2.0, 2.0], [jnp.nan, 0.0]])
    return sample(
        lambda t, x, cond: cond, jnp.zeros((3, 2)), velocities, num_steps=STEPS, save_at=True
    )


def bars(container):
    """Points of an error bar, and the ends of its bars."""
    line, _, (segments, *_) = container.lines
    return line.get_xydata(), np.array(segments.get_segments())


def test_mean_curve():
    values = np.random.default_rng(0).normal(size=(50, 3))
    curve = plotting.mean_curve(np.arange(3), values)
    np.testing.assert_allclose(curve.value, values.mean(axis=0))
    half = 1.96 * values.std(axis=0) / np.sqrt(50)
    np.testing.assert_allclose([curve.low, curve.high], [curve.value - half, curve.value + half])


def test_by_time_draws_curves_on_the_axes_it_is_given():
    axes = Figure().subplots()
    curve = plotting.Curve(np.arange(3) / 3, np.array([1.0, 2, 3]), np.zeros(3), np.full(3, 4.0))
    shown = plotting.by_time({"a": curve, "b": curve}, ylabel="speed", tau_split=0.6, axes=axes)
    assert shown is axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, 2, 3])
    assert axes.lines[0].get_linewidth() > axes.lines[1].get_linewidth()
    assert axes.lines[2].get_xdata() == [0.6, 0.6]
    assert len(axes.collections) == 2


def test_a_gain_has_the_colour_of_its_run(run):
    gains = {"shaped": np.linspace(1, 2, STEPS)}
    _, profile, gain = plotting.energy_and_profile({"plain": run, "shaped": run}, gains=gains).axes
    assert gain.lines[0].get_color() == profile.lines[1].get_color() != profile.lines[0].get_color()


def test_energy_and_profile_leaves_failed_samples_out(run):
    gains = {"plain": np.linspace(1, 2, STEPS)}
    figure = plotting.energy_and_profile({"plain": run}, gains=gains, tau_split=0.6)
    energy, profile, gain = figure.axes
    assert [label.get_text() for label in energy.get_yticklabels()] == ["plain"]
    np.testing.assert_allclose(profile.lines[0].get_ydata(), 5.0)
    np.testing.assert_allclose(gain.lines[0].get_ydata(), gains["plain"])
    np.testing.assert_allclose(gain.lines[0].get_xdata(), np.arange(STEPS) / STEPS)
    assert len(plotting.energy_and_profile({"plain": run}).axes) == 2


def test_energy_by_step():
    curve = plotting.Curve(np.array([10, 100]), np.array([1.0, 2.0]))
    panels = {"E": {"a": curve, "b": curve}, "F_mem": {"a": curve}}
    figure = plotting.energy_by_step(panels, onset=50)
    first, second = figure.axes
    assert [len(axes.containers) for axes in (first, second)] == [2, 1]
    assert first.lines[-1].get_xdata() == [50, 50]
    assert figure.get_supxlabel() == "training steps; dotted: step 50"


def test_paths(run):
    valid = sample(lambda t, x, cond: x, jnp.ones((3, 2)), num_steps=STEPS, save_at=True)
    axes = plotting.paths(valid)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), valid.path[0])


def test_by_energy_group():
    figure = plotting.by_energy_group(
        {"F_mem": {"E": GROUPS}, "margin": {"E": GROUPS, "excess": GROUPS}},
        references={"F_mem": 0.3},
    )
    first, second = figure.axes
    points, ends = bars(first.containers[0])
    np.testing.assert_allclose(points, [[1, 0.2], [2, 0.6]])
    np.testing.assert_allclose(ends[:, :, 1], [[0.1, 0.4], [0.5, 0.9]])
    assert first.lines[-1].get_ydata() == [0.3, 0.3]
    assert len(second.containers) == 2


def test_intervals():
    estimates = {"E": plotting.Interval(0.5, 0.4, 0.7), "excess": plotting.Interval(-0.5)}
    figure = plotting.intervals({"a": {"s": estimates}, "b": {"s": estimates}}, centre=0.1)
    first, _ = figure.axes
    points, ends = bars(first.containers[0])
    np.testing.assert_allclose(points, [[0.5, 0], [-0.5, 1]])
    np.testing.assert_allclose(ends[:, :, 0], [[0.4, 0.7], [-0.5, -0.5]])  # none is a point
    assert [label.get_text() for label in first.get_yticklabels()] == ["E", "excess"]


def test_fronts_begin_at_the_baseline():
    def setting(family, share, distance, is_control=False):
        f_mem = plotting.Interval(share, share - 0.1, share + 0.1)
        return plotting.FrontSetting(family, f_mem, plotting.Interval(distance), is_control)

    figure = plotting.fronts(
        [setting("none", 0.5, 1.0), setting("KTS", 0.3, 2.0), setting("stop", 0.2, 3.0, True)],
        xlabel="distance", held_out=(0.1, 0.5), baseline="none", zoom=(0.5, 1.5),
    )  # fmt: skip
    whole, near = figure.axes
    lines = {one.get_label(): one.lines[0] for one in whole.containers}
    np.testing.assert_allclose(lines["KTS"].get_xydata(), [[1, 50], [2, 30]])
    np.testing.assert_allclose(lines["none"].get_xydata(), [[1, 50]])
    assert (lines["KTS"].get_linestyle(), lines["stop"].get_linestyle()) == ("-", ":")
    assert near.get_xlim() == (0.5, 1.5)


def test_image_grid():
    images = np.linspace(-1, 1, 3 * 4).reshape(3, 2, 2)
    figure = plotting.image_grid(
        {"samples": images}, nearest={"samples": -images}, framed={"samples": np.arange(3) == 1},
        columns=2,
    )  # fmt: skip
    above, framed, below, _ = figure.axes
    np.testing.assert_array_equal(above.images[0].get_array(), images[0])
    np.testing.assert_array_equal(below.images[0].get_array(), -images[0])
    assert framed.spines["left"].get_linewidth() > above.spines["left"].get_linewidth()
    assert (above.get_ylabel(), below.get_ylabel()) == ("samples", "nearest")


def test_images_by_energy_are_spread_over_each_group():
    images = np.arange(9.0)[:, None, None] / 9 * np.ones((9, 2, 2))
    figure = plotting.images_by_energy(images, -np.arange(9.0), num_groups=3, columns=2)
    shown = [float(axes.images[0].get_array().max()) for axes in figure.axes]
    np.testing.assert_allclose(shown, np.array([8, 6, 5, 3, 2, 0]) / 9)


def test_histograms(run):
    axes = plotting.energy_histogram(np.arange(9.0), memorized=np.arange(9) > 6)
    assert sum(bar.get_height() for bar in axes.containers[1]) == pytest.approx(1)  # one is cut off
    samples, train = np.eye(3, dtype=np.float32), np.zeros((4, 3), np.float32)
    train[:, 0] = np.arange(4)
    share = memorization(samples, train, held_out=samples)
    shown = plotting.ratio_histogram(share, 1 / 3)
    labels = shown.get_legend_handles_labels()[1]
    assert any(label.startswith("held-out data: F_mem 33.33% of 3 ") for label in labels)
    axes = plotting.distance_histogram(np.array([[1.0, 2.0], [0.5, 3.0]]))
    assert sum(bar.get_height() for bar in axes.containers[0]) == 2


def test_the_same_picture_is_the_same_bytes():
    first, again = (plotting.png(plotting.energy_histogram(np.arange(9.0))) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p, r: p.mean_curve(np.arange(2), np.ones((3, 3))),
            r"values must have shape \(n, ",
        ),
        (lambda p, r: p.by_time({}, ylabel=""), "curves must not be empty"),
        (
            lambda p, r: p.by_time({"a": p.Curve(np.ones(2), np.ones(3))}, ylabel=""),
            r"value of 'a' must be \(2,\), got \(3,\)",
        ),
        (lambda p, r: p.energy_and_profile({}), "runs must not be empty"),
        (
            lambda p, r: p.energy_and_profile({"a": r}, gains={"b": np.ones(4)}),
            r"gains must name runs among \['a'\], got \['b'\]",
        ),
        (lambda p, r: p.energy_by_step({}), "panels must not be empty"),
        (lambda p, r: p.by_energy_group({"a": {"E": []}}), "panel 'a' must have some"),
        (
            lambda p, r: p.by_energy_group({"a": {"E": GROUPS}}, references={"b": 1.0}),
            r"references must name panels among \['a'\]",
        ),
        (lambda p, r: p.intervals({}), "panels must not be empty"),
        (lambda p, r: p.fronts([], xlabel=""), "settings must not be empty"),
        (lambda p, r: p.image_grid({"a": np.ones((2, 3))}), "row 'a' must be"),
        (
            lambda p, r: p.image_grid({"a": np.ones((2, 3, 3))}, framed={"a": np.ones(3, bool)}),
            r"framed of 'a' must have shape \(2,\)",
        ),
        (lambda p, r: p.images_by_energy(np.ones((2, 3, 3)), np.ones(5)), "images must be 5"),
        (lambda p, r: p.energy_histogram(np.array([np.nan])), "energy must be finite"),
    ],
)
@pytest.mark.usefixtures("own_messages")
def test_errors(call, message, run):
    with pytest.raises(ValueError, match=message):
        call(plotting, run)


def test_adaptive_runs_have_no_profile(run):
    # `sample` returns this under adaptive control, by its own tests.
    adaptive = dataclasses.replace(run, profile=None, ts=None, path=None)
    with pytest.raises(ValueError, match="'a' under adaptive control"):
        plotting.energy_and_profile({"a": adaptive})
    with pytest.raises(ValueError, match="run must have saved paths"):
        plotting.paths(adaptive)
