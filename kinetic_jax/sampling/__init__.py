"""Sampling: integrating a velocity field, with the energy of every path."""

from kinetic_jax.sampling._grid import time_nodes as time_nodes
from kinetic_jax.sampling._noise import noise as noise
from kinetic_jax.sampling._probes import Probes as Probes
from kinetic_jax.sampling._probes import checked_probes as checked_probes
from kinetic_jax.sampling._probes import held_arrays as held_arrays
from kinetic_jax.sampling._probes import probed as probed
from kinetic_jax.sampling._probes import projected as projected
from kinetic_jax.sampling._probes import same_positions as same_positions
from kinetic_jax.sampling._probes import same_within_rounding as same_within_rounding
from kinetic_jax.sampling._sample import sample as sample
from kinetic_jax.sampling._sweep import sweep as sweep
from kinetic_jax.sampling._trajectories import NOT_FINITE as NOT_FINITE
from kinetic_jax.sampling._trajectories import STEP_LIMIT as STEP_LIMIT
from kinetic_jax.sampling._trajectories import KineticProfile as KineticProfile
from kinetic_jax.sampling._trajectories import Trajectories as Trajectories
