"""`num_evals` against a count of the calls that are really made."""

from collections import Counter

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinetic_jax import sample

# Stages of every kind: one, a last one that the next step reuses (FSAL), one for the error alone.
FIXED = [diffrax.Euler(), diffrax.Bosh3(), diffrax.Dopri8()]
HALVED = {
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
    result = sample(counting, np.zeros((1, 1), np.float32), **options).check()
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


@pytest.mark.long
@pytest.mark.parametrize("name", HALVED)
def test_halved_steps(name):
    """A first step of 0.01 is accepted at once; one of 0.9 is rejected several times."""
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-3)
    for dt0 in (0.01, 0.9):
        made, told = counted(solver=HALVED[name], controller=controller, dt0=dt0, max_steps=256)
        assert made == told
        assert made > 20


def test_a_search_for_the_first_step_counts():
    """A controller's own search: Diffrax's begins with 0.01, as test_adaptive.py counts."""
    made, told = counted(controller=Hairer(rtol=1e-3, atol=1e-3), max_steps=256)
    assert made == told
    assert made > 20


@pytest.mark.long
def test_a_jump_makes_the_next_step_fresh():
    """After a jump of the field an FSAL solver cannot reuse its last stage."""
    found = {}
    for jumps in ([0.3, 0.7], [1.3, 1.7]):  # the second are never met
        times = np.array(jumps, np.float32)
        controller = diffrax.PIDController(rtol=1e-3, atol=1e-3, jump_ts=times)
        for dt0 in (0.01, 0.9):  # accepted at once; rejected several times
            made, told = counted(controller=controller, dt0=dt0, max_steps=256)
            assert made == told
            assert made > 20
            found[jumps[0], dt0] = made
    # Without a jump the first step alone has all of the 7 stages to itself.
    assert found[1.3, 0.01] % 6 == 1
    assert found[0.3, 0.01] % 6 != 1
