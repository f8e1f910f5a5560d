"""Transforms of velocity fields: functions that map a field to a field."""

from kinetic_jax.transforms._cfg import cfg as cfg
from kinetic_jax.transforms._combine import Transform as Transform
from kinetic_jax.transforms._combine import chain as chain
from kinetic_jax.transforms._combine import identity as identity
from kinetic_jax.transforms._gain import Gain as Gain
from kinetic_jax.transforms._gain import gain as gain
from kinetic_jax.transforms._kts import kts as kts
from kinetic_jax.transforms._kts import kts_gain as kts_gain
