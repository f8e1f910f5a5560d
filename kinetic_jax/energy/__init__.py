"""Kinetic path energy: its formulas, and its measurement in any solver or loop."""

from kinetic_jax.energy._density import EnergyIdentity as EnergyIdentity
from kinetic_jax.energy._density import energy_identity as energy_identity
from kinetic_jax.energy._loop import energy_init as energy_init
from kinetic_jax.energy._loop import energy_result as energy_result
from kinetic_jax.energy._loop import energy_update as energy_update
from kinetic_jax.energy._path_energy import PathEnergy as PathEnergy
from kinetic_jax.energy._path_energy import PhaseTotals as PhaseTotals
from kinetic_jax.energy._path_energy import has_finite_energy as has_finite_energy
from kinetic_jax.energy._path_energy import no_totals as no_totals
from kinetic_jax.energy._path_energy import path_energy as path_energy
from kinetic_jax.energy._path_energy import squared_norm as squared_norm
from kinetic_jax.energy._single_atom import AtomLanding as AtomLanding
from kinetic_jax.energy._single_atom import single_atom as single_atom
from kinetic_jax.energy._term import PathState as PathState
from kinetic_jax.energy._term import energy_state as energy_state
from kinetic_jax.energy._term import energy_term as energy_term
from kinetic_jax.energy._term import path_norm as path_norm
