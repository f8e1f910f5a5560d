"""Checkpoints of the KTS authors' PyTorch code as fields of this package."""

import itertools
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from kinetic_jax._checks import require, require_finite, short, whole_numbers
from kinetic_jax._files import PathLike, local_path
from kinetic_jax._torch_file import read_torch_file
from kinetic_jax.networks._embedding import sinusoids
from kinetic_jax.networks._network_field import NetworkField, field_of_shapes
from kinetic_jax.networks._spec import Scaling, checked_spec, default_config
from kinetic_jax.networks._unet import AUTHORS_UNET

_FIRST = "init_conv.weight"  # (base channels, channels, 3, 3)
_TABLE = "time_embeddings.time_mlp.0.weight"  # the sinusoids, (time bins, base channels)
# DataParallel, torch.compile and averages of weights put these before each name.
_PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")
_COUNT = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
_MOST_BINS = 10**5
_MOST_SIDE = 4096
# From the names of `UNet`, in turn.
_RENAMES = (
    (r"^embedding\.inner", "time_embeddings.time_mlp.1"),
    (r"^embedding\.outer", "time_embeddings.time_mlp.3"),
    (r"^first", "init_conv"),
    (r"^last", "final_block"),
    (r"^down\.(\d+)\.(kernel|bias)", r"down.\1.downsample.\2"),
    (r"^up\.(\d+)\.conv", r"up.\1.upsample.1"),
    (r"^down", "encoder_blocks"),
    (r"^middle", "bottleneck_blocks"),
    (r"^up\b", "decoder_blocks"),
    (r"\.first\.", ".block1."),
    (r"\.second\.", ".block2."),
    (r"\.embed\.", ".dense."),
    (r"\.skip\.", ".res_conv."),
    (r"\.attention\.norm\.", ".attention.group_norm."),
    (r"\.attention\.qkv\.kernel", ".attention.mhsa.in_proj_weight"),
    (r"\.attention\.qkv\.bias", ".attention.mhsa.in_proj_bias"),
    (r"\.attention\.out\.", ".attention.mhsa.out_proj."),
    (r"\.(kernel|scale)$", ".weight"),
)


def load_authors_checkpoint(
    path: PathLike,
    *,
    entry: str | None = None,
    sides: tuple[int, int] = (32, 32),
    scaling: Scaling | None = None,
) -> NetworkField:
    """The network in a PyTorch checkpoint of the KTS authors' code, as a field.

    Its base channels, levels and attention are read off the shapes of the weights; the rest is
    that of `AUTHORS_UNET`. As in their samplers the network sees one of 1,000 times,
    `int(999 t)`. PyTorch is not needed, and no code in the file is run: a file that holds
    anything but tensors, numbers, text and containers is refused.

    Args:
        path: the file that `torch.save` wrote: a state dict, with or without "module." before
            its names, or a dictionary that holds one.
        entry: the key of the state dict, in a dictionary that holds several.
        sides: height and width of the images, at most 4,096, which the weights do not determine.
        scaling: scaling of the raw data, x = (raw − shift) / scale; stored with the field, not
            applied by it. The authors subtract the mean of the training images, which is not in
            the file. Default: none.

    Returns:
        The field, with channels last: x has shape (height, width, channels). `save_field`
        writes it to a folder.

    Raises:
        ValueError: if the file is no checkpoint of that network, naming the keys and shapes that
            do not fit or are not finite, if `entry` is not in it, or if the sides do not halve.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kinetic_jax.networks import load_authors_checkpoint
        >>> field = load_authors_checkpoint("tests/networks/authors_unet/Model_0")
        >>> field.event_shape, field.spec.config["base_channels"]
        ((32, 32, 1), 8)

    References:
        Li et al., A Kinetic Energy Perspective of Flow Matching, arXiv 2602.07928, and their
        code, github.com/ziyunli-2023/KPE-KTS.
    """
    file = local_path("path", path)
    require(entry is None or isinstance(entry, str), "entry", short(entry), "be a key or None")
    sides = whole_numbers("sides", sides)  # type: ignore[assignment]
    require(len(sides) == 2, "sides", short(sides), "be (height, width)")
    require(max(sides) <= _MOST_SIDE, "sides", short(sides), f"be at most {_MOST_SIDE} each")
    scaling = Scaling() if scaling is None else scaling
    is_scaling = isinstance(scaling, Scaling)
    require(is_scaling, "scaling", short(scaling), "be a Scaling or None")
    require(file.suffix != ".safetensors", "path", file, "be a file of torch.save")
    weights = _state_dict(read_torch_file(file), entry, file)
    name = f"the state dict in {file}"
    config = default_config("unet") | _config(weights, name)
    event_shape = (*sides, weights[_FIRST].shape[1])
    spec = checked_spec("unet", event_shape, None, scaling, config)
    field = field_of_shapes(spec, 10 * len(weights))
    state = _loaded(field.velocity.state, weights, name)
    return eqx.tree_at(lambda field: field.velocity.state, field, state)


