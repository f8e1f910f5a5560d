"""Self-describing Orbax checkpoints of pytrees."""

import dataclasses
import glob
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from kinetic_jax._checks import require
from kinetic_jax._digest import digest
from kinetic_jax._files import write_whole
from kinetic_jax._schema import from_description

# Orbax is imported when used: its import takes as long as JAX's.

T = TypeVar("T")
_Leaf = Array | np.ndarray | jax.ShapeDtypeStruct
FORMAT = 1
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of Orbax's temporary folders
SAVING = ".kinetic_jax-saving"  # a file with the step being written


@dataclasses.dataclass(frozen=True)
class About:
    """The description of a checkpoint.

    Attributes:
        format: `FORMAT`.
        digests: digest of the arrays of each stored pytree.
        field: the field's `NetworkSpec.to_json`; None for other fields.
        settings: settings of the run; None for a field of `save_field`.
    """

    format: int
    digests: dict[str, object]
    field: dict[str, object] | None = None
    settings: dict[str, Any] | None = None


@contextmanager
def _manager(directory: Path, *, write: bool = False, keep: int | None = None) -> Iterator[Any]:
    import orbax.checkpoint as ocp

    # Orbax writes to a temporary folder and renames it, so that checkpoints are complete.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=write, enable_async_checkpointing=False
    )
    with (
        _without_patterns(directory.absolute()) as path,
        ocp.CheckpointManager(path, options=options) as manager,
    ):
        yield manager


