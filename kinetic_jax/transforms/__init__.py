"""Transforms of velocity fields: functions that map a field to a field."""

from kinetic_jax.transforms._cfg import cfg as cfg
from kinetic_jax.transforms._cfg_zero_star import cfg_zero_star as cfg_zero_star
from kinetic_jax.transforms._clock_matched import clock_matched as clock_matched
from kinetic_jax.transforms._combine import Transform as Transform
from kinetic_jax.transforms._combine import chain as chain
from kinetic_jax.transforms._combine import identity as identity
from kinetic_jax.transforms._gain import Gain as Gain
from kinetic_jax.transforms._gain import gain as gain
from kinetic_jax.transforms._guide import guide as guide
from kinetic_jax.transforms._kts import kts as kts
from kinetic_jax.transforms._kts import kts_gain as kts_gain
from kinetic_jax.transforms._smooth import smooth as smooth
from kinetic_jax.transforms._ssc import ssc as ssc
