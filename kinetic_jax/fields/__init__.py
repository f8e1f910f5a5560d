"""Velocity fields: what moves a sample from noise to data."""

from kinetic_jax.fields._adapters import from_reversed_time as from_reversed_time
from kinetic_jax.fields._adapters import from_scaled_time as from_scaled_time
from kinetic_jax.fields._adapters import from_vector_field as from_vector_field
from kinetic_jax.fields._atoms import log_ratio as log_ratio
from kinetic_jax.fields._empirical import EmpiricalField as EmpiricalField
from kinetic_jax.fields._empirical_batch import posterior_on_batch as posterior_on_batch
from kinetic_jax.fields._flax import NNXField as NNXField
from kinetic_jax.fields._flax import from_linen as from_linen
from kinetic_jax.fields._flax import from_nnx as from_nnx
from kinetic_jax.fields._gaussian import GaussianField as GaussianField
from kinetic_jax.fields._protocol import VelocityField as VelocityField
from kinetic_jax.fields._protocol import WrappedField as WrappedField
from kinetic_jax.fields._protocol import arrival_of as arrival_of
from kinetic_jax.fields._protocol import check_cond as check_cond
from kinetic_jax.fields._protocol import check_inputs as check_inputs
from kinetic_jax.fields._protocol import checked_event_shape as checked_event_shape
from kinetic_jax.fields._protocol import checked_field as checked_field
from kinetic_jax.fields._protocol import checked_velocity as checked_velocity
from kinetic_jax.fields._protocol import declared as declared
from kinetic_jax.fields._protocol import network_hint as network_hint
from kinetic_jax.fields._protocol import own_mesh as own_mesh
from kinetic_jax.fields._protocol import partition_specs as partition_specs
from kinetic_jax.fields._protocol import require_function as require_function
from kinetic_jax.fields._protocol import require_takes_cond as require_takes_cond
from kinetic_jax.fields._values import log_volume as log_volume
