"""The cost of measuring the energy: `sample` against loops that users would write.

`sample` returns the energies and the profile over t; `jit` removes the results that the caller does
not use. All results are timed against a loop without energy, and the total energy alone against a
loop with the total energy.

The fields are the library's residual MLP and a bare three-layer MLP, which has half the arithmetic
per byte moved and shows the largest overhead.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.speed._loops import (
    adaptive,
    awake,
    bare_mlp,
    require_same,
    scan_euler,
    scan_euler_all,
    scan_euler_energy,
    scan_heun,
    scan_heun_all,
    scan_heun_energy,
)
from benchmarks.speed._record import Claim, Recorder
from kinetic_jax import Trajectories, VelocityField, noise, sample
from kinetic_jax.networks import AUTHORS_UNET, network_field

BY_HAND, BY_HAND_ENERGY = "hand-written scan, no energy", "hand-written scan, energy"
BY_HAND_ALL = "hand-written scan, all results"
WITH_ENERGY, WITHOUT, TOTAL = "sample", "sample, x1 alone", "sample, x1 and the energy"
PLAIN = "plain diffeqsolve under vmap, no energy"


class Method(NamedTuple):
    """A solver, and loops by hand that take its steps."""

    scan: Callable[[VelocityField, Array, Array], Array]
    scan_energy: Callable[[VelocityField, Array, Array], tuple[Array, Array]]
    scan_all: Callable[[VelocityField, Array, Array], dict[str, Array]]
    solver: diffrax.AbstractSolver
    num_steps: int


SOLVERS = {
    "Euler": Method(scan_euler, scan_euler_energy, scan_euler_all, diffrax.Euler(), 100),
    "Heun": Method(scan_heun, scan_heun_energy, scan_heun_all, diffrax.Heun(), 50),
}
CONTROLLER = diffrax.PIDController(rtol=1e-4, atol=1e-4)
# Compiling does not depend on the number of steps; few keep the time of running negligible.
STEPS_OF_A_FIRST_CALL = 2


def run(recorder: Recorder) -> None:
    """For each field and solver a loop by hand, `sample`, and `sample` for x1 alone."""
    width, dimensions, batch = recorder.pick((512, 1024, 256), (16, 8, 4))
    key = jax.random.key(0)
    x0 = noise(key, jnp.arange(batch), (dimensions,))
    fields: dict[str, VelocityField] = {
        "residual MLP": awake(network_field("mlp", (dimensions,), key=key, width=width), key),
        "bare MLP": bare_mlp(key, dimensions, width),
    }
    sizes = f"width {width}, {dimensions} dimensions, batch {batch}"
    for name, field in fields.items():
        for solver in SOLVERS:
            title = f"{name}, {sizes}, {solver}"
            fixed_grid(recorder, title, field, x0, solver)
            first_calls(recorder, title, field, x0, solver)
        adaptive_steps(recorder, f"{name}, {sizes}, Tsit5 at 1e-4", field, x0)
    if recorder.quick:
        return
    unet = network_field("unet", (32, 32, 1), key=key, **AUTHORS_UNET)
    images = noise(key, jnp.arange(batch), unet.event_shape)[:4]
    first_calls(
        recorder, "the KTS authors' U-Net, 32 × 32 gray, batch 4, Euler", unet, images, "Euler"
    )


def x1_and_energy(run: Trajectories) -> tuple[Array, Array]:
    """The two results of a loop with the total energy."""
    return run.x1, run.energy.total


def contenders(
    field: VelocityField, x0: Array, solver: str, num_steps: int | None = None
) -> dict[str, Callable[[], Any]]:
    """The ways to sample on a fixed grid."""
    method = SOLVERS[solver]
    steps = num_steps or method.num_steps
    nodes = jnp.asarray(np.arange(steps + 1) / steps, jnp.float32)
    ours = functools.partial(sample, solver=method.solver, num_steps=steps)
    x1_alone = eqx.filter_jit(lambda field, x0: ours(field, x0).x1)
    total = eqx.filter_jit(lambda field, x0: x1_and_energy(ours(field, x0)))
    return {
        BY_HAND: functools.partial(eqx.filter_jit(method.scan), field, x0, nodes),
        BY_HAND_ENERGY: functools.partial(eqx.filter_jit(method.scan_energy), field, x0, nodes),
        BY_HAND_ALL: functools.partial(eqx.filter_jit(method.scan_all), field, x0, nodes),
        WITH_ENERGY: functools.partial(ours, field, x0),
        TOTAL: functools.partial(total, field, x0),
        WITHOUT: functools.partial(x1_alone, field, x0),
    }


def fixed_grid(
    recorder: Recorder,
    title: str,
    field: VelocityField,
    x0: Array,
    solver: str,
    *,
    num_steps: int | None = None,
    names: Sequence[str] = (BY_HAND, BY_HAND_ENERGY, WITH_ENERGY, TOTAL, WITHOUT),
    rounds: int | None = None,
    dtype: str = "float32",
    tolerance: float = 1e-5,
) -> None:
    """Times the ways to sample on a fixed grid, or some of them, which must agree."""
    calls = {
        name: call
        for name, call in contenders(field, x0, solver, num_steps).items()
        if name in names
    }
    claims = (
        Claim(WITH_ENERGY, 1.03),
        Claim(TOTAL, 1.03, against=BY_HAND_ENERGY),
        Claim(WITH_ENERGY, 1.03, against=WITHOUT),
        Claim(TOTAL, 1.03, against=WITHOUT),
    )
    recorder.times(
        f"{title}, {num_steps or SOLVERS[solver].num_steps} steps",
        calls,
        *(claim for claim in claims if {claim.of, claim.against or claim.of} <= set(names)),
        rounds=rounds,
        dtype=dtype,
    )
    run = calls[WITH_ENERGY]()
    require_same(run.x1, {BY_HAND: calls[BY_HAND]()}, tolerance)
    if BY_HAND_ENERGY in calls:
        x1, energy = calls[BY_HAND_ENERGY]()
        require_same(run.x1, {BY_HAND_ENERGY: x1}, tolerance)
        require_same(run.energy.total, {BY_HAND_ENERGY: energy}, tolerance)
        require_all_results(run, contenders(field, x0, solver, num_steps)[BY_HAND_ALL](), tolerance)


def require_all_results(run: Trajectories, by_hand: dict[str, Array], tolerance: float) -> None:
    """Refuses a loop whose results are not those of `sample`."""
    assert run.profile is not None, "a fixed grid has a profile"
    ours = vars(run) | vars(run.energy) | vars(run.profile)
    for name, values in by_hand.items():
        # The excess by hand is a difference of energies.
        size = float(jnp.max(jnp.abs(ours["total" if name == "excess" else name]))) or 1.0
        message = f"{BY_HAND_ALL}, {name}"
        np.testing.assert_allclose(values, ours[name], 0, tolerance * size, err_msg=message)


def first_calls(
    recorder: Recorder,
    title: str,
    field: VelocityField,
    x0: Array,
    solver: str,
    *,
    names: Sequence[str] = (BY_HAND, BY_HAND_ENERGY, BY_HAND_ALL, WITH_ENERGY, TOTAL),
    dtype: str = "float32",
) -> None:
    """Times tracing and compiling of the ways to sample on a fixed grid, or of some."""
    ways = contenders(field, x0, solver, STEPS_OF_A_FIRST_CALL)
    claims = (
        Claim(WITH_ENERGY, 1.25, against=BY_HAND_ALL),
        Claim(TOTAL, 1.25, against=BY_HAND_ENERGY),
    )
    timings = recorder.first_calls(
        f"tracing and compiling: {title}",
        {name: call for name, call in ways.items() if name in names},
        *(claim for claim in claims if {claim.of, claim.against or claim.of} <= set(names)),
        dtype=dtype,
    )
    more = np.subtract(timings[WITH_ENERGY].rounds, timings[BY_HAND].rounds)
    recorder.figures(
        f"tracing and compiling, more than that of {BY_HAND}: {title}",
        "s",
        {WITH_ENERGY: float(np.median(more))},
        Claim(WITH_ENERGY, 0.2, figure=True),
        dtype=dtype,
    )


def adaptive_steps(
    recorder: Recorder,
    title: str,
    field: VelocityField,
    x0: Array,
    *,
    rounds: int | None = None,
    tolerance: float = 1e-3,
    compiling: bool = True,
) -> None:
    """Times adaptive steps against a solve by Diffrax alone, and tracing and compiling."""
    x1_alone = eqx.filter_jit(lambda field, x0: sample(field, x0, controller=CONTROLLER).x1)
    calls: dict[str, Callable[[], Any]] = {
        PLAIN: functools.partial(eqx.filter_jit(adaptive), field, x0, CONTROLLER),
        WITH_ENERGY: functools.partial(sample, field, x0, controller=CONTROLLER),
        WITHOUT: functools.partial(x1_alone, field, x0),
    }
    limits = [Claim(WITH_ENERGY, 1.05), Claim(WITH_ENERGY, 1.03, against=WITHOUT)]
    recorder.times(title, calls, *limits, rounds=rounds)
    # Rounding may decide whether a step is taken, at the tolerance of the steps.
    require_same(calls[WITH_ENERGY]().x1, {PLAIN: calls[PLAIN]()}, tolerance)
    calls.pop(WITHOUT)
    if not compiling:
        return
    recorder.first_calls(f"tracing and compiling: {title}", calls, Claim(WITH_ENERGY))
