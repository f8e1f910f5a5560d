"""Metrics of samples: their distances to training data, and comparisons with data.

They run from the host; only `kde_support` can be used under `jit` or `vmap`.
"""

from kinetic_jax.metrics._comparison import PairedDifference as PairedDifference
from kinetic_jax.metrics._comparison import beaten_by as beaten_by
from kinetic_jax.metrics._comparison import paired_difference as paired_difference
from kinetic_jax.metrics._comparison import resampled as resampled
from kinetic_jax.metrics._energy_density import DensityProfile as DensityProfile
from kinetic_jax.metrics._energy_density import LateEnergy as LateEnergy
from kinetic_jax.metrics._energy_density import density_profile as density_profile
from kinetic_jax.metrics._energy_density import late_energy as late_energy
from kinetic_jax.metrics._energy_groups import EnergyGroup as EnergyGroup
from kinetic_jax.metrics._energy_groups import energy_groups as energy_groups
from kinetic_jax.metrics._energy_table import energy_table as energy_table
from kinetic_jax.metrics._energy_table import table_groups as table_groups
from kinetic_jax.metrics._energy_threshold import EnergyThreshold as EnergyThreshold
from kinetic_jax.metrics._energy_threshold import energy_threshold as energy_threshold
from kinetic_jax.metrics._frechet import FrechetFloor as FrechetFloor
from kinetic_jax.metrics._frechet import FrechetReference as FrechetReference
from kinetic_jax.metrics._frechet import frechet_distance as frechet_distance
from kinetic_jax.metrics._frechet import frechet_floor as frechet_floor
from kinetic_jax.metrics._kernel import KernelDistance as KernelDistance
from kinetic_jax.metrics._kernel import kernel_distance as kernel_distance
from kinetic_jax.metrics._memorization import SWEEP as SWEEP
from kinetic_jax.metrics._memorization import Memorization as Memorization
from kinetic_jax.metrics._memorization import NearestTwo as NearestTwo
from kinetic_jax.metrics._memorization import check_rule as check_rule
from kinetic_jax.metrics._memorization import judged as judged
from kinetic_jax.metrics._memorization import memorization as memorization
from kinetic_jax.metrics._memorization import nearest_two as nearest_two
from kinetic_jax.metrics._neighbors import nearest_neighbors as nearest_neighbors
from kinetic_jax.metrics._novelty import Authenticity as Authenticity
from kinetic_jax.metrics._novelty import authpct as authpct
from kinetic_jax.metrics._novelty import ct_score as ct_score
from kinetic_jax.metrics._precision_recall import PrecisionRecall as PrecisionRecall
from kinetic_jax.metrics._precision_recall import precision_recall as precision_recall
from kinetic_jax.metrics._rank import Correlation as Correlation
from kinetic_jax.metrics._rank import spearman as spearman
from kinetic_jax.metrics._ranking import RocAuc as RocAuc
from kinetic_jax.metrics._ranking import roc_auc as roc_auc
from kinetic_jax.metrics._support import kde_support as kde_support
from kinetic_jax.metrics._support import knn_support as knn_support
