"""Fields of this package's networks, with their description."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from kinetic_jax._checks import numbers, require, require_between, require_key
from kinetic_jax._pytree import as_pytree
from kinetic_jax.fields import Field, NNXField, from_nnx
from kinetic_jax.networks._spec import (
    NetworkSpec,
    Scaling,
    checked_spec,
    default_config,
    require_network,
)


class NetworkField(Field):
    """A field made by `network_field`, for `save_field` and `load_field`.

    Attributes:
        velocity: the network as a field; its leaves are the weights.
        spec: description of the network; static.
    """

    velocity: NNXField
    spec: NetworkSpec = eqx.field(static=True)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "*event"], cond: PyTree | None = None
    ) -> Float[Array, "*event"]:
        """The velocity of one sample; `cond` is its integer label, or None."""
        return self.velocity(t, x, cond)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.spec.event_shape

    @property
    def takes_cond(self) -> bool:
        """True for a field with labels."""
        return self.num_classes is not None

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None for a field without labels."""
        return self.spec.num_classes

    def check_cond(self, cond: ArrayLike, name: str = "cond") -> None:
        """Checks that labels are integers, and in range if they are concrete."""
        if self.num_classes is not None:
            labels = cond if isinstance(cond, jax.Array) else numbers(name, cond)
            is_integer = jnp.issubdtype(labels.dtype, jnp.integer)
            require(is_integer, name, f"dtype {labels.dtype}", "hold whole numbers, labels")
            require_between(name, labels, 0.0, float(self.num_classes), closed=True)

    @property
    def null_cond(self) -> Int[Array, ""] | None:
        """The label that means "none", for `cfg`; None for a field without labels."""
        return None if self.num_classes is None else jnp.asarray(self.num_classes, jnp.int32)

    @property
    def scaling(self) -> Scaling:
        """Scaling of the raw data."""
        return self.spec.scaling


def network_field(
    network: str,
    event_shape: tuple[int, ...],
    *,
    key: PRNGKeyArray,
    num_classes: int | None = None,
    scaling: Scaling | None = None,
    **config: object,
) -> NetworkField:
    """Builds a velocity field from a new network of this package.

    Args:
        network: "mlp" (`ResidualMLP`), "mixer" (`PatchMixer`) or "unet" (`UNet`).
        event_shape: shape of one sample.
        key: JAX random key of the initial weights.
        num_classes: number of classes; the field's `cond` is then an integer label, with
            `num_classes` for "none". None: a field without labels.
        scaling: scaling of the raw data; stored with the field, not applied by it.
        **config: the network's other settings, arguments of its constructor.

    Returns:
        The field, with random weights; `save_field` and `load_field` know it.

    Raises:
        ValueError: if the network is unknown or a setting does not fit.
        TypeError: if the network has no such setting.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from kinetic_jax import noise, sample
        >>> from kinetic_jax.networks import network_field
        >>> key = jax.random.key(0)
        >>> field = network_field("mlp", (8, 8), key=key, num_classes=10, width=32, depth=1)
        >>> x0 = noise(key, jnp.arange(3), field.event_shape)
        >>> sample(field, x0, jnp.array([0, 1, 9]), num_steps=4).x1.shape
        (3, 8, 8)
    """
    require_network("network", network)
    scaling = Scaling() if scaling is None else scaling
    config = default_config(network) | config
    spec = checked_spec(network, event_shape, num_classes, scaling, config)
    require_key("key", key)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    model = spec.build(nnx.Rngs(params=key))
    return NetworkField(from_nnx(model, call=_call), spec)


def own_spec(field: object) -> NetworkSpec | None:
    """The description of a field that is determined by it and the weights.

    None for other fields, for derived classes, and for a field whose network was replaced.
    """
    if type(field) is not NetworkField or type(field.velocity) is not NNXField:
        return None
    return field.spec if eqx.tree_equal(field.velocity.call, as_pytree(_call)) else None


def described_field(description: object, stored: int) -> NetworkField:
    """Builds a field with shapes for weights from an unvalidated `NetworkSpec.to_json`.

    `stored` is the number of stored arrays. Building stops early if the network has many more.
    """
    field = field_of_shapes(NetworkSpec.from_json(description), stored)
    count = len(jax.tree.leaves(field.velocity))
    require(count == stored, "field.config", f"{count:,} arrays", f"fit {stored:,} stored arrays")
    return field


def field_of_shapes(spec: NetworkSpec, stored: int) -> NetworkField:
    """A field with shapes for weights; building stops early if it has many more than `stored`."""
    shapes = eqx.filter_eval_shape(lambda: from_nnx(spec.build(_StructureOnly(stored)), call=_call))
    return NetworkField(shapes, spec)


class _OneKey(nnx.RngStream):
    """A stream without a counter variable, which would take quadratic time under a trace."""

    def __init__(self, stored: int):
        super().__init__(jax.random.key(0), tag="params")
        self.stored, self.draws = stored, 0

    def __call__(self) -> Array:
        self.draws += 1  # one for each array, in present versions of Flax
        expected = f"fit {self.stored:,} stored arrays"
        require(self.draws <= 2 * self.stored, "field.config", "many more", expected)
        return self.key[...]


class _StructureOnly(nnx.Rngs):
    """Random streams for a network built without drawing weights."""

    def __init__(self, stored: int) -> None:
        super().__init__(0)
        self.params = _OneKey(stored)


def _call(model: nnx.Module, t: Array, x: Array, label: Array | None) -> Array:
    return model(t, x, label)
