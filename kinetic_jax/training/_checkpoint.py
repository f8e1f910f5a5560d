"""Fields on disk, with the description needed to rebuild them."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from kinetic_jax._checks import require_flag, whole_number
from kinetic_jax._files import PathLike, local_path
from kinetic_jax.fields import VelocityField
from kinetic_jax.networks import NetworkField
from kinetic_jax.networks._network_field import described_field, own_spec
from kinetic_jax.training._storage import (
    latest_step,
    make_folder,
    named_errors,
    read_about,
    read_tree,
    stored_arrays,
    write_checkpoint,
)


def describe_field(field: VelocityField) -> dict[str, object] | None:
    """The description from which `load_field` builds `field`; None for other fields."""
    spec = own_spec(field)
    return None if spec is None else spec.to_json()


def save_field(directory: PathLike, field: VelocityField) -> None:
    """Writes a field made by `network_field` to a folder.

    The folder stores all that `load_field` needs: the network's name and configuration, the shape
    of a sample, the data scaling and the number of classes. A previously saved field is replaced
    only when the new one is complete. One process at a time may write.

    Args:
        directory: the folder, created if needed.
        field: the field, without transforms.

    Raises:
        ValueError: if the field was not made by `network_field` or `load_field`, or the folder
            holds checkpoints of `fit` or of another program.
        OSError: naming the checkpoint, if it cannot be written (on a full disk, say).

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax import load_field, save_field
        >>> from kinetic_jax.networks import network_field
        >>> field = network_field("mlp", (2,), key=jax.random.key(0), width=16, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_field(folder, field)
        ...     load_field(folder).event_shape
        (2,)
    """
    about = describe_field(field)
    if about is None:
        raise ValueError(
            f"field must be made by network_field, got {type(field).__name__}: only such a field, "
            "with its own network, can be built again; save other models by their framework, and "
            "a transformed field without its transforms"
        )
    folder = local_path("directory", directory)
    last = latest_step(folder)
    if last is not None and read_about(folder, last).settings is not None:
        raise ValueError(
            f"directory must not hold checkpoints of fit, which would be lost, got {folder}: save "
            "the field to a folder of its own"
        )
    make_folder("directory", folder)
    step = 0 if last is None else last + 1
    arrays = eqx.filter(field, eqx.is_inexact_array)
    write_checkpoint(folder, step, {"field": about}, {"field": arrays}, keep=1)


def load_field(directory: PathLike, *, step: int | None = None, ema: bool = True) -> NetworkField:
    """Loads a field from a folder of `save_field`, or a `checkpoint_dir` of `fit`.

    Args:
        directory: the folder.
        step: the checkpoint; the newest by default.
        ema: from a training checkpoint, load the moving average if it has one; False: the plain
            field.

    Returns:
        The field.

    Raises:
        FileNotFoundError: if the folder holds no complete checkpoint.
        ValueError: naming the checkpoint, if it is damaged or holds a field not made by
            `network_field`.

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax import load_field, save_field
        >>> from kinetic_jax.networks import network_field
        >>> field = network_field("mlp", (3,), key=jax.random.key(0), width=8, depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_field(folder, field)
        ...     load_field(folder).event_shape
        (3,)
    """
    folder = local_path("directory", directory)
    step = None if step is None else whole_number("step", step, 0)
    require_flag("ema", ema)
    for _ in range(10):
        current = step
        try:
            current = latest_step(folder) if step is None else step
            if current is None or not (folder / str(current)).is_dir():
                raise FileNotFoundError(_lacking(folder, step))
            return _load(folder, current, ema)
        except (ValueError, FileNotFoundError):
            # A writer may have replaced the checkpoint while it was read.
            if step is not None or not _is_replaced(folder, current):
                raise
    raise ValueError(f"checkpoint {folder} changed during every attempt to read it")


def _is_replaced(folder: Path, step: int | None) -> bool:
    try:
        return latest_step(folder) not in (None, step)
    except FileNotFoundError:  # a checkpoint vanished while they were listed
        return True


def _load(folder: Path, step: int, ema: bool) -> NetworkField:
    about = read_about(folder, step)
    if about.field is None:
        raise ValueError(
            f"checkpoint {folder / str(step)} must hold a field made by network_field, got one of "
            "your own network: build it yourself and resume by calling fit again"
        )
    # Without averaging, the stored `ema` is the initial field.
    has_ema = about.settings is not None and about.settings.get("ema") is not None
    name = "ema" if ema and has_ema else "field"
    stored = stored_arrays(folder, step, name)
    with named_errors(folder / str(step)):
        field = described_field(about.field, len(stored))
    weights, rest = eqx.partition(field, _is_weight)
    leaves, treedef = jax.tree.flatten(weights)
    if len(leaves) == len(stored):  # weights may be stored in another precision
        leaves = [
            _with_dtype(leaf, array.dtype) for leaf, array in zip(leaves, stored, strict=True)
        ]
    return eqx.combine(read_tree(folder, step, name, jax.tree.unflatten(treedef, leaves)), rest)


def _with_dtype(leaf: jax.ShapeDtypeStruct | Array, dtype: DTypeLike) -> jax.ShapeDtypeStruct:
    are_floating = all(jnp.issubdtype(each, jnp.floating) for each in (dtype, leaf.dtype))
    return jax.ShapeDtypeStruct(leaf.shape, dtype if are_floating else leaf.dtype)


def _is_weight(leaf: object) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_inexact_array(leaf)


def _lacking(folder: Path, step: int | None) -> str:
    latest = latest_step(folder)
    if step is None or latest is None:
        return f"no complete checkpoint in {folder}"
    steps = sorted(int(each.name) for each in folder.iterdir() if each.name.isdigit())
    kept = ", ".join(map(str, steps))
    return f"no checkpoint of step {step} in {folder}, which holds {kept} (fit(checkpoints_kept=))"
