"""Velocity fields: what moves a sample from noise to data."""

from kinetic_jax.fields._adapters import from_reversed_time as from_reversed_time
from kinetic_jax.fields._adapters import from_scaled_time as from_scaled_time
from kinetic_jax.fields._adapters import from_vector_field as from_vector_field
from kinetic_jax.fields._field import Field as Field
from kinetic_jax.fields._field import WrappedField as WrappedField
from kinetic_jax.fields._flax import LinenField as LinenField
from kinetic_jax.fields._flax import NNXField as NNXField
from kinetic_jax.fields._flax import from_linen as from_linen
from kinetic_jax.fields._flax import from_nnx as from_nnx
from kinetic_jax.fields._protocol import VelocityField as VelocityField
from kinetic_jax.fields._protocol import as_field as as_field
