"""Fields made of this package's own networks, which know how they were built."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from kinetic_jax._checks import require, require_between, require_finite, require_key
from kinetic_jax._pytree import as_pytree
from kinetic_jax.fields import from_nnx
from kinetic_jax.networks._mixer import PatchMixer
from kinetic_jax.networks._mlp import ResidualMLP
from kinetic_jax.networks._unet import UNet

NETWORKS: dict[str, type[Any]] = {"mlp": ResidualMLP, "mixer": PatchMixer, "unet": UNet}


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How the data a field moves relate to the raw data: x = (raw − shift) / scale.

    Example:
        >>> from kinetic_jax.networks import Scaling
        >>> pixels = Scaling(shift=127.5, scale=127.5)  # 0 ... 255 to [−1, 1]
        >>> pixels.apply(255.0), pixels.invert(-1.0)
        (1.0, 0.0)
    """

    shift: float = 0.0
    scale: float = 1.0

    def apply(self, raw: Any) -> Any:
        """From raw data to what the field moves."""
        return (raw - self.shift) / self.scale

    def invert(self, x: Any) -> Any:
        """From what the field moves to raw data."""
        return x * self.scale + self.shift


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to build a network anew, but its weights; hashable.

    Attributes:
        network: its name in `NETWORKS`.
        event_shape: shape of one sample.
        num_classes: number of classes, or None.
        scaling: how x relates to the raw data.
        config: the network's other settings, as sorted pairs.
    """

    network: str
    event_shape: tuple[int, ...]
    num_classes: int | None
    scaling: Scaling
    config: tuple[tuple[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return dataclasses.asdict(self) | {"config": dict(self.config)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "NetworkSpec":
        """The inverse of `to_json` (JSON turns tuples to lists)."""
        return cls(
            network=data["network"],
            event_shape=tuple(data["event_shape"]),
            num_classes=data["num_classes"],
            scaling=Scaling(**data["scaling"]),
            config=_frozen(data["config"]),
        )

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The network, with fresh weights."""
        return NETWORKS[self.network](
            self.event_shape,
            num_classes=self.num_classes,
            rngs=rngs,
            **dict(self.config),
        )


def _frozen(config: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    def freeze(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(map(freeze, value))
        if isinstance(value, type | np.dtype):
            return jnp.dtype(value).name  # dtypes by name, which JSON can hold
        return value.item() if isinstance(value, np.generic) else value

    return tuple(sorted((name, freeze(value)) for name, value in config.items()))


class NetworkField(eqx.Module):
    """The field that `network_field` returns; `save_field` can write it and `load_field` read it.

    Attributes:
        velocity: the network as a field; its leaves are the weights.
        spec: what the network is; static.
    """

    velocity: Any
    spec: NetworkSpec = eqx.field(static=True)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree[Any] | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample; `cond` is its integer label, or None."""
        return self.velocity(t, x, cond)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.spec.event_shape

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None for a field without labels."""
        return self.spec.num_classes

    def check_cond(self, cond: Any, name: str = "cond") -> None:
        """Refuses labels that are out of range, where they are concrete."""
        cond = cond if hasattr(cond, "dtype") else np.asarray(cond)
        if self.num_classes is not None and jnp.issubdtype(cond.dtype, jnp.integer):
            require_between(name, cond, 0.0, float(self.num_classes), closed=True)

    @property
    def null_cond(self) -> Int[Array, ""] | None:
        """The label that stands for "none", for `cfg`; None for a field without labels."""
        return None if self.num_classes is None else jnp.asarray(self.num_classes, jnp.int32)

    @property
    def scaling(self) -> Scaling:
        """How x relates to the raw data."""
        return self.spec.scaling


def network_field(
    network: str,
    event_shape: tuple[int, ...],
    *,
    key: PRNGKeyArray,
    num_classes: int | None = None,
    scaling: Scaling | None = None,
    **config: Any,
) -> NetworkField:
    """A velocity field made of a fresh network of this package.

    Args:
        network: "mlp" (`ResidualMLP`), "mixer" (`PatchMixer`) or "unet" (`UNet`).
        event_shape: shape of one sample.
        key: where the initial weights come from.
        num_classes: number of classes; the field's `cond` is then an integer label, with
            `num_classes` for "none". None: a field without labels.
        scaling: how x relates to the raw data; kept with the field, not applied by it.
        **config: the network's other settings, passed to its constructor, which knows them all.

    Raises:
        ValueError: if the network is unknown or a setting does not fit.
        TypeError: if the network has no such setting.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import network_field, noise, sample
        >>> key = jax.random.key(0)
        >>> field = network_field("mlp", (8, 8), key=key, num_classes=10, width=32, depth=1)
        >>> x0 = noise(key, jnp.arange(3), field.event_shape)
        >>> sample(field, x0, jnp.array([0, 1, 9]), num_steps=4).x1.shape
        (3, 8, 8)
    """
    known = ", ".join(map(repr, NETWORKS))
    require(network in NETWORKS, "network", repr(network), f"be one of {known}")
    require_key("key", key)
    sides = isinstance(event_shape, tuple | list) and all(
        isinstance(side, int | np.integer) and side >= 1 for side in event_shape
    )
    require(sides, "event_shape", repr(event_shape), "be a tuple of whole numbers >= 1")
    shape = tuple(int(side) for side in event_shape)
    whole = num_classes is None or (isinstance(num_classes, int | np.integer) and num_classes >= 1)
    require(whole, "num_classes", repr(num_classes), "be None or a whole number >= 1")
    classes = None if num_classes is None else int(num_classes)
    scaling = Scaling() if scaling is None else scaling
    require(isinstance(scaling, Scaling), "scaling", repr(scaling), "be a Scaling")
    scaling = Scaling(float(scaling.shift), float(scaling.scale))
    require_finite("scaling.shift", scaling.shift)
    require_finite("scaling.scale", scaling.scale)
    require(scaling.scale != 0, "scaling.scale", scaling.scale, "not be 0")
    spec = NetworkSpec(network, shape, classes, scaling, _frozen(_defaults(network) | config))
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    return NetworkField(wrapped(spec.build(nnx.Rngs(params=key))), spec)


def own_spec(field: Any) -> NetworkSpec | None:
    """How a field was built, if with its weights that is all it computes.

    (None for another field, for one of a class derived from this package's, and for one whose
    network was replaced.)
    """
    if type(field) is not NetworkField:
        return None
    is_own = eqx.tree_equal(getattr(field.velocity, "call", None), as_pytree(_call))
    return field.spec if is_own else None


def wrapped(model: nnx.Module) -> Any:
    """A network of this package as a field."""
    return from_nnx(model, call=_call)


def _call(model: Any, t: Array, x: Array, label: Array | None) -> Array:
    return model(t, x, label)


def _defaults(network: str) -> dict[str, Any]:
    # A saved field says all its settings: a default that changes later does not change it.
    constructor = NETWORKS[network].__init__  # NNX hides the signature of the class itself
    parameters = inspect.signature(constructor).parameters.values()
    apart = ("self", "event_shape", "num_classes", "rngs")
    return {p.name: p.default for p in parameters if p.name not in apart}
