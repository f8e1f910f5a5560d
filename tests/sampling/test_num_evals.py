"""`num_evals` against a count of the calls that are really made."""

from collections import Counter

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import sample

FIXED = [diffrax.Euler(), diffrax.Heun(), diffrax.Bosh3(), diffrax.Tsit5(), diffrax.Dopri8()]
ADAPTIVE = {
    "tsit5": diffrax.Tsit5(),  # FSAL
    "heun": diffrax.Heun(),
    "half euler": diffrax.HalfSolver(diffrax.Euler()),
    "half bosh3": diffrax.HalfSolver(diffrax.Bosh3()),  # FSAL inside
}


class Hairer(diffrax.PIDController):
    """Chooses its first step by two evaluations of the field."""

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        if dt0 is None:
            f0 = func(terms, t0, y0, args)
            f1 = func(terms, t0 + 0.01, y0 + 0.01 * f0, args)
            dt0 = 0.01 / (1e-3 + jnp.max(jnp.abs(f1 - f0)))
        return super().init(terms, t0, t1, y0, dt0, args, func, error_order)


CALLS: Counter = Counter()


def counting(t, x, cond=None):
    """A field that counts its calls on the host, while a compiled program runs."""
    jax.debug.callback(lambda _: CALLS.update(["calls"]), t)
    return 4 * jnp.sin(9 * t + x)


def counted(**options):
    """How many calls were made, and how many `sample` tells of."""
    CALLS.clear()
    result = sample(counting, jnp.zeros((1, 1)), **options).check()
    jax.block_until_ready(result)
    jax.effects_barrier()
    return CALLS["calls"], int(result.num_evals[0])


@pytest.mark.parametrize("solver", FIXED, ids=lambda solver: type(solver).__name__)
def test_fixed_grids(solver):
    made, told = counted(solver=solver, num_steps=7)
    assert made == told


def test_saved_times_between_nodes_cost_a_step_each():
    made, told = counted(solver=diffrax.Heun(), num_steps=5, save_at=np.array([0.1, 0.2, 0.5]))
    assert made == told == 2 * (5 + 3)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_solves(name):
    """A first step of 0.01 is accepted at once; one of 0.9 is rejected several times."""
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-3)
    for dt0 in (0.01, 0.9, None) if name == "tsit5" else (0.01, 0.9):
        made, told = counted(solver=ADAPTIVE[name], controller=controller, dt0=dt0, max_steps=256)
        assert made == told
        assert made > 20


def test_a_search_for_the_first_step_counts():
    made, told = counted(controller=Hairer(rtol=1e-3, atol=1e-3), max_steps=256)
    given, told_given = counted(controller=Hairer(rtol=1e-3, atol=1e-3), dt0=0.1, max_steps=256)
    assert made == told
    assert given == told_given


def test_a_jump_makes_the_next_step_fresh():
    """After a jump of the field an FSAL solver cannot reuse its last stage."""
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-3, jump_ts=jnp.array([0.3, 0.7]))
    made, told = counted(controller=controller, dt0=0.01, max_steps=256)
    assert made == told
