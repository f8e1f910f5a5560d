import jax
import pytest

# Strict from the first import on: an implicit promotion or rank broadcast is a defect here.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Runs a test in double precision; everything else runs in single, as users do."""
    with jax.enable_x64(True):
        yield
