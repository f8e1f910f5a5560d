"""Checkpoints of a training side by side: energies, steps needed, copies, and which one to take."""

from kinetic_jax.comparison._compare import compare as compare
from kinetic_jax.comparison._comparison import Comparison as Comparison
from kinetic_jax.comparison._report import FewSteps as FewSteps
from kinetic_jax.comparison._report import ModelReport as ModelReport
from kinetic_jax.comparison._report import Quantities as Quantities
