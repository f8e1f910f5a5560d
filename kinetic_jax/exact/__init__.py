"""Exact flows, and their energy and density."""

from kinetic_jax.exact._empirical import EmpiricalField as EmpiricalField
from kinetic_jax.exact._empirical_values import EmpiricalValues as EmpiricalValues
from kinetic_jax.exact._empirical_values import HeaviestAtoms as HeaviestAtoms
from kinetic_jax.exact._energy_density import DensityProfile as DensityProfile
from kinetic_jax.exact._energy_density import LateEnergy as LateEnergy
from kinetic_jax.exact._energy_density import density_profile as density_profile
from kinetic_jax.exact._energy_density import late_energy as late_energy
from kinetic_jax.exact._gaussian import GaussianField as GaussianField
from kinetic_jax.exact._identity import EnergyIdentity as EnergyIdentity
from kinetic_jax.exact._identity import energy_identity as energy_identity
from kinetic_jax.exact._single_atom import AtomLanding as AtomLanding
from kinetic_jax.exact._single_atom import single_atom as single_atom
