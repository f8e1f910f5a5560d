"""Training velocity fields by flow matching, and saving them."""

from kinetic_jax.training._checkpoint import load_field as load_field
from kinetic_jax.training._checkpoint import save_field as save_field
from kinetic_jax.training._convention import Identification as Identification
from kinetic_jax.training._convention import identify_convention as identify_convention
from kinetic_jax.training._fit import FitResult as FitResult
from kinetic_jax.training._fit import TrainingHistory as TrainingHistory
from kinetic_jax.training._fit import fit as fit
from kinetic_jax.training._loss import cfm_loss as cfm_loss
from kinetic_jax.training._readings import Convention as Convention
from kinetic_jax.training._reflow import reflow as reflow