def _state_dict(tree: Any, entry: str | None, file: Path) -> dict[str, np.ndarray]:
    """The weights in a file by name, without prefixes."""
    held = tree if isinstance(tree, Mapping) else {}
    names = [key for key in held if isinstance(key, str)]
    if entry is not None:
        require(entry in names, "entry", repr(entry), f"be one of the keys in {file}: {names}")
        held = {entry: held[entry]}
    dicts = {key: value for key, value in held.items() if isinstance(value, Mapping)}
    if entry is None:
        dicts["the file itself"] = held
    state_dicts = [key for key, value in dicts.items() if _FIRST in _unprefixed(value)]
    expected = f"hold a state dict of the KTS authors' U-Net, with {_FIRST}"
    got = f"the keys {_some(names)}" if isinstance(tree, Mapping) else type(tree).__name__
    where = f"{file}" if entry is None else f"entry {entry!r} of {file}"
    require(len(state_dicts) >= 1, where, got, expected)
    require(len(state_dicts) == 1, "entry", None, f"be one of the state dicts: {state_dicts}")
    name, state = f"the state dict in {file}", dicts[state_dicts[0]]
    kinds = {type(key).__name__ for key in state} - {"str"}
    require(not kinds, name, f"keys of type {_some(sorted(kinds))}", "have names as keys")
    weights = {}
    for key, keys in _unprefixed(state).items():
        require(len(keys) == 1, name, " and ".join(keys), f"hold {key} once")
        weights[key] = state[keys[0]]
    others = [key for key, value in weights.items() if not isinstance(value, np.ndarray)]
    require(not others, name, _some(others), "hold tensors alone")
    return weights


def _unprefixed(tree: Mapping[Any, Any]) -> dict[str, list[str]]:
    """The names in a dictionary by what they are without prefixes."""
    names: dict[str, list[str]] = {}
    for key in tree:
        if isinstance(key, str) and key != _COUNT:
            names.setdefault(_PREFIXES.sub("", key), []).append(key)
    return names


