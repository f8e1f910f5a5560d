"""The published claims about kinetic energy, measured on images: one module a claim."""

from kinetic_jax.experiments.claims._page import into_readme as into_readme
from kinetic_jax.experiments.claims._page import require_marks as require_marks
from kinetic_jax.experiments.claims._page import results_table as results_table
from kinetic_jax.experiments.claims._registry import CLAIMS as CLAIMS
from kinetic_jax.experiments.claims._registry import Claim as Claim
from kinetic_jax.experiments.claims._reproduce import reproduce as reproduce
from kinetic_jax.experiments.claims._subjects import Subjects as Subjects
from kinetic_jax.experiments.claims._subjects import shipped_subjects as shipped_subjects
from kinetic_jax.experiments.claims._subjects import train_models as train_models
from kinetic_jax.experiments.claims._subjects import trained_subjects as trained_subjects
from kinetic_jax.experiments.claims._subjects import with_held_out as with_held_out
