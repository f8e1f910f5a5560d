"""Measure and shape how flow-matching models move.

Data flows down this list of packages: fields, transforms, energy, sampling, metrics, training,
experiments. The names below are the public ones, and stay where they are.
"""

from kinetic_jax.fields import GaussianField as GaussianField
from kinetic_jax.fields import VelocityField as VelocityField
from kinetic_jax.fields import from_linen as from_linen
from kinetic_jax.fields import from_nnx as from_nnx
from kinetic_jax.fields import from_reversed_time as from_reversed_time
from kinetic_jax.fields import from_vector_field as from_vector_field

__version__ = "0.1.0"
