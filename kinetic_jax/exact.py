"""Flows that are known in closed form, and their energy against their density."""

from kinetic_jax.energy import AtomLanding as AtomLanding
from kinetic_jax.energy import EnergyIdentity as EnergyIdentity
from kinetic_jax.energy import energy_identity as energy_identity
from kinetic_jax.energy import single_atom as single_atom
from kinetic_jax.fields import EmpiricalField as EmpiricalField
from kinetic_jax.fields import GaussianField as GaussianField
from kinetic_jax.fields._empirical_programs import HeaviestAtoms as HeaviestAtoms
from kinetic_jax.fields._values import EmpiricalValues as EmpiricalValues
from kinetic_jax.metrics._energy_density import DensityProfile as DensityProfile
from kinetic_jax.metrics._energy_density import LateEnergy as LateEnergy
from kinetic_jax.metrics._energy_density import density_profile as density_profile
from kinetic_jax.metrics._energy_density import late_energy as late_energy
