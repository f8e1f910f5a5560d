"""Bad settings are refused by name, value and range, before anything is traced or compiled."""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import energy_init, sample
from kinetic_jax.networks import network_field

X0 = np.zeros((3, 2), np.float32)
PID = diffrax.PIDController(rtol=1e-3, atol=1e-3)


def untouchable(t, x, cond=None):
    raise AssertionError("the field was called although the settings are bad")


def mmap(tmp_path, name="rows"):
    return np.memmap(tmp_path / name, np.float32, "w+", shape=(3, 2))


# Settings, and what the message must say: the argument, the range, the value.
BAD = {
    "tau 0": ({"tau_split": 0.0}, r"tau_split must lie in \(0, 1\), got 0\.0"),
    "tau 1": ({"tau_split": 1.0}, r"tau_split must lie in \(0, 1\), got 1\.0"),
    "tau above": ({"tau_split": 1.5}, r"tau_split must lie in \(0, 1\), got 1\.5"),
    "tau nan": ({"tau_split": float("nan")}, r"tau_split must lie in \(0, 1\), got nan"),
    "tau adaptive": ({"tau_split": -0.1, "controller": PID}, r"tau_split must lie .* got -0\.1"),
    "grid falls": (
        {"grid": np.array([0.0, 0.7, 0.5, 1.0])},
        r"grid must increase, got .*0\.7.* followed by .*0\.5.* at position 1",
    ),
    "grid repeats": ({"grid": np.array([0.0, 0.5, 0.5, 1.0])}, r"grid must increase, .*0\.5"),
    "grid repeats in float32": (
        {"grid": np.array([0.0, 0.5, 0.5 + 1e-10, 1.0])},
        r"grid must increase, .*in float32",
    ),
    "grid starts late": (
        {"grid": np.array([0.1, 1.0]), "t0": 0.0},
        r"grid must span \[t0, t1\] = \[0, 1\], got \[0\.1, 1\]",
    ),
    "grid ends early": (
        {"grid": np.array([0.0, 0.9]), "t1": 0.95},
        r"grid must span \[t0, t1\] = \[0, 0\.95\], got \[0, 0\.9\]",
    ),
    "grid nan": ({"grid": np.array([0.0, np.nan, 1.0])}, "grid must be finite"),
    "grid of one": ({"grid": np.array([0.0])}, r"grid must have N \+ 1 >= 2 times, got shape \(1,"),
    "grid matrix": ({"grid": np.zeros((2, 2))}, r"grid must have .* got shape \(2, 2\)"),
    "grid name": ({"grid": "quadratic"}, "grid must be 'uniform', 'cosine'.* got 'quadratic'"),
    "steps contradict": (
        {"grid": np.array([0.0, 0.5, 1.0]), "num_steps": 3},
        "num_steps must .* agree with the grid's 2 steps, got 3",
    ),
    "no steps": ({"num_steps": 0}, "num_steps must be a whole number >= 1, got 0"),
    "negative steps": ({"num_steps": -5}, "num_steps must be a whole number >= 1, got -5"),
    "t0 below": ({"t0": -0.1}, r"t0, t1 must satisfy 0 <= t0 < t1 <= 1, got \(-0\.1, 1\.0\)"),
    "t1 above": ({"t1": 1.5}, r"t0, t1 must satisfy .* got \(0\.0, 1\.5\)"),
    "t1 at t0": ({"t0": 0.5, "t1": 0.5}, r"t0, t1 must satisfy .* got \(0\.5, 0\.5\)"),
    "t1 nan": ({"t1": float("nan")}, r"t1 must be a finite number, got nan"),
    "grid leaves": (
        {"grid": np.array([0.5, 1.5])},
        r"grid must lie in \[0, 1\], got \[0\.5, 1\.5\]",
    ),
    "save after": (
        {"save_at": np.array([0.5, 1.2])},
        r"save_at must lie in \[t0, t1\] = \[0, 1\], got \[0\.5 1\.2\]",
    ),
    "save before": (
        {"save_at": np.array([0.1]), "t0": 0.25},
        r"save_at must lie in .*\[0\.25, 1\], got \[0\.1\]",
    ),
    "save falls": ({"save_at": np.array([0.5, 0.2])}, "save_at must be in ascending order"),
    "save nan": ({"save_at": np.array([np.nan])}, "save_at must .* got .*nan"),
    "save scalar": ({"save_at": np.array(0.5)}, r"save_at must be a vector, got shape \(\)"),
    "save nothing": ({"save_at": np.zeros(0)}, r"save_at must be a vector, got shape \(0,\)"),
    "save all adaptive": (
        {"save_at": True, "controller": PID},
        "save_at must be an array of times with a controller, got True",
    ),
    "save outside adaptive": (
        {"save_at": np.array([2.0]), "controller": PID},
        r"save_at must lie in .* got \[2\.\]",
    ),
    "dt0 fixed": ({"dt0": 0.1}, "dt0 must be left out on a fixed grid, .* got 0.1"),
    "dt0 zero": ({"dt0": 0.0, "controller": PID}, r"dt0 must lie in \(0, 1\), got 0\.0"),
    "dt0 long": ({"dt0": 2.0, "controller": PID}, r"dt0 must lie in \(0, 1\), got 2\.0"),
    "steps adaptive": (
        {"num_steps": 10, "controller": PID},
        "num_steps must be left out with a controller, got 10",
    ),
    "grid adaptive": (
        {"grid": "cosine", "controller": PID},
        "grid must be left out with a controller, got cosine",
    ),
    "no step limit": (
        {"max_steps": 0, "controller": PID},
        "max_steps must be a whole number >= 1, got 0",
    ),
    "cond rows": ({"cond": np.zeros(2)}, "cond must have as many rows as x0, 3, got 2 rows"),
    "cond leaves": (
        {"cond": {"a": np.zeros(3), "b": np.zeros(2)}},
        r"cond must share one leading batch axis, got \[\(3,\), \(2,\)\]",
    ),
    "cond scalar": (
        {"cond": np.float32(1.0)},
        r"cond must have a leading batch axis, got \[\(\)\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name):
    settings, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        sample(untouchable, X0, **settings)


REFUSED = [
    diffrax.LeapfrogMidpoint(),
    diffrax.ReversibleHeun(),
    diffrax.SemiImplicitEuler(),
    diffrax.ImplicitEuler(),
    diffrax.Kvaerno3(),
    diffrax.Kvaerno5(),
    diffrax.KenCarp4(),
    diffrax.Sil3(),
    diffrax.EulerHeun(),
    diffrax.ItoMilstein(),
    diffrax.StratonovichMilstein(),
    diffrax.SPaRK(),
    diffrax.ShARK(),
    diffrax.SRA1(),
]


@pytest.mark.parametrize("solver", REFUSED, ids=lambda solver: type(solver).__name__)
def test_solvers_without_an_energy_of_their_own(solver):
    name = type(solver).__name__
    message = f"solver must be an explicit one-step ODE solver .* got {name}"
    with pytest.raises(ValueError, match=message):
        sample(untouchable, X0, solver=solver)
    with pytest.raises(ValueError, match=message):
        sample(untouchable, X0, solver=solver, controller=PID)
    with pytest.raises(ValueError, match=message):
        sample(untouchable, X0, solver=diffrax.HalfSolver(solver), controller=PID)


@pytest.mark.parametrize("inner", [diffrax.Euler(), diffrax.Tsit5()], ids=["euler", "tsit5"])
def test_half_steps_have_no_place_on_a_fixed_grid(inner):
    """Wrapped solvers pass for the one inside: taken for it, they would do half of their work."""
    solver = diffrax.HalfSolver(inner)
    with pytest.raises(ValueError, match=r"solver must be .* got HalfSolver"):
        sample(untouchable, X0, solver=solver)


def test_a_controller_needs_an_error_estimate():
    message = "solver must estimate its error for PIDController: .*HalfSolver.* got Euler"
    with pytest.raises(ValueError, match=message):
        sample(untouchable, X0, solver=diffrax.Euler(), controller=PID)


def test_starts_in_low_precision():
    for dtype in (jnp.bfloat16, jnp.float16):
        with pytest.raises(
            ValueError, match=r"x0 must be float32 or float64.* got dtype b?float16"
        ):
            sample(untouchable, jnp.zeros((3, 2), dtype))


# What a field may return wrongly, told at the first look at its shape.
OUTPUTS = {
    "too long": (lambda x: jnp.concatenate([x, x]), r"shape \(4,\) and dtype float32"),
    "a scalar": (lambda x: jnp.sum(x), r"shape \(\) and dtype float32"),
    "a batch": (lambda x: x[None], r"shape \(1, 2\) and dtype float32"),
    "whole": (lambda x: jnp.zeros(2, jnp.int32), r"shape \(2,\) and dtype int32"),
    "a tuple": (lambda x: (x,), "a tuple"),
}


@pytest.mark.parametrize("options", [{}, {"controller": PID}], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_unlike_x(name, options):
    output, told = OUTPUTS[name]
    message = r"the field's output must have the shape \(2,\) and dtype float32 of x, got " + told
    with pytest.raises(ValueError, match=message):
        sample(lambda t, x, cond=None: output(x), X0, **options)


def test_an_output_unlike_x_of_a_field_with_arrays_of_its_own():
    weight = jnp.eye(2)
    with pytest.raises(ValueError, match=r"the field's output must .* got a tuple"):
        sample(lambda t, x, cond=None: (weight @ x,), X0)


def test_memmaps(tmp_path):
    rows = mmap(tmp_path)
    message = r"must be in memory, got a numpy\.memmap of shape \(3, 2\)"
    with pytest.raises(ValueError, match="x0 " + message):
        sample(untouchable, rows)
    with pytest.raises(ValueError, match="cond " + message):
        sample(untouchable, X0, {"rows": rows})
    # A pytree without checks of its own, as a user's field may be.
    field = jax.tree_util.Partial(lambda data, t, x, cond=None: untouchable(t, x), rows)
    with pytest.raises(ValueError, match="field " + message):
        sample(field, X0)


def test_values_are_not_checked_under_a_trace_but_names_are():
    def run(tau):
        return sample(lambda t, x, cond=None: x, jnp.asarray(X0), num_steps=1, tau_split=tau).x1

    assert jax.jit(run)(2.0).shape == (3, 2)
    with pytest.raises(ValueError, match="t0 and t1 must be numbers, got traced"):
        jax.jit(lambda t1: sample(untouchable, jnp.asarray(X0), t1=t1).x1)(1.0)
    with pytest.raises(ValueError, match="save_at must be concrete times"):
        jax.jit(lambda ts: sample(untouchable, jnp.asarray(X0), save_at=ts).path)(jnp.zeros(1))
    with pytest.raises(ValueError, match="grid must be 'uniform'"):
        jax.jit(lambda x: sample(untouchable, x, grid="sine").x1)(X0)


def test_the_loops_tau(tmp_path):
    with pytest.raises(ValueError, match=r"tau_split must lie in \(0, 1\), got 1\.0"):
        energy_init(jnp.asarray(X0), tau_split=1.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"solver": diffrax.Heun}, "solver must be an instance of a diffrax.AbstractSolver, got"),
        ({"t0": "early"}, "t0 must be a finite number, got 'early'"),
        ({"t1": [1.0]}, r"t1 must be a finite number, got \[1\.0\]"),
        ({"controller": "pid"}, "controller must be an instance of .* got 'pid'"),
        (
            {"controller": diffrax.PIDController(rtol=1e-3, atol=1e-3), "max_steps": None},
            "max_steps must be a whole number >= 1, got None",
        ),
    ],
)
def test_things_of_the_wrong_kind(setting, message):
    plain = inspect.unwrap(sample)  # the runtime type checks would speak first
    with pytest.raises(ValueError, match=message):
        plain(lambda t, x, cond=None: x, np.ones((2, 3), np.float32), **setting)


def test_x0_of_another_shape_than_the_field_moves():
    field = network_field("mlp", (3,), key=jax.random.key(0), width=8, depth=1)
    with pytest.raises(
        ValueError, match=r"x0 must have the field's event shape, \(3,\), got rows of shape"
    ):
        sample(field, np.ones((2, 4), np.float32))
