"""Sampling: integrating a velocity field, with the energy of every path."""

from kinetic_jax.sampling._complete import complete as complete
from kinetic_jax.sampling._encode import encode as encode
from kinetic_jax.sampling._grid import shifted_grid as shifted_grid
from kinetic_jax.sampling._noise import noise as noise
from kinetic_jax.sampling._profile_grid import grid_from_profile as grid_from_profile
from kinetic_jax.sampling._sample import sample as sample
from kinetic_jax.sampling._scheduler_grid import grid_from_scheduler as grid_from_scheduler
from kinetic_jax.sampling._sweep import sweep as sweep
from kinetic_jax.sampling._trajectories import KineticProfile as KineticProfile
from kinetic_jax.sampling._trajectories import Trajectories as Trajectories
