"""Fields and training states on disk: Orbax checkpoints that say what they hold."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from kinetic_jax._digest import digest
from kinetic_jax._files import PathLike, local_path
from kinetic_jax.fields import VelocityField
from kinetic_jax.networks import NetworkField, NetworkSpec, wrapped

FORMAT = 1


@contextmanager
def _manager(directory: Path, *, write: bool = False, keep: int | None = None) -> Iterator[Any]:
    import orbax.checkpoint as ocp  # a quarter of a second

    # A step is written beside its place and renamed or marked as complete at the end, so that
    # one cut off by a kill is never taken for a checkpoint; the next writer clears it away.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=write,
        cleanup_tmp_directories=write,
        enable_async_checkpointing=False,
    )
    with ocp.CheckpointManager(directory.absolute(), options=options) as manager:
        yield manager


def latest_step(directory: Path) -> int | None:
    """The newest complete checkpoint in `directory`; None if there is none."""
    if not directory.is_dir():
        return None
    with _manager(directory) as manager:
        return manager.latest_step()


def write_checkpoint(
    directory: Path, step: int, about: dict[str, Any], trees: dict[str, PyTree[Any]], keep: int
) -> None:
    """Writes the arrays of `trees` and the description `about` as checkpoint `step`, atomically."""
    import orbax.checkpoint as ocp

    items: dict[str, Any] = {}
    digests = {}
    for name, tree in trees.items():
        leaves = [_plain(leaf) for leaf in jax.tree.leaves(tree)]
        digests[name] = digest(leaves)
        if leaves:  # plain gradient descent has no state, and Orbax writes no empty trees
            items[name] = ocp.args.StandardSave(dict(_numbered(leaves)))
    about = {"format": FORMAT, "digests": digests} | about
    items["about"] = ocp.args.JsonSave(about | {"self": _json_digest(about)})
    with _manager(directory, write=True, keep=keep) as manager:
        manager.save(step, args=ocp.args.Composite(**items), force=True)


def read_about(directory: Path, step: int) -> dict[str, Any]:
    """The description of checkpoint `step`.

    Raises:
        ValueError: naming the checkpoint, if it is damaged or of another format.
    """
    import orbax.checkpoint as ocp

    with _refusing(directory / str(step)), _manager(directory) as found:
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        about = dict(found.restore(step, args=args)["about"])
    if about.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint {directory / str(step)} must be of format {FORMAT}, "
            f"got {about.get('format')!r}"
        )
    if about.pop("self", None) != _json_digest(about):
        raise ValueError(
            f"checkpoint {directory / str(step)} is damaged: its description is not what was "
            "written"
        )
    return about


def read_tree(directory: Path, step: int, name: str, like: PyTree[Any]) -> PyTree[Any]:
    """The arrays stored under `name` in checkpoint `step`, in the structure of `like`.

    Raises:
        ValueError: naming the checkpoint, if it is damaged or does not fit `like`.
    """
    import orbax.checkpoint as ocp

    path = directory / str(step)
    about = read_about(directory, step)
    originals, treedef = jax.tree.flatten(like)
    leaves = [_plain(leaf) if _is_key(leaf) else leaf for leaf in originals]
    wanted = dict(_numbered([np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]))
    stored: dict[str, Any] = {}
    if leaves:
        with _refusing(path), _manager(directory) as manager:
            args = ocp.args.Composite(**{name: ocp.args.StandardRestore(wanted)})
            stored = manager.restore(step, args=args)[name]
    arrays = [np.asarray(stored[number]) for number, _ in _numbered(leaves)]
    for array, leaf in zip(arrays, leaves, strict=True):  # Orbax lets other shapes pass
        if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f"checkpoint {path} does not fit: {name!r} must hold {leaf.dtype} of shape "
                f"{leaf.shape}, got {array.dtype} of shape {array.shape}"
            )
    if digest(arrays) != about["digests"].get(name):
        raise ValueError(
            f"checkpoint {path} is damaged or does not fit: {name!r} is not what was written"
        )
    restored = [
        jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jax.numpy.asarray(array)
        for array, leaf in zip(arrays, originals, strict=True)
    ]
    return jax.tree.unflatten(treedef, restored)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    """A leaf as NumPy has it; a random key (some optimizers hold one) as its integers."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns whatever Orbax, TensorStore or JSON say of a bad checkpoint into one named error."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"checkpoint {path} is damaged or does not fit: {error}") from error


def _json_digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _numbered(leaves: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{number:05d}", leaf) for number, leaf in enumerate(leaves)]


def describe_field(field: VelocityField) -> dict[str, Any] | None:
    """What `load_field` needs to build `field`; None if it is not one of this package's own."""
    return field.spec.to_json() if isinstance(field, NetworkField) else None


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
            holds checkpoints of `fit`.

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
            f"field must be made by network_field, got {type(field).__name__}: only such a field "
            "can be built anew; save a model of your own by its framework's means, and a "
            "transformed field as the field inside"
        )
    folder = local_path("directory", directory)
    last = latest_step(folder)
    if last is not None and "settings" in read_about(folder, last):
        raise ValueError(
            f"directory must not hold checkpoints of fit, which would be lost, got {folder}: save "
            "the field to a folder of its own"
        )
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
    if about["field"] is None:
        raise ValueError(
            f"checkpoint {folder / str(found)} must hold a field made by network_field, got one of "
            "your own network: build it yourself and resume by calling fit again"
        )
    spec = NetworkSpec.from_json(about["field"])
    # Only the structure: no weights are drawn.
    fresh = eqx.filter_eval_shape(lambda: wrapped(spec.build(nnx.Rngs(0))))
    # A run without an average writes an `ema` that is still the field before the first step.
    averaged = about.get("settings", {}).get("ema") is not None
    name = "ema" if average and averaged else "field"
    like, rest = eqx.partition(NetworkField(fresh, spec), _is_trainable)
    return eqx.combine(read_tree(folder, found, name, like), rest)


def _is_trainable(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_inexact_array(leaf)


def _arrays(field: VelocityField) -> PyTree[Any]:
    return eqx.filter(field, eqx.is_inexact_array)
