"""Metrics of samples: their distances to training data, and comparisons with data.

They run from the host; only `kde_support` can be used under `jit` or `vmap`.
"""

from kinetic_jax.metrics._bits import bits_per_dimension as bits_per_dimension
from kinetic_jax.metrics._comparison import PairedDifference as PairedDifference
from kinetic_jax.metrics._comparison import paired_difference as paired_difference
from kinetic_jax.metrics._energy_groups import EnergyGroup as EnergyGroup
from kinetic_jax.metrics._energy_groups import energy_groups as energy_groups
from kinetic_jax.metrics._energy_threshold import EnergyThreshold as EnergyThreshold
from kinetic_jax.metrics._energy_threshold import energy_threshold as energy_threshold
from kinetic_jax.metrics._frechet import FrechetFloor as FrechetFloor
from kinetic_jax.metrics._frechet import FrechetReference as FrechetReference
from kinetic_jax.metrics._frechet import frechet_distance as frechet_distance
from kinetic_jax.metrics._frechet import frechet_floor as frechet_floor
from kinetic_jax.metrics._intervals import Estimate as Estimate
from kinetic_jax.metrics._intervals import Interval as Interval
from kinetic_jax.metrics._kernel import KernelDistance as KernelDistance
from kinetic_jax.metrics._kernel import kernel_distance as kernel_distance
from kinetic_jax.metrics._memorization import memorization as memorization
from kinetic_jax.metrics._memorization_result import Excess as Excess
from kinetic_jax.metrics._memorization_result import Kept as Kept
from kinetic_jax.metrics._memorization_result import Memorization as Memorization
from kinetic_jax.metrics._memorization_result import ThresholdSweep as ThresholdSweep
from kinetic_jax.metrics._neighbors import Neighbors as Neighbors
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
from kinetic_jax.metrics._transport import Efficiency as Efficiency
from kinetic_jax.metrics._transport import TransportBounds as TransportBounds
from kinetic_jax.metrics._transport import efficiency as efficiency
from kinetic_jax.metrics._transport import transport_bounds as transport_bounds
