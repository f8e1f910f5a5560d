"""Image data sets for training and evaluation."""

from kinetic_jax.data._images import Images as Images
from kinetic_jax.data._load import load_images as load_images
