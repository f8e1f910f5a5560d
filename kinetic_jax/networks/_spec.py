"""Descriptions of networks, sufficient to build them without weights."""

import dataclasses
from typing import Any

from flax import nnx

from kinetic_jax._checks import real_number, require, short, whole_number
from kinetic_jax._schema import from_description
from kinetic_jax.networks._mixer import PatchMixer
from kinetic_jax.networks._mlp import ResidualMLP
from kinetic_jax.networks._settings import MOST, checked_setting, settings_of
from kinetic_jax.networks._unet import UNet

NETWORKS: dict[str, type[Any]] = {"mlp": ResidualMLP, "mixer": PatchMixer, "unet": UNet}


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The scaling of a field's data: x = (raw − shift) / scale.

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

    def apply(self, raw: Any) -> Any:
        """Converts raw data to the scale of the field."""
        return (raw - self.shift) / self.scale

    def invert(self, x: Any) -> Any:
        """Converts data in the scale of the field to raw data."""
        return x * self.scale + self.shift


@dataclasses.dataclass(frozen=True)
class _Description:
    """The JSON form of `NetworkSpec`."""

    network: str
    event_shape: tuple[int, ...]
    num_classes: int | None
    scaling: Scaling
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """The description of a network without its weights; hashable.

    Attributes:
        network: name in `NETWORKS`.
        event_shape: shape of one sample.
        num_classes: number of classes, or None.
        scaling: scaling of the raw data.
        config: the network's other settings, as sorted pairs.
    """

    network: str
    event_shape: tuple[int, ...]
    num_classes: int | None
    scaling: Scaling
    config: tuple[tuple[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The description as a dictionary of JSON types."""
        return dataclasses.asdict(self) | {"config": dict(self.config)}

    @classmethod
    def from_json(cls, data: Any) -> "NetworkSpec":
        """The inverse of `to_json` (JSON turns tuples to lists).

        Raises:
            ValueError: naming the field that is missing, unknown, or out of range.
        """
        given = from_description(_Description, data, "field")
        require_network("field.network", given.network)
        unknown = sorted(given.config.keys() - settings_of(NETWORKS[given.network]).keys())
        require(not unknown, "field.config", short(unknown), f"hold settings of {given.network!r}")
        return checked_spec(**vars(given), prefix="field.", config_prefix="field.config.")

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The network with new weights."""
        return NETWORKS[self.network](
            self.event_shape,
            num_classes=self.num_classes,
            rngs=rngs,
            **dict(self.config),
        )

    def require_arrays(self, stored: int) -> None:
        """Checks the number of stored arrays before the network is built.

        Raises:
            ValueError: naming the settings.
        """
        network, config = NETWORKS[self.network], default_config(self.network) | dict(self.config)
        count = network.count_arrays(self.num_classes, **config)
        name = " x ".join(f"field.config.{name}" for name in network.repeats)
        got = " x ".join(short(config[name]) for name in network.repeats)
        require(count == stored, name, f"{got}, {count:,} arrays", f"fit {stored} stored arrays")


def require_network(name: str, network: Any) -> None:
    """Checks that a network of that name exists."""
    known = isinstance(network, str) and network in NETWORKS
    require(known, name, short(network), f"be one of {', '.join(map(repr, NETWORKS))}")


def checked_spec(
    network: str,
    event_shape: Any,
    num_classes: Any,
    scaling: Any,
    config: dict[str, Any],
    *,
    prefix: str = "",
    config_prefix: str = "",
) -> NetworkSpec:
    """Validates settings from a user or a file and returns the description.

    Raises:
        ValueError: naming the setting, after the prefix, if it has the wrong type or range.
    """
    name = f"{prefix}event_shape"
    sides = isinstance(event_shape, tuple | list)
    require(sides, name, short(event_shape), "be a tuple of whole numbers >= 1")
    shape = tuple(whole_number(f"{name}[{i}]", n, 1, MOST) for i, n in enumerate(event_shape))
    if num_classes is not None:
        num_classes = whole_number(f"{prefix}num_classes", num_classes, 1, MOST)
    require(isinstance(scaling, Scaling), f"{prefix}scaling", short(scaling), "be a Scaling")
    kinds = settings_of(NETWORKS[network])
    settings = {
        name: checked_setting(f"{config_prefix}{name}", value, kinds[name].annotation)
        for name, value in config.items()
        if name in kinds  # the constructor refuses others
    }
    pairs = tuple(sorted((config | settings).items()))
    return NetworkSpec(network, shape, num_classes, scaling, pairs)


def default_config(network: str) -> dict[str, Any]:
    """The network's default settings.

    Saved fields store all settings, so that a later change of a default does not affect them.
    """
    return {name: parameter.default for name, parameter in settings_of(NETWORKS[network]).items()}