def _config(weights: Mapping[str, np.ndarray], name: str) -> dict[str, object]:
    """The settings of `UNet` that shapes and names of the weights determine."""
    _require_axes(weights, name, _FIRST, 4)
    base = weights[_FIRST].shape[0]
    levels: list[list[tuple[int, bool]]] = [[]]  # channels and attention of the blocks of each
    for number in itertools.count():
        block = f"encoder_blocks.{number}"
        if f"{block}.downsample.weight" in weights:
            levels.append([])
        elif f"{block}.block1.conv.weight" in weights:
            _require_axes(weights, name, f"{block}.block1.conv.weight", 4)
            channels = weights[f"{block}.block1.conv.weight"].shape[0]
            levels[-1].append((channels, f"{block}.attention.mhsa.in_proj_weight" in weights))
        else:
            break
    complete = all(levels)
    expected = "have blocks encoder_blocks.0, 1, ... with block1.conv.weight on each level"
    require(complete, name, f"{len(levels)} levels, one of them without", expected)
    _require_axes(weights, name, _TABLE, 2)
    bins = weights[_TABLE].shape[0]
    _require_sinusoids(weights[_TABLE], name)
    return AUTHORS_UNET | {
        "base_channels": base,
        "multiples": tuple(max(level[0][0] // base, 1) for level in levels),
        "attention": tuple(level[0][1] for level in levels),
        "num_res_blocks": len(levels[0]),
        "max_frequency": bins - 1.0,
        "time_bins": bins,
    }


def _require_axes(weights: Mapping[str, np.ndarray], name: str, key: str, axes: int) -> None:
    require(key in weights, name, f"none among {len(weights)} keys", f"have the key {key}")
    shape = weights[key].shape
    is_full = len(shape) == axes and min(shape) >= 1
    require(is_full, f"{key} in {name}", f"shape {shape}", f"have {axes} axes")


def _require_sinusoids(table: np.ndarray, name: str) -> None:
    """Checks the frozen table of the time embedding, for which `UNet` has a formula."""
    bins, dim = table.shape
    is_possible = 2 <= bins <= _MOST_BINS and dim >= 4 and dim % 2 == 0
    limits = f"be (time bins, at most {_MOST_BINS:,}, and even channels)"
    require(is_possible, f"{_TABLE} in {name}", table.shape, limits)
    times = jnp.asarray(np.arange(bins) / (bins - 1), jnp.float32)
    expected = np.asarray(sinusoids(times, dim, bins - 1.0))
    error = float(np.max(np.abs(_float32(table, f"{_TABLE} in {name}") - expected)))
    # Weights in half precision are rounded by 5e-4.
    is_equal = error < 5e-3
    require(is_equal, f"{_TABLE} in {name}", f"{error:.2g} off", "hold sines and cosines")


def _loaded(state: Any, weights: Mapping[str, np.ndarray], name: str) -> Any:
    """The weights in the structure of the network's state."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    keys = [_torch_name(".".join(str(node.key) for node in path)) for path, _ in leaves]
    shapes = dict(zip(keys, (_torch_shape(leaf.shape) for _, leaf in leaves), strict=True))
    missing = sorted(shapes.keys() - weights.keys())
    require(not missing, name, f"none of {_some(missing)}", f"have {len(shapes) + 1} tensors")
    unknown = sorted(weights.keys() - shapes.keys() - {_TABLE})
    require(not unknown, name, _some(unknown), "hold only tensors of the authors' U-Net")
    wrong = {key: weights[key].shape for key in keys if weights[key].shape != shapes[key]}
    for key, shape in wrong.items():
        require(False, f"{key} in {name}", f"shape {shape}", f"have shape {shapes[key]}")
    return jax.tree_util.tree_unflatten(
        treedef,
        [jnp.asarray(_channels_last(_float32(weights[key], f"{key} in {name}"))) for key in keys],
    )


def _float32(array: np.ndarray, name: str) -> np.ndarray:
    """Floating-point numbers as float32, all of them finite."""
    is_floating = jnp.issubdtype(array.dtype, jnp.floating)
    require(is_floating, name, array.dtype, "hold floating-point numbers")
    with np.errstate(over="ignore"):  # infinite then, and refused by name
        numbers = array.astype(np.float32)
    require_finite(name, numbers)
    return numbers


def _torch_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in PyTorch of a kernel (height, width, inputs, outputs), of fewer axes or all."""
    return (*shape[:-3:-1], *shape[:-2])


def _channels_last(array: np.ndarray) -> np.ndarray:
    """The inverse of `_torch_shape`, for an array."""
    axes = (*range(2, array.ndim), 1, 0) if array.ndim > 1 else (0,)
    return array.transpose(axes)


def _some(names: Collection[object]) -> str:
    """The first names of many, for a message."""
    first = ", ".join(str(name) for name in itertools.islice(names, 4))
    more = len(names) - 4
    return f"{first} and {more} more" if more > 0 else first
