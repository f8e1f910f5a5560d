"""The settings among which `tune` chooses: a transform of the field, and options of `sample`."""

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kinetic_jax._checks import is_concrete, real_array, require, short
from kinetic_jax._open import call_opened
from kinetic_jax.fields import Field, VelocityField, WrappedField, as_field
from kinetic_jax.sampling import KineticProfile, Trajectories, grid_from_profile
from kinetic_jax.transforms import Gain, Transform, gain, identity, kts
from kinetic_jax.transforms._gain import GainField, gain_at

NO_GAIN = "no gain"
OPTIONS = ("solver", "num_steps", "grid", "controller", "t0", "t1")
_SHOWN = np.linspace(0.0, 1.0, 11, dtype=np.float32)  # times at which a gain is written down


class Setting(NamedTuple):
    """One way to sample, for `tune`.

    Attributes:
        name: a unique name other than "no gain".
        transform: of the field, such as a gain.
        options: of `sample`, which override those given to `tune`: `solver`, `num_steps`, `grid`,
            `controller`, `t0`, `t1`.
        family: the group of settings that are drawn in one colour; by default the name.
    """

    name: str
    transform: Transform = identity()
    options: Mapping[str, Any] = MappingProxyType({})
    family: str = ""

    def as_json(self) -> dict[str, Any]:
        """Name, family, options, and its gain at 0, 0.1, …, 1 if the transform is a gain."""
        options = {
            name: value if isinstance(value, int | float | str) else _listed(value)
            for name, value in self.options.items()
        }
        eta = None
        if isinstance(self.transform, Gain):
            shown = call_opened(gain_at, self.transform.fn, jnp.asarray(_SHOWN))
            eta = np.asarray(shown, np.float64).tolist()
        return {
            "name": self.name,
            "family": self.family or self.name,
            "options": options,
            "gain": eta,
        }


def _listed(value: object) -> object:
    is_array = hasattr(value, "shape") or isinstance(value, list | tuple)
    return np.asarray(value, float).tolist() if is_array else type(value).__name__


def kts_settings(
    alpha0: Sequence[float] = (0.0, 0.05, 0.1),
    beta0: Sequence[float] = (0.0, 0.01, 0.02, 0.05),
    tau_split: Sequence[float] = (0.6,),
) -> tuple[Setting, ...]:
    """The product grid of `kts(alpha0, beta0, tau_split)`, without settings of zero strength.

    Args:
        alpha0: strengths of the launch.
        beta0: strengths of the landing, below 0.0524.
        tau_split: ends of the launch, in (0, 1).

    Returns:
        The settings, named by their numbers.

    Raises:
        ValueError: if a list has no numbers, or `kts` refuses one, as it does gains that reverse.

    Example:
        >>> from kinetic_jax.tuning import kts_settings
        >>> [setting.name for setting in kts_settings([0.0, 0.1], [0.0, 0.02])]
        ['kts(0, 0.02, 0.6)', 'kts(0.1, 0, 0.6)', 'kts(0.1, 0.02, 0.6)']
    """
    lists = {"alpha0": alpha0, "beta0": beta0, "tau_split": tau_split}
    settings = []
    for numbers in itertools.product(*(_numbers(*item) for item in lists.items())):
        if not any(numbers[:2]):
            continue
        name = f"kts({', '.join(f'{number:g}' for number in numbers)})"
        family = f"kts, alpha0 = {numbers[0]:g}, tau = {numbers[2]:g}"
        settings.append(Setting(name, kts(*numbers), family=family))
    return tuple(settings)


def profile_grids(
    profile: KineticProfile | Trajectories,
    num_steps: int,
    *,
    floors: Sequence[float] = (0.05, 0.1, 0.3),
) -> tuple[Setting, ...]:
    """Time grids from the profile of a pilot run, `grid_from_profile`, one for each floor.

    Args:
        profile: as in `grid_from_profile`, of a pilot run.
        num_steps: steps of each grid.
        floors: least densities in units of the mean, each in (0, 1]; at 1 the grid is uniform.

    Returns:
        The settings, named by their floors.

    Raises:
        ValueError: as `grid_from_profile`.

    Example:
        >>> import jax.numpy as jnp
        >>> from kinetic_jax import sample
        >>> from kinetic_jax.tuning import profile_grids
        >>> late = lambda t, x, cond=None: jnp.exp(8 * t) * jnp.ones_like(x)
        >>> pilot = sample(late, jnp.zeros((1, 2)), num_steps=200)
        >>> [setting.name for setting in profile_grids(pilot, 10, floors=[0.1, 0.5])]
        ['profile grid, floor 0.1', 'profile grid, floor 0.5']
    """
    return tuple(
        Setting(
            f"profile grid, floor {floor:g}",
            options={"grid": grid_from_profile(profile, num_steps, floor=floor)},
            family="profile grid",
        )
        for floor in _numbers("floors", floors)
    )


def _numbers(name: str, values: object) -> list[float]:
    array = real_array(name, values)
    require(array.ndim == 1 and array.size > 0, name, short(values), "be a list of numbers")
    return [float(number) for number in array]


def checked_settings(settings: object, field: Field) -> tuple[Setting, ...]:
    """The settings, each with its transform tried on the field.

    Raises:
        ValueError: naming the setting, if its name is taken, an option is unknown, its transform
            does not return a field, or its gain reaches 0.
    """
    is_list = isinstance(settings, list | tuple) and len(settings) > 0
    require(is_list, "settings", short(settings), "be a list of Setting, at least one")
    assert isinstance(settings, list | tuple)
    names = {NO_GAIN}
    for setting in settings:
        require(isinstance(setting, Setting), "settings", short(setting), "hold Setting only")
        name = setting.name
        is_own = isinstance(name, str) and name not in names
        require(is_own, "settings", repr(name), "have names of their own, without 'no gain'")
        names.add(name)
        is_mapping = isinstance(setting.options, Mapping)
        require(is_mapping, f"settings ({name})", short(setting.options), "have options by name")
        unknown = [option for option in setting.options if option not in OPTIONS]
        require(not unknown, f"settings ({name})", unknown, f"have options out of {OPTIONS}")
        is_function = callable(setting.transform)
        require(is_function, f"settings ({name})", short(setting.transform), "have a transform")
        _refuse_reversal(name, as_field(setting.transform(field)))
    return tuple(settings)


def _refuse_reversal(name: str, field: VelocityField) -> None:
    """Checks every gain of a chain, those made with `allow_reversal` among them."""
    while isinstance(field, WrappedField):
        if isinstance(field, GainField) and is_concrete(field.fn):
            try:
                gain(field.fn)
            except ValueError as error:
                raise ValueError(f"settings ({name}) must not reverse the flow: {error}") from error
        field = field.field
