"""Images to train on and to compare samples with."""

from kinetic_jax.data._images import Images as Images
from kinetic_jax.data._load import load_images as load_images
