"""Metrics: what samples are near to, and how they compare with data."""

from kinetic_jax.metrics._frechet import frechet_distance as frechet_distance
from kinetic_jax.metrics._memorization import Memorization as Memorization
from kinetic_jax.metrics._memorization import memorization as memorization
from kinetic_jax.metrics._neighbors import nearest_neighbors as nearest_neighbors
