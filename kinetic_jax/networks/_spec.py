"""Descriptions of networks, from which they can be built without weights."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from flax import nnx
from jaxtyping import Array

from kinetic_jax._checks import real_number, require, short, whole_number
from kinetic_jax._schema import from_description
from kinetic_jax.networks._mixer import PatchMixer
from kinetic_jax.networks._mlp import ResidualMLP
from kinetic_jax.networks._settings import MOST, checked_setting, settings_of
from kinetic_jax.networks._unet import UNet

NETWORKS: dict[str, type[ResidualMLP | PatchMixer | UNet]] = {
    "mlp": ResidualMLP,
    "mixer": PatchMixer,
    "unet": UNet,
}
Numbers = TypeVar("Numbers", float, np.ndarray, Array)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The scaling of a field's data: x = (raw − shift) / scale.

    Args:
        shift: a finite number.
        scale: a finite number, not 0.

    Raises:
        ValueError: if shift or scale is not a finite number, or the scale is 0.

    Example:
        >>> from kinetic_jax.networks import Scaling
        >>> pixels = Scaling(shift=127.5, scale=127.5)  # 0 ... 255 to [−1, 1]
        >>> pixels.apply(255.0), pixels.invert(-1.0)
        (1.0, 0.0)
    """

    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("shift", "scale"):
            object.__setattr__(self, name, real_number(name, getattr(self, name)))
        require(self.scale != 0, "scale", self.scale, "not be 0")

    def apply(self, raw: Numbers) -> Numbers:
        """Converts raw data to the scale of the field."""
        return (raw - self.shift) / self.scale

    def invert(self, x: Numbers) -> Numbers:
        """Converts data in the scale of the field to raw data."""
        return x * self.scale + self.shift


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """The description of a network without its weights; hashable, so not to be changed.

    Attributes:
        network: name in `NETWORKS`.
        event_shape: shape of one sample.
        num_classes: number of classes, or None.
        scaling: scaling of the raw data.
        config: the network's other settings, by name.
    """

    network: str
    event_shape: tuple[int, ...]
    num_classes: int | None
    scaling: Scaling
    config: dict[str, object]

    def __hash__(self) -> int:
        # Dictionaries have no hash; specs that differ in `config` alone are distinguished by ==.
        return hash((self.network, self.event_shape, self.num_classes, self.scaling))

    def to_json(self) -> dict[str, object]:
        """The description as JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: object) -> "NetworkSpec":
        """The inverse of `to_json`; a `ValueError` names an invalid field."""
        spec = from_description(cls, data, "field")
        require_network("field.network", spec.network)
        unknown = sorted(spec.config.keys() - default_config(spec.network).keys())
        require(not unknown, "field.config", short(unknown), f"hold settings of {spec.network!r}")
        return checked_spec(**vars(spec), prefix="field.", config_prefix="field.config.")

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The network with new weights."""
        network: Callable[..., nnx.Module] = NETWORKS[self.network]
        return network(self.event_shape, num_classes=self.num_classes, rngs=rngs, **self.config)


def require_network(name: str, network: object) -> None:
    """Checks that a network of that name exists."""
    is_known = isinstance(network, str) and network in NETWORKS
    require(is_known, name, short(network), f"be one of {', '.join(map(repr, NETWORKS))}")


def checked_spec(
    network: str,
    event_shape: object,
    num_classes: object,
    scaling: object,
    config: Mapping[str, object],
    *,
    prefix: str = "",
    config_prefix: str = "",
) -> NetworkSpec:
    """Validates settings from a user or a file; errors name them with the prefixes."""
    name = f"{prefix}event_shape"
    if not isinstance(event_shape, tuple | list):
        raise ValueError(f"{name} must be a tuple of whole numbers >= 1, got {short(event_shape)}")
    shape = tuple(whole_number(f"{name}[{i}]", n, 1, MOST) for i, n in enumerate(event_shape))
    if num_classes is not None:
        num_classes = whole_number(f"{prefix}num_classes", num_classes, 1, MOST)
    if not isinstance(scaling, Scaling):
        raise ValueError(f"{prefix}scaling must be a Scaling, got {short(scaling)}")
    kinds = settings_of(NETWORKS[network])
    settings = {
        name: checked_setting(f"{config_prefix}{name}", value, kinds[name].annotation)
        for name, value in config.items()
        if name in kinds  # the constructor refuses others
    }
    ordered = dict(sorted({**config, **settings}.items()))
    return NetworkSpec(network, shape, num_classes, scaling, ordered)


def default_config(network: str) -> dict[str, object]:
    """The network's default settings.

    Saved fields store all settings, so that a later change of a default does not affect them.
    """
    return {name: parameter.default for name, parameter in settings_of(NETWORKS[network]).items()}
