"""Fields on disk, described so that they can be built from their folder alone."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from kinetic_jax._checks import require_flag, whole_number
from kinetic_jax._files import PathLike, local_path
from kinetic_jax.fields import VelocityField
from kinetic_jax.networks import NetworkField, described_field, own_spec
from kinetic_jax.training._storage import (
    latest_step,
    make_folder,
    read_about,
    read_tree,
    refusing,
    stored_arrays,
    write_checkpoint,
)


def describe_field(field: VelocityField) -> dict[str, Any] | None:
    """What `load_field` needs to build `field`; None if it is not one of this package's own."""
    spec = own_spec(field)
    return None if spec is None else spec.to_json()


def save_field(directory: PathLike, field: VelocityField) -> None:
    """Writes a field made by `network_field` (trained by `fit`, say) to a folder.

    The folder says all that `load_field` needs: the network's name and configuration, the shape
    of a sample, the data scaling and the number of classes. A field saved there before is
    replaced only when the new one is complete; one process at a time may write there.

    Args:
        directory: the folder, made if it is not there.
        field: the field, without transforms.

    Raises:
        ValueError: if the field is none that `network_field` or `load_field` made, or the folder
            holds checkpoints of `fit` or of another program.
        OSError: naming the checkpoint, if it cannot be written (the disk is full, say).

    Example:
        >>> import jax, tempfile
        >>> from kinetic_jax import load_field, network_field, save_field
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
            "with its own network, can be built again; save a model of your own by its "
            "framework's means, and a transformed field as the field inside"
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
    write_checkpoint(folder, step, {"field": about}, {"field": _arrays(field)}, keep=1)


def load_field(
    directory: PathLike, *, step: int | None = None, average: bool = True
) -> NetworkField:
    """Builds the field kept in a folder by `save_field`, or by `fit` as `checkpoint_dir`.

    Args:
        directory: the folder.
        step: which checkpoint; the newest by default.
        average: of a training checkpoint, the moving average if it keeps one; else the plain
            field.

    Returns:
        The field.

    Raises:
        FileNotFoundError: if there is no complete checkpoint in the folder.
        ValueError: naming the checkpoint, if it is damaged, or holds a field that is not one of
            this package's own networks.
    """
    folder = local_path("directory", directory)
    step = None if step is None else whole_number("step", step, 0)
    require_flag("average", average)
    for _ in range(10):
        found = step
        try:
            found = latest_step(folder) if step is None else step
            if found is None or not (folder / str(found)).is_dir():
                raise FileNotFoundError(f"no complete checkpoint in {folder}")
            return _load(folder, found, average)
        except (ValueError, FileNotFoundError):
            # A writer may have put a newer one in its place while it was read.
            if step is not None or not _replaced(folder, found):
                raise
    raise ValueError(f"checkpoint {folder} is replaced faster than it can be read")


def _replaced(folder: Path, found: int | None) -> bool:
    """Whether another checkpoint than `found` is the newest by now."""
    try:
        return latest_step(folder) not in (None, found)
    except FileNotFoundError:  # one vanished while they were listed
        return True


def _load(folder: Path, found: int, average: bool) -> NetworkField:
    about = read_about(folder, found)
    if about.field is None:
        raise ValueError(
            f"checkpoint {folder / str(found)} must hold a field made by network_field, got one of "
            "your own network: build it yourself and resume by calling fit again"
        )
    # A run without an average writes an `ema` that is still the field before the first step.
    averaged = about.settings is not None and about.settings.get("ema") is not None
    name = "ema" if average and averaged else "field"
    stored = stored_arrays(folder, found, name)
    with refusing(folder / str(found)):
        field = described_field(about.field, len(stored))
    like, rest = eqx.partition(field, _is_trainable)
    leaves, treedef = jax.tree.flatten(like)
    if len(leaves) == len(stored):  # weights that the user cast, in their own precision
        leaves = [_as_stored(leaf, kept.dtype) for leaf, kept in zip(leaves, stored, strict=True)]
    return eqx.combine(read_tree(folder, found, name, jax.tree.unflatten(treedef, leaves)), rest)


def _as_stored(leaf: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    floating = jnp.issubdtype(dtype, jnp.floating) and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.ShapeDtypeStruct(leaf.shape, dtype if floating else leaf.dtype)


def _is_trainable(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_inexact_array(leaf)


def _arrays(field: VelocityField) -> PyTree[Any]:
    return eqx.filter(field, eqx.is_inexact_array)
