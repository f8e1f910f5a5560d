"""Numbers of gains are traced: `tune` compiles for one setting what it compiles for many."""

import jax
import jax.numpy as jnp
import pytest

from kinetic_jax.tuning import kts_settings, tune


def constant(t, x, cond=None):
    return jnp.ones_like(x)


def search(settings, num_steps):
    return tune(
        constant,
        settings,
        objective=lambda drawn: drawn.run.energy.total,
        distance=lambda rows: 0.0,
        bound=0.0,
        key=jax.random.key(0),
        shape=(1,),
        num_samples=4,
        num_steps=num_steps,
        resamples=2,
    )


@pytest.mark.long
def test_settings_of_one_form_share_one_program(compilations):
    before = compilations()
    search(kts_settings([0.0], [0.02]), 10)
    after = compilations()
    assert after > before
    result = search(kts_settings([0.0, 0.1], [0.01, 0.03], [0.4, 0.6]), 10)
    assert len({one.objective for one in result.results}) == 9  # each was sampled on its own
    assert compilations() == after
    search(kts_settings([0.0], [0.02]), 9)
    assert compilations() > after  # another number of steps is another program
