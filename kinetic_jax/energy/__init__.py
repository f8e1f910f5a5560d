"""Kinetic path energy: its formulas, and its measurement in any solver or loop."""

from kinetic_jax.energy._frame import FrameEnergy as FrameEnergy
from kinetic_jax.energy._frame import in_frame as in_frame
from kinetic_jax.energy._loop import EnergyState as EnergyState
from kinetic_jax.energy._loop import energy_init as energy_init
from kinetic_jax.energy._loop import energy_result as energy_result
from kinetic_jax.energy._loop import energy_update as energy_update
from kinetic_jax.energy._path_energy import PathEnergy as PathEnergy
from kinetic_jax.energy._term import PathState as PathState
from kinetic_jax.energy._term import energy_state as energy_state
from kinetic_jax.energy._term import energy_term as energy_term
from kinetic_jax.energy._term import path_norm as path_norm
