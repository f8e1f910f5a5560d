"""Image data sets for training and evaluation."""

from kinetic_jax.data._fashion_mnist import holds_fashion_mnist as holds_fashion_mnist
from kinetic_jax.data._images import Images as Images
from kinetic_jax.data._load import load_images as load_images
