"""Tuning: the gain or time grid with the fewest copies at a bounded distance, or none of them."""

from kinetic_jax.tuning._descent import Descent as Descent
from kinetic_jax.tuning._descent import gain_by_gradients as gain_by_gradients
from kinetic_jax.tuning._distances import Distance as Distance
from kinetic_jax.tuning._distances import frechet_to as frechet_to
from kinetic_jax.tuning._distances import kernel_penalty as kernel_penalty
from kinetic_jax.tuning._distances import kernel_to as kernel_to
from kinetic_jax.tuning._objectives import Drawn as Drawn
from kinetic_jax.tuning._objectives import copies_of as copies_of
from kinetic_jax.tuning._objectives import snap_of as snap_of
from kinetic_jax.tuning._result import SettingResult as SettingResult
from kinetic_jax.tuning._result import Tuning as Tuning
from kinetic_jax.tuning._settings import Setting as Setting
from kinetic_jax.tuning._settings import kts_settings as kts_settings
from kinetic_jax.tuning._settings import profile_grids as profile_grids
from kinetic_jax.tuning._tune import tune as tune