@contextmanager
def _without_patterns(directory: Path) -> Iterator[Path]:
    """A path without [, * and ?, which Orbax would interpret as patterns and lose arrays."""
    if glob.escape(str(directory)) == str(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "checkpoints"
        link.symlink_to(directory, target_is_directory=True)
        yield link


def latest_step(directory: Path) -> int | None:
    """The newest complete checkpoint in `directory`; None if there is none."""
    if not directory.is_dir():
        return None
    with _manager(directory) as manager:
        return manager.latest_step()


def make_folder(name: str, folder: Path) -> None:
    """Creates the folder of the argument `name`; it must hold no checkpoints of other programs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{name} must be a folder to write to, got {folder}: {error}") from error
    unfinished_saves(folder)


def write_checkpoint(
    directory: Path, step: int, about: Mapping[str, object], trees: dict[str, PyTree], keep: int
) -> None:
    """Writes the arrays of `trees` and the description `about` as checkpoint `step`, atomically.

    Raises:
        OSError: naming the checkpoint, if it cannot be written (on a full disk, say).
    """
    import orbax.checkpoint as ocp

    items: dict[str, object] = {}
    digests = {}
    for name, tree in trees.items():
        leaves = [_as_numpy(leaf) for leaf in jax.tree.leaves(tree)]
        digests[name] = digest(leaves)
        if leaves:  # Orbax writes no empty trees (the state of plain gradient descent)
            items[name] = ocp.args.StandardSave(_numbered(leaves))
    description = {"format": FORMAT, "digests": digests, **about}
    items["about"] = ocp.args.JsonSave({**description, "self": _json_digest(description)})
    for folder in unfinished_saves(directory):
        shutil.rmtree(folder)
    write_whole(directory / SAVING, str(step).encode())
    try:
        with _manager(directory, write=True, keep=keep) as manager:
            manager.save(step, args=ocp.args.Composite(**items), force=True)
    except Exception as error:  # Orbax and TensorStore have no error for a full disk
        for folder in unfinished_saves(directory):
            shutil.rmtree(folder, ignore_errors=True)  # Orbax's threads may still be writing there
        raise OSError(f"checkpoint {directory / str(step)} cannot be written: {error}") from error
    (directory / SAVING).unlink()  # kept after a failure, for the next save to clean up


def unfinished_saves(directory: Path) -> list[Path]:
    """The folders that killed saves left in `directory`.

    Raises:
        ValueError: naming a folder that Orbax would treat as a checkpoint, finished or not, but
            that this package did not write.
    """
    if not directory.is_dir():
        return []
    saving = directory / SAVING
    own = f"{saving.read_text()}{UNFINISHED}" if saving.is_file() else None
    folders = [path for path in directory.iterdir() if path.is_dir()]
    unfinished = [path for path in folders if UNFINISHED in path.name]
    for path in sorted(folders):
        if path not in unfinished and not path.name.isdigit():
            continue
        is_own = own is not None and path.name.startswith(own)
        is_empty = path in unfinished and not any(path.iterdir())
        if not (is_own or is_empty or _is_own(path)):
            raise ValueError(
                f"{directory} must hold no checkpoints of other programs, got {path.name}, which "
                "was not written by fit or save_field: move it away or choose another folder"
            )
    return unfinished


def _is_own(checkpoint: Path) -> bool:
    """True if a folder holds a description written by this package."""
    try:
        about = json.loads((checkpoint / "about" / "metadata").read_text())
        return about.pop("self") == _json_digest(about)
    except (OSError, ValueError, LookupError, AttributeError, RecursionError):
        return False


def read_about(directory: Path, step: int) -> About:
    """The description of checkpoint `step`; a `ValueError` names a damaged one."""
    import orbax.checkpoint as ocp

    path = directory / str(step)
    with named_errors(path), _manager(directory) as manager:
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        about = dict(manager.restore(step, args=args)["about"])
        is_intact = about.pop("self", None) == _json_digest(about)
    if about.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint {path} must be of format {FORMAT}, got {about.get('format')!r}"
        )
    if not is_intact:
        raise ValueError(f"checkpoint {path} is damaged: its description is not what was written")
    with named_errors(path):
        return from_description(About, about, "the description")


def read_tree(directory: Path, step: int, name: str, like: PyTree) -> PyTree:
    """The arrays stored under `name` in checkpoint `step`, which must fit the structure `like`."""
    import orbax.checkpoint as ocp

    path = directory / str(step)
    about = read_about(directory, step)
    originals, treedef = jax.tree.flatten(like)
    leaves = [_as_numpy(leaf) if _is_key(leaf) else leaf for leaf in originals]
    stored: dict[str, np.ndarray] = {}
    if leaves:
        # Checked before memory is allocated; Orbax accepts other shapes.
        _require_fit(path, name, stored_arrays(directory, step, name), leaves)
        shapes = _numbered([np.zeros(leaf.shape, leaf.dtype) for leaf in leaves])
        with named_errors(path), _manager(directory) as manager:
            args = ocp.args.Composite(**{name: ocp.args.StandardRestore(shapes)})
            stored = manager.restore(step, args=args)[name]
    arrays = [np.asarray(stored[number]) for number in _numbered(leaves)]
    if digest(arrays) != about.digests.get(name):
        raise ValueError(
            f"checkpoint {path} is damaged or does not fit: {name!r} is not what was written"
        )
    restored = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jnp.asarray(array)
        for array, leaf in zip(arrays, originals, strict=True)
    ]
    return jax.tree.unflatten(treedef, restored)


def stored_arrays(directory: Path, step: int, name: str) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the arrays stored under `name`, without reading them."""
    import orbax.checkpoint as ocp

    path = directory / str(step)
    with named_errors(path):
        tree = ocp.StandardCheckpointHandler().metadata(path.absolute() / name).tree
        by_number = sorted(tree.items(), key=lambda item: int(item[0]))
        return [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for _, leaf in by_number]


def _require_fit(path: Path, name: str, stored: Sequence[_Leaf], leaves: Sequence[_Leaf]) -> None:
    where = f"checkpoint {path} does not fit: {name!r}"
    layouts = [
        [f"{jnp.dtype(array.dtype)} of shape {tuple(array.shape)}" for array in arrays]
        for arrays in (stored, leaves)
    ]
    for got, expected in zip(*layouts, strict=False):
        require(got == expected, where, got, f"hold {expected}")
    require(len(stored) == len(leaves), where, len(stored), f"hold {len(leaves)} arrays")


def _is_key(leaf: _Leaf) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_numpy(leaf: Array | np.ndarray) -> np.ndarray:
    """A leaf as a NumPy array; the integers of a random key (some optimizers hold one)."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns errors of Orbax, TensorStore and JSON into a `ValueError` naming the checkpoint."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"checkpoint {path} is damaged or does not fit: {error}") from error


def _json_digest(about: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _numbered(arrays: Sequence[T]) -> dict[str, T]:
    return {f"{number:05d}": array for number, array in enumerate(arrays)}
