"""Measure and shape how flow-matching models move.

Data flows down this list of packages: fields, transforms, energy, sampling, metrics, networks,
data, training, pretrained, jobs, experiments. The names below are the public ones, and stay where
they are.
"""

from kinetic_jax.data import Images as Images
from kinetic_jax.data import load_images as load_images
from kinetic_jax.energy import PathEnergy as PathEnergy
from kinetic_jax.energy import energy_identity as energy_identity
from kinetic_jax.energy import energy_init as energy_init
from kinetic_jax.energy import energy_result as energy_result
from kinetic_jax.energy import energy_state as energy_state
from kinetic_jax.energy import energy_term as energy_term
from kinetic_jax.energy import energy_update as energy_update
from kinetic_jax.energy import path_norm as path_norm
from kinetic_jax.energy import single_atom as single_atom
from kinetic_jax.fields import EmpiricalField as EmpiricalField
from kinetic_jax.fields import GaussianField as GaussianField
from kinetic_jax.fields import VelocityField as VelocityField
from kinetic_jax.fields import from_linen as from_linen
from kinetic_jax.fields import from_nnx as from_nnx
from kinetic_jax.fields import from_reversed_time as from_reversed_time
from kinetic_jax.fields import from_vector_field as from_vector_field
from kinetic_jax.jobs import Job as Job
from kinetic_jax.jobs import JobSettings as JobSettings
from kinetic_jax.jobs import diagnose_job as diagnose_job
from kinetic_jax.jobs import open_job as open_job
from kinetic_jax.jobs import run_job as run_job
from kinetic_jax.metrics import Memorization as Memorization
from kinetic_jax.metrics import authpct as authpct
from kinetic_jax.metrics import ct_score as ct_score
from kinetic_jax.metrics import density_profile as density_profile
from kinetic_jax.metrics import energy_groups as energy_groups
from kinetic_jax.metrics import energy_threshold as energy_threshold
from kinetic_jax.metrics import frechet_distance as frechet_distance
from kinetic_jax.metrics import frechet_floor as frechet_floor
from kinetic_jax.metrics import kde_support as kde_support
from kinetic_jax.metrics import kernel_distance as kernel_distance
from kinetic_jax.metrics import knn_support as knn_support
from kinetic_jax.metrics import late_energy as late_energy
from kinetic_jax.metrics import memorization as memorization
from kinetic_jax.metrics import nearest_neighbors as nearest_neighbors
from kinetic_jax.metrics import precision_recall as precision_recall
from kinetic_jax.metrics import spearman as spearman
from kinetic_jax.networks import AUTHORS_UNET as AUTHORS_UNET
from kinetic_jax.networks import ImageClassifier as ImageClassifier
from kinetic_jax.networks import PatchMixer as PatchMixer
from kinetic_jax.networks import ResidualMLP as ResidualMLP
from kinetic_jax.networks import Scaling as Scaling
from kinetic_jax.networks import UNet as UNet
from kinetic_jax.networks import network_field as network_field
from kinetic_jax.pretrained import pretrained as pretrained
from kinetic_jax.pretrained import pretrained_classifier as pretrained_classifier
from kinetic_jax.pretrained import pretrained_steps as pretrained_steps
from kinetic_jax.sampling import KineticProfile as KineticProfile
from kinetic_jax.sampling import Trajectories as Trajectories
from kinetic_jax.sampling import noise as noise
from kinetic_jax.sampling import sample as sample
from kinetic_jax.sampling import sweep as sweep
from kinetic_jax.training import FitResult as FitResult
from kinetic_jax.training import cfm_loss as cfm_loss
from kinetic_jax.training import fit as fit
from kinetic_jax.training import load_field as load_field
from kinetic_jax.training import save_field as save_field
from kinetic_jax.transforms import Transform as Transform
from kinetic_jax.transforms import cfg as cfg
from kinetic_jax.transforms import chain as chain
from kinetic_jax.transforms import gain as gain
from kinetic_jax.transforms import identity as identity
from kinetic_jax.transforms import kts as kts
from kinetic_jax.transforms import kts_gain as kts_gain

__version__ = "0.1.0"
