"""Pictures of energies, profiles, copies and fronts; they need the extra `demo`.

Functions of one panel draw on Matplotlib `Axes`, those of several on a `Figure` or `SubFigure`, and
return it; without one they make their own, apart from Matplotlib's global state.
"""

from kinetic_jax.plotting._checkpoints import comparison_figure as comparison_figure
from kinetic_jax.plotting._curves import Curve as Curve
from kinetic_jax.plotting._curves import by_time as by_time
from kinetic_jax.plotting._curves import energy_and_profile as energy_and_profile
from kinetic_jax.plotting._curves import energy_by_step as energy_by_step
from kinetic_jax.plotting._curves import mean_curve as mean_curve
from kinetic_jax.plotting._curves import paths as paths
from kinetic_jax.plotting._fronts import FrontSetting as FrontSetting
from kinetic_jax.plotting._fronts import fronts as fronts
from kinetic_jax.plotting._groups import by_energy_group as by_energy_group
from kinetic_jax.plotting._groups import intervals as intervals
from kinetic_jax.plotting._histograms import diagnosis_figure as diagnosis_figure
from kinetic_jax.plotting._histograms import distance_histogram as distance_histogram
from kinetic_jax.plotting._histograms import energy_histogram as energy_histogram
from kinetic_jax.plotting._histograms import ratio_histogram as ratio_histogram
from kinetic_jax.plotting._images import image_grid as image_grid
from kinetic_jax.plotting._images import images_by_energy as images_by_energy
from kinetic_jax.plotting._images import riskiest as riskiest
from kinetic_jax.plotting._style import Estimate as Estimate
from kinetic_jax.plotting._style import Figure as Figure
from kinetic_jax.plotting._style import Interval as Interval
from kinetic_jax.plotting._style import SubFigure as SubFigure
from kinetic_jax.plotting._style import png as png
from kinetic_jax.plotting._tuning import tuning_front as tuning_front
