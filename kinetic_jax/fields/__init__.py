"""Velocity fields: what moves a sample from noise to data."""

from kinetic_jax.fields._adapters import from_reversed_time as from_reversed_time
from kinetic_jax.fields._adapters import from_scaled_time as from_scaled_time
from kinetic_jax.fields._adapters import from_vector_field as from_vector_field
from kinetic_jax.fields._field import Field as Field
from kinetic_jax.fields._field import WrappedField as WrappedField
from kinetic_jax.fields._linen import LinenField as LinenField
from kinetic_jax.fields._linen import from_linen as from_linen
from kinetic_jax.fields._nnx import NNXField as NNXField
from kinetic_jax.fields._nnx import from_nnx as from_nnx
from kinetic_jax.fields._on_manifold import on_manifold as on_manifold
from kinetic_jax.fields._prediction import edm_denoiser as edm_denoiser
from kinetic_jax.fields._prediction import from_prediction as from_prediction
from kinetic_jax.fields._protocol import VelocityField as VelocityField
from kinetic_jax.fields._protocol import as_field as as_field
from kinetic_jax.fields._schedule import Schedule as Schedule
from kinetic_jax.fields._schedule import cosine_schedule as cosine_schedule
from kinetic_jax.fields._schedule import ddpm_schedule as ddpm_schedule
from kinetic_jax.fields._schedule import edm_schedule as edm_schedule
from kinetic_jax.fields._schedule import linear_schedule as linear_schedule
from kinetic_jax.fields._schedule import vp_schedule as vp_schedule
from kinetic_jax.fields._scheduler import schedule_from_scheduler as schedule_from_scheduler
