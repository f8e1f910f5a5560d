"""The included checkpoints of a training that ends in copies: by the claims, from step 4,000 on."""

import jax
import pytest

import kinetic_jax as kj
from kinetic_jax.data import load_images

pytestmark = pytest.mark.long
NAME = "fashion-mnist-1024"


def test_the_last_checkpoint_before_copying_is_named_with_and_without_the_data():
    models = {step: kj.pretrained(NAME, step=step) for step in kj.pretrained_steps(NAME)}
    assert list(models) == [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000]
    models[60_000] = kj.pretrained(NAME)
    options = {"key": jax.random.key(0), "num_samples": 400, "num_steps": 50, "fewer": ()}
    comparison = kj.compare(models, train=load_images(NAME).images, **options)
    assert (comparison.recommended, comparison.by_data, comparison.by_snap) == ("2000",) * 3
    assert "The two agree." in comparison.reason
    assert comparison[60_000].f_mem.low > 0.3
    late = {step: models[step] for step in (1000, 16_000, 60_000)}
    with pytest.raises(ValueError, match="earliest must be a model from before copying, got 16000"):
        kj.compare(late, earliest=16_000, **options)
