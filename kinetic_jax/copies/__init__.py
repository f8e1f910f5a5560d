"""Copies among samples, recognised with and without the training data.

Each statistic is a function of a velocity field and samples; a higher score is more like a copy,
and NaN stands for "unknown".
"""

from kinetic_jax.copies._budget import affordable as affordable
from kinetic_jax.copies._checkpoints import check_earlier as check_earlier
from kinetic_jax.copies._detector import CopyDetector as CopyDetector
from kinetic_jax.copies._early import RejectedRun as RejectedRun
from kinetic_jax.copies._early import sample_rejecting as sample_rejecting
from kinetic_jax.copies._features import CopyFeatures as CopyFeatures
from kinetic_jax.copies._features import copy_features as copy_features
from kinetic_jax.copies._guesses import reconstruction as reconstruction
from kinetic_jax.copies._guesses import self_consistency as self_consistency
from kinetic_jax.copies._guesses import snap as snap
from kinetic_jax.copies._guesses import spread as spread
from kinetic_jax.copies._guided import anisotropy as anisotropy
from kinetic_jax.copies._guided import guidance_cosine as guidance_cosine
from kinetic_jax.copies._guided import guidance_norm as guidance_norm
from kinetic_jax.copies._guided import guided_sharpness as guided_sharpness
from kinetic_jax.copies._guided_path import AccumulatedGuidance as AccumulatedGuidance
from kinetic_jax.copies._guided_path import accumulated_guidance as accumulated_guidance
from kinetic_jax.copies._negatives import negatives as negatives
from kinetic_jax.copies._paths import bending as bending
from kinetic_jax.copies._paths import contraction as contraction
from kinetic_jax.copies._paths import early_bending as early_bending
from kinetic_jax.copies._paths import norm_rule as norm_rule
from kinetic_jax.copies._paths import profile_features as profile_features
from kinetic_jax.copies._registry import STATISTICS as STATISTICS
from kinetic_jax.copies._registry import Statistic as Statistic
from kinetic_jax.copies._reject import Rejection as Rejection
from kinetic_jax.copies._reject import Stratum as Stratum
from kinetic_jax.copies._reject import clusters as clusters
from kinetic_jax.copies._reject import reject as reject
from kinetic_jax.copies._samples import total_variation as total_variation
from kinetic_jax.copies._samples import train_distance as train_distance
from kinetic_jax.copies._select import SelectedRun as SelectedRun
from kinetic_jax.copies._select import Selection as Selection
from kinetic_jax.copies._select import sample_selecting as sample_selecting
from kinetic_jax.copies._select import select as select
from kinetic_jax.copies._sharpness import curvature as curvature
from kinetic_jax.copies._sharpness import curvature_difference as curvature_difference
from kinetic_jax.copies._sharpness import flipd as flipd
from kinetic_jax.copies._sharpness import p_laplace as p_laplace
